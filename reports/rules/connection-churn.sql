-- SPDX-License-Identifier: Apache-2.0
-- id: connection-churn
-- severity: warning
-- title: {noun} made anew each time
-- phrase: opened again and again at one place instead of being kept
-- explain: An engine is a pool. Whoever makes one for each request has as many pools, each with connections of its own that
--   stay open until the engine is disposed of or collected, and none of them is ever used a second time. A connection to a
--   server that is opened for each request costs a process on the server (PostgreSQL), a handshake and a login each time:
--   mostly more than the query that it is for, and under load the server runs out of them.
-- fix: make the engine or pool once, when the module is imported or the application starts, and use it everywhere
-- wrong:
--     def list_orders():
--         engine = create_engine(url)
--         with Session(engine) as session:
--             …
-- right:
--     engine = create_engine(url)
--
--     def list_orders():
--         with Session(engine) as session:
--             …
-- misleads: A pool outside of the process (PgBouncer) makes new connections cheap. A pool opens connections anew, too, when
--   it recycles them or goes beyond its size; what a known pool opens is left out. So are test runners, programs
--   that are not written in Python unless they tell of requests (unclosed.h), and SQLite's connections, which cost next to
--   nothing.
WITH test_code AS (
    SELECT DISTINCT stack_frame.stack
    FROM symbol JOIN stack_frame ON stack_frame.frame = symbol.frame
    WHERE symbol.language = 'python' AND (symbol.file LIKE '%/\_pytest/%' ESCAPE '\' OR symbol.file LIKE '%/unittest/%')),
pool_code AS (
    SELECT DISTINCT stack_frame.stack
    FROM symbol JOIN stack_frame ON stack_frame.frame = symbol.frame
    WHERE symbol.owner <> 'user' AND (symbol.file LIKE '%/sqlalchemy/%'
                                      OR (lower(symbol.file) LIKE '%pool%' AND lower(symbol.file) NOT LIKE '%threadpool%'))),
requested AS (
    SELECT place FROM closed_handle JOIN site ON site.id = closed_handle.site
    WHERE owner_label IS NOT NULL AND owner_label NOT LIKE '%::%'
      AND (site.kind = 'sqlalchemy.engine' OR owner_label GLOB '[A-Z]* [/(]*')
    UNION
    SELECT place FROM handle JOIN owner ON owner.id = handle.owner JOIN site ON site.id = handle.site
    WHERE handle.kind = 'sqlalchemy.engine' AND owner.kind IN ('request', 'task')),
made AS (
    SELECT place, kind, min(site.id) AS site, sum(opened) AS opened, sum(ended_explicit) AS ended_explicit,
           sum(ended_explicit + ended_gc + ended_owner_gone) AS thrown_away, max(last_at) - min(first_at) AS time,
           max(held_p50_ns) AS held_p50_ns,
           place IN (SELECT place FROM requested) AS for_requests,
           max(coalesce(stack IN (SELECT stack FROM test_code), 0)) AS by_tests,
           max(coalesce(stack IN (SELECT stack FROM pool_code), 0)) AS by_a_pool,
           max(where_language) AS language
    FROM site LEFT JOIN stack ON stack.id = site.stack
    WHERE kind IN ('sqlalchemy.engine', 'libpq.connection', 'mysql.connection')
    GROUP BY place),
engine AS (
    SELECT handle.id, site.place, handle.handles,
           -- used, and never again once there was a newer one
           handle.handles > 1
               OR (EXISTS (SELECT 1 FROM handle AS connection WHERE connection.parent = handle.id)
                   AND handle.last_used_at <= lead(handle.opened_at) OVER (PARTITION BY site.place
                                                                           ORDER BY handle.opened_at, handle.id)) AS passed_over
    FROM handle JOIN site ON site.id = handle.site
    WHERE handle.kind = 'sqlalchemy.engine' AND NOT handle.ignored),
kept AS (
    SELECT place, sum(handles) AS engines, sum(CASE WHEN passed_over THEN handles ELSE 0 END) AS passed_over,
           sum((SELECT coalesce(sum(connection.handles), 0) FROM handle AS connection
                WHERE connection.parent = engine.id AND connection.kind LIKE '%.connection')) AS connections
    FROM engine
    GROUP BY place)
SELECT made.site,
       opened AS count,
       CASE WHEN kept.engines >= 20 AND kept.connections >= kept.engines THEN 'error' END AS severity,
       'an engine, that is a pool of its own, ' || counted(opened) || ' times in ' || duration(time)
           || CASE WHEN kept.engines > 1
                   THEN '; ' || counted(kept.engines) || ' of them are still there'
                        || CASE WHEN kept.connections > 0
                                THEN ', with ' || counted(kept.connections) || ' connections that nobody uses' ELSE '' END
                   ELSE '' END AS evidence
FROM made LEFT JOIN kept ON kept.place = made.place
WHERE kind = 'sqlalchemy.engine'
  AND NOT by_tests
  -- several that are kept may be for several databases
  AND (opened >= 20 OR (opened >= 5 AND for_requests) OR thrown_away + coalesce(kept.passed_over, 0) >= 10)
UNION ALL
SELECT made.site, opened, NULL,
       'a connection to the server ' || counted(opened) || ' times in ' || duration(time) || ', each for '
           || duration(held_p50_ns) || ' or so; a pool would keep a few'
FROM made
WHERE kind <> 'sqlalchemy.engine'
  AND NOT by_tests AND NOT by_a_pool
  -- a tool in C may have its reasons
  AND opened >= CASE WHEN for_requests THEN 10 WHEN language = 'python' THEN 20 END
  AND ended_explicit >= 0.9 * opened
  AND coalesce(held_p50_ns, 0) <= 1000000000
  -- a poller that connects now and then does no harm
  AND time <= opened * 1000000000;
