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
--
--     with Session(engine) as session:
--         session.add(Order())
--         session.flush()                     # written, and rolled back at the end of the block
-- right:
--     sqlite3_exec(db, "begin; insert into orders values (1); commit", NULL, NULL, NULL);
--     sqlite3_close(db);
--
--     with Session(engine) as session, session.begin():
--         session.add(Order())
-- misleads: A program may count on the rollback, in a dry run for example; say so with an explicit rollback. Nothing is
--   reported while an exception unwinds, for a transaction that only read, or for one that had failed already.
WITH cut AS (
    SELECT fact.*, closed_handle.how
    FROM fact LEFT JOIN closed_handle ON closed_handle.process = fact.process
                                         AND closed_handle.generation = fact.generation
    WHERE (type = 'closed-in-transaction' AND wrote AND NOT unwinding AND NOT tx_failed)
       OR (type = 'noticed' AND function = 'closed-in-transaction'))
SELECT cut.id AS fact,
       cut.stack AS closed_stack,
       -- where the garbage collector happened to run is no place to look at
       CASE WHEN how IN ('gc', 'owner-gone', 'with-parent', 'finalization') THEN coalesce(begin_stack, opened_stack, cut.stack) ELSE cut.stack END
           AS where_stack,
       begin_stack,
       CASE WHEN how IN ('gc', 'owner-gone', 'with-parent') THEN 'left to the garbage collector'
            WHEN how = 'finalization' THEN 'closed by the interpreter''s shutdown'
            ELSE 'closed' END
           || ' with a transaction open that had changed rows'
           || coalesce('; it was begun at ' || place(begun.where_file, begun.where_line, begun.where_function), '')
           AS evidence
FROM cut LEFT JOIN stack AS begun ON begun.id = cut.begin_stack;
