/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4) in base64, as a Content-Security-Policy names the style sheet or script that it allows. */
#ifndef UNCLOSED_REPORTS_SHA256_H
#define UNCLOSED_REPORTS_SHA256_H

#include <stddef.h>

enum { SHA256_BASE64 = 45 }; /* with the NUL */

/* The digest of `size` bytes; returns `base64`. */
const char *sha256_in_base64(const void *bytes, size_t size, char base64[SHA256_BASE64]);

#endif
