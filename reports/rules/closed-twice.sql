-- SPDX-License-Identifier: Apache-2.0
-- id: closed-twice
-- severity: error
-- title: {noun} closed twice
-- phrase: closed a second time: the memory that the second close frees may belong to something else by now
-- explain: The handle was opened, closed, and closed again. The second close works on memory that has been given back; if
--   a new connection was put there meanwhile, that one is closed under the feet of its owner.
-- fix: set the variable to NULL when closing (closing NULL does nothing), and let one place own the handle
-- wrong:
--     if (failed)
--         sqlite3_close(db);
--     sqlite3_close(db);
-- right:
--     if (failed)
--         log_error(sqlite3_errmsg(db));
--     sqlite3_close(db);
-- misleads: Closing NULL is allowed and never reported, nor is a close() in Python that is repeated: it does not reach the
--   library a second time.
SELECT fact.id AS fact,
       close_stack AS closed_stack,
       stack AS used_stack,
       stack AS where_stack,
       'given to ' || coalesce(function || '()', 'a close') || coalesce(' ' || duration(first_at - closed_at), '')
           || ' after its first close' AS evidence
FROM fact
WHERE type = 'closed-twice';
