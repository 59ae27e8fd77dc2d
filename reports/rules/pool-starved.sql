-- SPDX-License-Identifier: Apache-2.0
-- id: pool-starved
-- severity: warning
-- title: The connection pool was too small for those who worked
-- phrase: a connection was asked for and none came back in time, although each of them was at work: not a leak
-- explain: All connections of a pool were taken when another one was asked for, and whoever held them was still at work: no
--   request, task or thread among them had ended, and nothing from those places was ever left unclosed. Threads waited for
--   threads.
--
--   In FastAPI with synchronous endpoints this is a lock of its own kind: the endpoints that wait for a connection occupy
--   the thread pool, and those that hold one need a thread of that pool to give it back. It resolves itself only by
--   timeouts.
-- fix: let the pool have a connection for each worker thread (pool_size + max_overflow >= threads), or hold them for less long
-- wrong:
--     engine = create_engine(url, pool_size=5, max_overflow=0)   # 40 worker threads
-- right:
--     engine = create_engine(url, pool_size=40, max_overflow=0)
--     # or fewer threads, in the application's lifespan function:
--     anyio.to_thread.current_default_thread_limiter().total_tokens = 5
-- misleads: A holder that hangs for good, in a call that never returns, counts as at work: see how long each was held.
WITH held AS (
    SELECT holder_then.incident, holder_then.kind, holder_then.stack, holder_then.owner_label AS label, age_ns,
           state NOT IN ('owner-gone', 'never-closed')
               AND coalesce(ended_gc + ended_owner_gone + ended_with_parent, 0) = 0
               AND NOT (holder_then.thread IS incident.thread AND holder_then.owner_label IS NULL
                        AND incident.owner_label IS NULL) AS at_work
    FROM holder_then JOIN incident ON incident.id = holder_then.incident LEFT JOIN site ON site.id = holder_then.site
    WHERE incident.rule = 'pool-exhausted'),
summed AS (
    SELECT incident, where_file, where_line, where_function, label, count(*) AS holders, max(age_ns) AS age,
           sum(count(*)) OVER (PARTITION BY incident) AS total,
           row_number() OVER (PARTITION BY incident ORDER BY count(*) DESC) AS place
    FROM held LEFT JOIN stack ON stack.id = held.stack
    GROUP BY incident, where_file, where_line, where_function, label),
told AS (
    SELECT incident,
           group_concat(holders || ' at ' || coalesce(place(where_file, where_line, where_function), 'an unknown place') || ' ('
                        || coalesce(nullif(label, '') || ', ', '') || 'held for ' || CASE WHEN holders > 1 THEN 'up to ' ELSE '' END
                        || duration(age) || ')', ', ') AS holders,
           max(total) AS count
    FROM (SELECT * FROM summed WHERE place <= 3 ORDER BY incident, place)
    GROUP BY incident)
SELECT incident.id AS incident,
       coalesce((SELECT kind FROM held WHERE held.incident = incident.id), 'sqlalchemy.checkout') AS kind,
       'waited ' || duration(waited_ns) || ' in vain'
           || CASE WHEN incident.count > 1 THEN ', ' || counted(incident.count) || ' times' ELSE '' END
           || '; ' || CASE told.count WHEN 1 THEN 'the only one was' ELSE 'all ' || told.count || ' were' END || ' at work: ' || told.holders
           AS evidence
FROM incident JOIN told ON told.incident = incident.id
WHERE rule = 'pool-exhausted'
  AND NOT EXISTS (SELECT 1 FROM held WHERE held.incident = incident.id AND NOT at_work);
