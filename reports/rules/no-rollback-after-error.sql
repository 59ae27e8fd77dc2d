-- SPDX-License-Identifier: Apache-2.0
-- id: no-rollback-after-error
-- severity: error
-- title: Transaction failed and was not rolled back
-- phrase: a statement failed, and the transaction was used or left open without a rollback
-- explain: After an error the transaction is dead: nothing goes on in it before a rollback. Here the error was swallowed and
--   the program went on with the same session or connection, or left it like that to the end. Every further statement
--   fails ("This Session's transaction has been rolled back due to a previous exception", "current transaction is aborted,
--   commands ignored until end of transaction block"), and the connection stays taken with its locks. When the session is
--   shared, as in a scoped_session or a global, all later requests fail until the process is restarted.
-- fix: rollback() in the except block, or with session.begin(): … around the work; begin_nested() for what may fail
-- wrong:
--     try:
--         session.add(order)
--         session.commit()
--     except IntegrityError:
--         log.warning("there already")                  # the session cannot be used any more
-- right:
--     try:
--         with session.begin_nested():
--             session.add(order)
--     except IntegrityError:
--         log.warning("there already")
--     session.commit()
-- outranks: closed-by-gc idle-in-transaction open-at-exit in-use-at-termination
-- misleads: A use that is seen after the error may be the error handling itself, if it asks the database something before it
--   rolls back. Where the process was killed, a rollback may have been on its way: only errors that are a second old count.
WITH through_sqlalchemy AS (
    SELECT DISTINCT stack_frame.stack
    FROM fact JOIN stack_frame ON stack_frame.stack = fact.stack JOIN symbol ON symbol.frame = stack_frame.frame
    WHERE fact.type = 'used-while-failed' AND symbol.file LIKE '%/sqlalchemy/%')
SELECT fact.id AS fact, NULL AS handle,
       fact.stack AS used_stack,
       fact.begin_stack AS begin_stack,
       fact.stack AS where_stack,
       'used although its transaction had failed'
           || coalesce('; the statement that failed: ' || nullif(fact.text, ''), '')
           || coalesce('; begun at ' || place(begun.where_file, begun.where_line, begun.where_function), '') AS evidence
FROM fact LEFT JOIN stack AS begun ON begun.id = fact.begin_stack
WHERE fact.type = 'used-while-failed'
  -- the session has said it already
  AND (fact.kind LIKE 'sqlalchemy.%' OR fact.stack IS NULL OR fact.stack NOT IN (SELECT stack FROM through_sqlalchemy))
UNION ALL
SELECT NULL, handle.id, NULL, transaction_stack,
       coalesce(transaction_stack, handle.stack),
       'its transaction failed and was never rolled back; '
           || CASE handle.process_ended WHEN 'running' THEN 'it is open still' WHEN 'exit' THEN 'open until the end'
                                        ELSE 'open when the process was gone' END
           || coalesce('; last statement: ' || (SELECT value FROM detail
                                                WHERE detail.handle = handle.id AND key = 'last_sql'), '')
FROM open_handle AS handle JOIN process ON process.id = handle.process
WHERE handle.tx_failed
  AND NOT handle.pooled
  AND (handle.process_ended = 'exit'
       OR process.seen_until_at - coalesce(handle.last_used_at, handle.opened_at) >= 1000000000)
  AND NOT EXISTS (SELECT 1 FROM fact WHERE fact.site = handle.site AND fact.type = 'used-while-failed');
