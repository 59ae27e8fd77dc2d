-- SPDX-License-Identifier: Apache-2.0
-- id: used-after-close
-- severity: error
-- title: {noun} used after it was closed
-- phrase: used after it had been closed: its memory is gone, anything may happen
-- explain: The handle was opened, closed, and then given to a library call again. Its memory had been freed by the close:
--   the call reads and writes whatever lies there by now. Often nothing happens for years; then it crashes, or works on
--   another connection that was given the same address.
-- fix: set the variable to NULL when closing, and let one place own the handle
-- wrong:
--     sqlite3_close(db);
--     sqlite3_exec(db, "insert …", NULL, NULL, NULL);
-- right:
--     sqlite3_exec(db, "insert …", NULL, NULL, NULL);
--     sqlite3_close(db);
--     db = NULL;
-- misleads: A handle at the same address that was opened out of sight (by a copy of the library that is not watched) would
--   look like the old one; the last 4,096 closed handles are remembered, older ones are not recognised.
SELECT fact.id AS fact,
       close_stack AS closed_stack,
       stack AS used_stack,
       stack AS where_stack,
       'given to ' || coalesce(function || '()', 'the library') || coalesce(' ' || duration(first_at - closed_at), '')
           || ' after it had been closed' AS evidence
FROM fact
WHERE type = 'used-after-close';
