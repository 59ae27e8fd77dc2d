/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of a statement: its shape, and nothing that was in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sql.h"

static const char *normalised(const char *sql)
{
    static char out[SQL_SHOWN + 1];
    size_t size = sql_normalised(sql, strlen(sql), out);
    assert_int_equal(size, strlen(out));
    return out;
}

#define becomes(sql, expected) assert_string_equal(normalised(sql), expected)

static void literals_become_question_marks(void **state)
{
    (void)state;
    becomes("SELECT * FROM users WHERE mail = 'ada@example.org' AND age > 36",
            "SELECT * FROM users WHERE mail = ? AND age > ?");
    becomes("values (1, -2.5, .5, 1e-9, 0xff, 1_000, 'it''s')", "values (?, -?, ?, ?, ?, ?, ?)");
    becomes("select N'x', X'cafe', b'01', E'it\\'s'||'y'", "select ?, ?, ?, ?||?");
    becomes("select $$it's$$, $tag$a $$ b$tag$ , 1$$x y$$", "select ?, ? , ??");
    becomes("update t1 set c2=c2+1", "update t1 set c2=c2+?");
    becomes("select 'a' 'b'", "select ? ?");
}

static void names_and_placeholders_stay(void **state)
{
    (void)state;
    becomes("select \"user\".id from \"user\" join \"order\" on `a b`.c=$1 and d=:d and e=?1 and f=@p and g=%(g_1)s",
            "select \"user\".id from \"user\" join \"order\" on `a b`.c=$1 and d=:d and e=?1 and f=@p and g=%(g_1)s");
    becomes("select größe, data#>>'{a}' from \"Maße\"", "select größe, data#>>? from \"Maße\"");
    becomes("select a::int, b[1]", "select a::int, b[?]");
}

static void text_in_double_quotes_goes(void **state)
{
    (void)state;
    becomes("select * from t where mail = \"ada@example.org\"", "select * from t where mail = ?");
    becomes("insert into t values (\"hunter2\", \"x\")", "insert into t values (?, ?)");
    becomes("create user u identified by \"hunter2\"", "create user u identified by ?");
}

static void comments_go_and_white_space_folds(void **state)
{
    (void)state;
    becomes("  select\t1 -- the secret is 42\n  from /* password: x */\r\n t  ", "select ? from t");
    becomes("select 1 /* a /* b */ hunter2 */", "select ?");
    becomes("select 1 # hunter2\nfrom t", "select ? from t");
    becomes("/*+ hint */ select a--x", "select a");
    becomes("-- only a comment", "");
    becomes("", "");
}

static void in_doubt_the_rest_goes(void **state)
{
    (void)state;
    becomes("select 'it\\'s hunter2', 'x'", "select ?…");
    becomes("select 'c:\\\\', 'x'", "select ?, ?");
    becomes("select * from \"a\\\"hunter2\".b", "select * from \"a\\…");
    becomes("select q'[it's hunter2]' from t", "select ?…");
    becomes("select 'hunter2", "select ?");
    becomes("select $a$hunter2 $b$", "select ?");
    becomes("PRAGMA key = hunter2", "PRAGMA key =?…");
    becomes("select 1; pragma main.rekey(hunter2)", "select ?; pragma main.rekey(?…");
    becomes("select e'\\", "select ?");
}

static void the_end_is_cut_between_characters(void **state)
{
    (void)state;
    char sql[600];
    memset(sql, 'x', sizeof(sql));
    memcpy(sql, "select ", 7);
    sql[SQL_SHOWN] = 0;
    becomes(sql, sql);
    sql[SQL_SHOWN] = 'x';
    sql[SQL_SHOWN + 1] = 0;
    assert_int_equal(strlen(normalised(sql)), SQL_SHOWN);
    assert_string_equal(normalised(sql) + SQL_SHOWN - 4, "x…");
    for (int shift = 0; shift < 3; shift++) {
        int at = 7 + shift;
        while (at < 400)
            at += sprintf(sql + at, "€");
        const char *shown = normalised(sql);
        size_t length = strlen(shown);
        assert_in_range(length, SQL_SHOWN - 2, SQL_SHOWN);
        assert_int_equal((length - strlen("…") - 7 - (size_t)shift) % 3, 0);
        assert_string_equal(shown + length - 6, "€…");
    }
}

/* Anything may be in it: no step too far, and never more than is kept. */
static void hostile_text_is_harmless(void **state)
{
    (void)state;
    static const char pieces[] = "'\"`$\\-/*#eEqQ;(=. \n\xe2\x82\xff"
                                 "a1";
    uint64_t random = 88172645463325252u;
    char sql[64], out[SQL_SHOWN + 1];
    for (int round = 0; round < 300000; round++) {
        size_t length = 0;
        while (length < 40) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            sql[length++] = pieces[random % (sizeof(pieces) - 1)];
        }
        char *copy = malloc(length); /* so that a sanitizer sees a step too far */
        memcpy(copy, sql, length);
        size_t size = sql_normalised(copy, length, out);
        assert_in_range(size, 0, SQL_SHOWN);
        assert_int_equal(out[size], 0);
        free(copy);
    }
}

static double seconds_for(const char *piece, size_t size)
{
    char *sql = malloc(size + 1), out[SQL_SHOWN + 1];
    for (size_t i = 0; i < size; i++)
        sql[i] = piece[i % strlen(piece)];
    sql[size] = 0;
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    sql_normalised(sql, size, out);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    free(sql);
    return (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
}

/* What is quadratic takes minutes for this. */
static void time_is_linear(void **state)
{
    (void)state;
    static const char *const pieces[] = {"/*",   "$a", "$aaaaaaaaaaaaaaaa$", "\\", "'\\", "--", " ", "''", "\n#",
                                         "$a$b", "\"a"};
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
        assert_true(seconds_for(pieces[i], 4 << 20) < 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_become_question_marks), cmocka_unit_test(names_and_placeholders_stay),
        cmocka_unit_test(text_in_double_quotes_goes),     cmocka_unit_test(comments_go_and_white_space_folds),
        cmocka_unit_test(in_doubt_the_rest_goes),         cmocka_unit_test(the_end_is_cut_between_characters),
        cmocka_unit_test(hostile_text_is_harmless),       cmocka_unit_test(time_is_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
