-- SPDX-License-Identifier: Apache-2.0
-- id: used-after-close
-- severity: error
-- title: {noun} used after it was closed
-- phrase: used after it had been closed
-- explain: The handle was opened, closed, and then used again.
--
--   For a handle of a C library this means that its memory had been freed by the close: the call reads and writes whatever
--   lies there by now. Often nothing happens for years; then it crashes, or works on another connection that was given the
--   same address.
--
--   A SQLAlchemy session is not finished by close(): on its next use it silently takes another connection from the pool and
--   begins a new transaction. Whoever closed it believes that it is over, so nobody will close it a second time. It happens
--   in generators and background tasks that outlive the with block, and when an object's attribute is loaded late.
-- fix: use it before it is closed, and let one place own it; fetch what is needed before the block ends
-- wrong:
--     with Session(engine) as session:
--         orders = open_orders(session)                 # a generator: nothing has been read yet
--     for order in orders:                              # begins a new transaction, which stays open
--         …
--
--     sqlite3_close(db);
--     sqlite3_exec(db, "insert …", NULL, NULL, NULL);
-- right:
--     with Session(engine) as session:
--         for order in open_orders(session):
--             …
--
--     sqlite3_exec(db, "insert …", NULL, NULL, NULL);
--     sqlite3_close(db);
--     db = NULL;
-- misleads: SQLAlchemy allows to go on with a closed session; where one function closes its own session, goes on, and
--   closes it again each time, this is a note. A handle at the same address that was opened out of sight (by a copy of the
--   library that is not watched) would look like the old one; the last 4,096 closed handles are remembered, older ones are
--   not recognised.
WITH used AS (
    SELECT fact.*, kind = 'sqlalchemy.session' AS is_session,
           -- a task of the library's own may have closed it: the user's innermost line is then the one that runs the loop
           coalesce((SELECT min(position) FROM stack_frame JOIN symbol ON symbol.frame = stack_frame.frame
                     WHERE stack_frame.stack = fact.close_stack AND symbol.file LIKE '%/asyncio/%')
                    > (SELECT min(position) FROM stack_frame JOIN symbol ON symbol.frame = stack_frame.frame
                       WHERE stack_frame.stack = fact.close_stack AND symbol.owner = 'user'), 1) AS said,
           -- what the use opened, as far as it is over
           (SELECT sum(again.opened) FROM site AS again
            WHERE again.process = fact.process AND again.kind = fact.kind AND again.stack = fact.stack) AS reopened,
           (SELECT sum(again.ended_explicit) FROM site AS again
            WHERE again.process = fact.process AND again.kind = fact.kind AND again.stack = fact.stack) AS closed_again
    FROM fact
    WHERE type = 'used-after-close')
SELECT used.id AS fact,
       close_stack AS closed_stack,
       stack AS used_stack,
       stack AS where_stack,
       CASE WHEN is_session THEN 'Session used after it was closed' END AS title,
       CASE WHEN is_session AND closed_again >= reopened AND place.where_function = closing.where_function
                 AND place.where_file IS closing.where_file AND place.where_function = opening.where_function
                 AND place.where_file IS opening.where_file THEN 'note' END AS severity,
       CASE WHEN is_session
            THEN 'used' || coalesce(' ' || duration(first_at - closed_at), '') || ' after it was closed'
                 || CASE WHEN said THEN coalesce(' at ' || place(closing.where_file, closing.where_line,
                                                                 closing.where_function), '') ELSE '' END
                 || ': it silently began a new transaction'
                 || CASE WHEN closed_again >= reopened THEN ', which was ended later' ELSE ' that nobody closed' END
            ELSE 'given to ' || coalesce(function || '()', 'the library')
                 || coalesce(' ' || duration(first_at - closed_at), '') || ' after it had been closed'
       END AS evidence
FROM used
     LEFT JOIN stack AS place ON place.id = used.stack
     LEFT JOIN stack AS closing ON closing.id = used.close_stack
     LEFT JOIN stack AS opening ON opening.id = used.opened_stack;
