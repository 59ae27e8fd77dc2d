-- SPDX-License-Identifier: Apache-2.0
-- id: closed-in-transaction
-- severity: warning
-- title: {noun} closed with unsaved writes
-- phrase: closed inside a transaction that had written: the writes are lost
-- explain: A transaction was open and had changed rows when its connection was closed. The database rolls it back: what
--   was written is gone, and no error says so. Most often a commit is missing on one path.
-- fix: commit, or roll back to say that it is meant, before the close
-- wrong:
--     sqlite3_exec(db, "begin; insert into orders values (1)", NULL, NULL, NULL);
--     sqlite3_close(db);                      /* the insert is lost */
-- right:
--     sqlite3_exec(db, "begin; insert into orders values (1); commit", NULL, NULL, NULL);
--     sqlite3_close(db);
-- misleads: A program may count on the rollback, in a dry run for example; say so with an explicit rollback. Nothing is
--   reported while an exception unwinds, for a transaction that only read, or for one that had failed already.
SELECT fact.id AS fact,
       stack AS closed_stack,
       stack AS where_stack,
       begin_stack,
       'closed with a transaction open that had changed rows'
           || (SELECT coalesce('; it was begun at ' || place(begun.where_file, begun.where_line, begun.where_function), '')
               FROM (SELECT 1) LEFT JOIN stack AS begun ON begun.id = fact.begin_stack) AS evidence
FROM fact
WHERE type = 'closed-in-transaction'
  AND wrote
  AND NOT unwinding
  AND NOT tx_failed;
