-- SPDX-License-Identifier: Apache-2.0
-- id: close-failed
-- severity: error
-- title: {noun} could not be closed and was given up
-- phrase: its close was refused, or put off, because something of it was still in use; then it was dropped
-- explain: sqlite3_close() refuses with SQLITE_BUSY while a statement, a blob handle or a backup of the connection is
--   still alive: the connection stays open. sqlite3_close_v2() answers SQLITE_OK in that case, but only marks the
--   connection; it lives on (a "zombie") until its last statement is finalized. Here that never happened before the
--   program ended. What was still alive is listed with the place where it was opened.
-- fix: finalize what is listed under it before the close, and look at what the close returns
-- wrong:
--     sqlite3_prepare_v2(db, "select …", -1, &statement, NULL);
--     sqlite3_step(statement);
--     sqlite3_close(db);                      /* SQLITE_BUSY: still open */
-- right:
--     sqlite3_prepare_v2(db, "select …", -1, &statement, NULL);
--     sqlite3_step(statement);
--     sqlite3_finalize(statement);
--     if (sqlite3_close(db) != SQLITE_OK)
--         log_error(sqlite3_errmsg(db));
-- misleads: A refused close that succeeds later is fine and is not reported, nor is one of a process that still runs or
--   was killed: it might have tried again.
SELECT handle.id AS handle,
       close_stack AS closed_stack,
       close_stack AS where_stack,
       CASE WHEN zombie
            THEN 'its close was accepted, but it stayed open: something of it was still alive when the program ended'
            ELSE 'its close was refused' || coalesce(' with ' || code(kind, nullif(close_result, 0)), '')
                 || ', and it was still open when the program ended'
       END AS evidence
FROM open_handle AS handle
WHERE gave_up_closing
  AND standing IN ('lost', 'referenced', 'unknown');
