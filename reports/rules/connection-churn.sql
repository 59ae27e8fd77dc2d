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
--   it recycles them or goes beyond its size; what a known pool opens is left out. So are test runners, and SQLite's
--   connections, which cost next to nothing.
WITH test_code AS (
    SELECT DISTINCT stack_frame.stack
    FROM symbol JOIN stack_frame ON stack_frame.frame = symbol.frame
    WHERE symbol.language = 'python' AND (symbol.file LIKE '%/\_pytest/%' ESCAPE '\' OR symbol.file LIKE '%/unittest/%')),
pool_code AS (
    SELECT DISTINCT stack_frame.stack
    FROM symbol JOIN stack_frame ON stack_frame.frame = symbol.frame
    WHERE symbol.owner <> 'user' AND (symbol.file LIKE '%/sqlalchemy/%'
                                      OR (lower(symbol.file) LIKE '%pool%' AND lower(symbol.file) NOT LIKE '%threadpool%'))),
engine AS (
    SELECT handle.*, handle.handles > 1
               OR (handle.last_used_at > handle.opened_at
                   AND handle.last_used_at <= lead(handle.opened_at) OVER (PARTITION BY handle.site
                                                                           ORDER BY handle.opened_at, handle.id)) AS passed_over
    FROM handle
    WHERE kind = 'sqlalchemy.engine' AND NOT ignored),
kept AS (
    SELECT engine.site, sum(engine.handles) AS engines,
           -- used, and never again once there was a newer one
           sum(CASE WHEN passed_over THEN engine.handles ELSE 0 END) AS passed_over,
           (SELECT coalesce(sum(connection.handles), 0)
            FROM handle AS here JOIN handle AS connection ON connection.parent = here.id
            WHERE here.site = engine.site AND connection.kind LIKE '%.connection') AS connections
    FROM engine
    GROUP BY engine.site),
owned AS (
    SELECT site FROM closed_handle WHERE owner_label IS NOT NULL AND kind = 'sqlalchemy.engine' AND owner_label NOT LIKE '%::%'
    UNION
    SELECT handle.site FROM handle JOIN owner ON owner.id = handle.owner
    WHERE handle.kind = 'sqlalchemy.engine' AND owner.kind IN ('request', 'task')),
served AS (
    SELECT site FROM closed_handle
    WHERE owner_label GLOB '[A-Z]* [/(]*' AND owner_label NOT LIKE '%::%' AND kind IN ('libpq.connection', 'mysql.connection'))
SELECT site.id AS site,
       opened AS count,
       CASE WHEN kept.engines >= 5 AND kept.connections >= kept.engines THEN 'error' END AS severity,
       'an engine, that is a pool of its own, ' || counted(opened) || ' times in '
           || duration(site.last_at - site.first_at)
           || CASE WHEN kept.engines > 1
                   THEN '; ' || counted(kept.engines) || ' of them are still there'
                        || CASE WHEN kept.connections > 0
                                THEN ', with ' || counted(kept.connections) || ' connections that nobody uses' ELSE '' END
                   ELSE '' END AS evidence
FROM site LEFT JOIN kept ON kept.site = site.id
WHERE kind = 'sqlalchemy.engine'
  AND (opened >= 20
       OR (opened >= 5 AND site.id IN owned)
       -- made and thrown away; several that are kept may be for several databases
       OR ended_explicit + ended_gc + ended_owner_gone + coalesce(kept.passed_over, 0) >= 10)
  AND (site.stack IS NULL OR site.stack NOT IN (SELECT stack FROM test_code))
UNION ALL
SELECT site.id, opened, NULL,
       'a connection to the server ' || counted(opened) || ' times in ' || duration(site.last_at - site.first_at)
           || ', each for ' || duration(held_p50_ns) || ' or so; a pool would keep a few'
FROM site
WHERE kind IN ('libpq.connection', 'mysql.connection')
  AND opened >= CASE WHEN site.id IN served THEN 10 ELSE 20 END
  AND ended_explicit >= 0.9 * opened
  AND coalesce(held_p50_ns, 0) <= 1000000000
  -- a poller that connects now and then does no harm
  AND site.last_at - site.first_at <= opened * 1000000000
  AND (site.stack IS NULL
       OR (site.stack NOT IN (SELECT stack FROM pool_code) AND site.stack NOT IN (SELECT stack FROM test_code)));
