-- SPDX-License-Identifier: Apache-2.0
-- id: idle-in-transaction
-- severity: warning
-- title: {noun} idle in a transaction
-- phrase: its transaction was open for seconds in which nothing was done
-- explain: A transaction was begun and then lay idle for five seconds or more. While it lies there its connection is missing
--   from the pool, its row locks block others, and the database cannot clean up (PostgreSQL: vacuum; SQLite: the WAL file
--   grows). A SELECT begins a transaction, too, in SQLAlchemy and in every Python driver that is not in autocommit mode.
--
--   The usual reason is a call to another service, a sleep or a slow client in the middle of the work, or a commit that is
--   missing after the last SELECT.
-- fix: end it before waiting: commit(), rollback() or the end of the with block come first, then the slow call
-- wrong:
--     with Session(engine) as session:
--         prompt = session.get(Prompt, 1).text          # begins a transaction
--         answer = requests.post(url, json=prompt)      # 30 s, and the connection waits
--         session.add(Answer(answer.text))
--         session.commit()
-- right:
--     with Session(engine) as session:
--         prompt = session.get(Prompt, 1).text
--     answer = requests.post(url, json=prompt)
--     with Session(engine) as session, session.begin():
--         session.add(Answer(answer.text))
-- outranks: open-at-exit in-use-at-termination
-- misleads: A debugger's breakpoint inside of a transaction looks the same. A statement that takes long is not idle; where the
--   driver is written in Python and there is no C library to watch, time inside of the server may be counted as idle.
WITH through_sqlalchemy AS (
    SELECT DISTINCT stack_frame.stack
    FROM fact JOIN stack_frame ON stack_frame.stack = fact.stack JOIN symbol ON symbol.frame = stack_frame.frame
    WHERE fact.type = 'idle-in-transaction' AND symbol.file LIKE '%/sqlalchemy/%'),
idle AS (
    SELECT handle.id, handle.stack, handle.transaction_stack, site.place, handle.process_ended,
           process.seen_until_at - coalesce(handle.last_used_at, handle.transaction_began_at, handle.opened_at) AS since
    FROM open_handle AS handle JOIN process ON process.id = handle.process JOIN site ON site.id = handle.site
    WHERE handle.in_transaction AND NOT handle.pooled
      AND process.seen_until_at - coalesce(handle.last_used_at, handle.transaction_began_at, handle.opened_at) >= 5000000000)
SELECT fact.id AS fact, NULL AS handle,
       fact.begin_stack AS begin_stack,
       fact.stack AS used_stack,
       'nothing was done in it for ' || CASE WHEN fact.count > 1 THEN 'up to ' ELSE '' END
           || duration(max(fact.code) OVER same * 1000000)
           || coalesce('; begun at ' || place(begun.where_file, begun.where_line, begun.where_function), '') AS evidence
FROM fact LEFT JOIN stack AS begun ON begun.id = fact.begin_stack
WHERE fact.type = 'idle-in-transaction'
  -- the session has said it already
  AND (fact.kind LIKE 'sqlalchemy.%' OR fact.stack IS NULL OR fact.stack NOT IN (SELECT stack FROM through_sqlalchemy))
WINDOW same AS (PARTITION BY fact.site, fact.begin_stack)
UNION ALL
SELECT NULL, idle.id, transaction_stack, NULL,
       CASE process_ended WHEN 'running' THEN 'nothing has been done in it for ' ELSE 'nothing was done in it any more for ' END
           || duration(max(since) OVER (PARTITION BY place, transaction_stack))
           || CASE process_ended WHEN 'running' THEN '' ELSE ', to the end' END
           || coalesce('; begun at ' || place(begun.where_file, begun.where_line, begun.where_function), '')
           || coalesce('; last statement: ' || (SELECT value FROM detail
                                                WHERE detail.handle = idle.id AND key = 'last_sql'), '')
FROM idle LEFT JOIN stack AS begun ON begun.id = idle.transaction_stack;
