/* SPDX-License-Identifier: Apache-2.0 */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool failure_said(const char *path, int error)
{
    fprintf(stderr, "unclosed: error: cannot write %s: %s\n", path, strerror(error));
    return false;
}

static int reserved_fd(const char *path, char **temporary)
{
    if (asprintf(temporary, "%s.XXXXXX", path) < 0) {
        *temporary = NULL;
        errno = ENOMEM;
        return -1;
    }
    int fd = mkostemp(*temporary, O_CLOEXEC);
    if (fd >= 0) {
        mode_t mask = umask(0);
        umask(mask);
        fchmod(fd, 0666 & ~mask);
        return fd;
    }
    int error = errno;
    free(*temporary);
    *temporary = NULL;
    errno = error;
    return -1;
}

char *output_reserved(const char *path)
{
    char *temporary;
    int fd = reserved_fd(path, &temporary);

    if (fd < 0)
        failure_said(path, errno);
    else
        close(fd);
    return temporary;
}

bool output_placed(char *temporary, const char *path, bool good)
{
    if (good && rename(temporary, path) != 0)
        good = failure_said(path, errno);
    else if (!good)
        unlink(temporary);
    free(temporary);
    return good;
}

bool output_begun(struct output *output, const char *path)
{
    struct stat status;
    int fd;

    *output = (struct output){0};
    if (strcmp(path, "-") == 0) {
        output->file = stdout;
        return true;
    }
    if (stat(path, &status) == 0 && !S_ISREG(status.st_mode))
        output->file = fopen(path, "we");
    else if ((fd = reserved_fd(path, &output->temporary)) >= 0 && (output->file = fdopen(fd, "w")) == NULL)
        close(fd), unlink(output->temporary);
    output->path = output->file != NULL ? strdup(path) : NULL;
    if (output->file == NULL)
        free(output->temporary);
    return output->file != NULL || failure_said(path, errno);
}

bool output_finished(struct output *output, bool good)
{
    const char *name = output->file == stdout ? "to stdout" : output->path != NULL ? output->path : "a result";
    errno = 0;
    bool written = fflush(output->file) == 0 && !ferror(output->file);
    int error = errno;

    if (output->file != stdout && fclose(output->file) != 0 && written)
        written = false, error = errno;
    if (!written)
        failure_said(name, error != 0 ? error : EIO);
    good = good && written;
    if (output->temporary != NULL)
        good = output_placed(output->temporary, output->path, good);
    free(output->path);
    return good;
}
