-- SPDX-License-Identifier: Apache-2.0
-- id: failed-open-not-closed
-- severity: error
-- title: {noun} that failed to open was never closed
-- phrase: the attempt to open it failed, but it left a handle that was never closed; no pointer to it is left
-- explain: sqlite3_open() and PQconnectdb() return a handle even when they fail, so that the error message can be read
--   from it. That handle has to be closed like any other. Here it was not, and no pointer to it was left when exit
--   began. The memory of each failed attempt is lost, which adds up where a program tries again and again.
-- fix: call {close} after a failed open, too, once its error message has been read
-- wrong:
--     PGconn *connection = PQconnectdb(where);
--     if (PQstatus(connection) != CONNECTION_OK)
--         return NULL;                        /* the handle is lost */
-- right:
--     PGconn *connection = PQconnectdb(where);
--     if (PQstatus(connection) != CONNECTION_OK) {
--         log_error(PQerrorMessage(connection));
--         PQfinish(connection);
--         return NULL;
--     }
-- misleads: A program that gives up and exits at once has lost nothing: while a variable still refers to the handle this
--   is open-at-exit, a note. sqlite3_open() that failed for want of memory leaves no handle, and is not reported.
SELECT handle.id AS handle,
       'the open failed' || coalesce(' with ' || code(kind, nullif(failed_code, 0)), '')
           || '; no pointer to its handle was left in memory when exit began' AS evidence
FROM open_handle AS handle
WHERE standing = 'lost'
  AND failed_open
  AND NOT gave_up_closing;
