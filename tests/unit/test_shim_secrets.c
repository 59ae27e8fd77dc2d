/* SPDX-License-Identifier: Apache-2.0 */
/* What is taken out of targets, command lines and source lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <unclosed/secrets.h>

static void shows(const char *text, bool is_source, const char *expected)
{
    char out[256];
    secrets_hidden(text, is_source, out, sizeof(out));
    assert_string_equal(out, expected);
}

static void connection_strings_lose_their_password(void **state)
{
    (void)state;
    shows("host=db user=app password=s3cret dbname=x", false, "host=db user=app password=*** dbname=x");
    shows("password = 'a b\\'c' host=db", false, "password = *** host=db");
    shows("postgresql://app:s3cret@db:5432/orders?sslpassword=x&a=b", false,
          "postgresql://app:***@db:5432/orders?sslpassword=***&a=b");
    shows("mysql://app:p@ss@db/x", false, "mysql://app:***@db/x");
    shows("postgresql://app:pa/s@s?w@db/orders", false, "postgresql://app:***@db/orders");
    shows("postgresql://app:s3/cret@db/orders?mail=a@b", false, "postgresql://app:***@db/orders?mail=a@b");
    shows("file:orders.db?cipher=x&key=s3cret", false, "file:orders.db?cipher=x&key=***");
    shows("file:orders.db?hexkey=0123&mode=ro", false, "file:orders.db?hexkey=***&mode=ro");
    shows("DB_PASSWORD=x MY_TOKEN=y", false, "DB_PASSWORD=*** MY_TOKEN=***");
}

static void other_text_stays_as_it_is(void **state)
{
    (void)state;
    shows("/var/lib/app/orders.db", false, "/var/lib/app/orders.db");
    shows("file:x?mode=memory&cache=shared", false, "file:x?mode=memory&cache=shared");
    shows("postgresql://app@db:5432/orders", false, "postgresql://app@db:5432/orders");
    shows("compass=north", false, "compass=north");
    shows("http://localhost:8080/orders?id=7", false, "http://localhost:8080/orders?id=7");
    shows("file:///srv/a:b/c@d.db", false, "file:///srv/a:b/c@d.db");
    shows("orders.sort(key=by_date)", true, "orders.sort(key=by_date)");
}

static void source_lines_lose_theirs_too(void **state)
{
    (void)state;
    shows("conn = PQconnectdb(\"user=app password=s3cret\");", true, "conn = PQconnectdb(\"user=app password=***\");");
    shows("connect(password=\"s3cret\", host=\"db\")", true, "connect(password=***, host=\"db\")");
    shows("{\"password\": \"s3cret\"}", true, "{\"password\": ***}");
}

static void long_text_is_cut_not_overrun(void **state)
{
    (void)state;
    char out[8];
    secrets_hidden("password=x and much more", false, out, sizeof(out));
    assert_string_equal(out, "passwor");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connection_strings_lose_their_password),
        cmocka_unit_test(other_text_stays_as_it_is),
        cmocka_unit_test(source_lines_lose_theirs_too),
        cmocka_unit_test(long_text_is_cut_not_overrun),
    };
    return cmocka_run_group_tests_name("secrets", tests, NULL, NULL);
}
