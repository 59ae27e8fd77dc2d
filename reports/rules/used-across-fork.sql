-- SPDX-License-Identifier: Apache-2.0
-- id: used-across-fork
-- severity: error
-- title: {noun} shared across a fork
-- phrase: opened before a fork, and used or closed in the child: two processes speak on one connection
-- explain: The connection was opened by one process and given to a library call in another one that it had forked. Both
--   have the same socket or the same locks, and neither knows of the other: answers go to whoever reads first, a
--   transaction ends for both, and a close in the child says goodbye to the server in the parent's name. Often it goes well
--   for a long time; then results are mixed up, or the parent is told that the server closed the connection unexpectedly.
-- fix: open connections after the fork; with SQLAlchemy call engine.dispose(close=False) first thing in the child
-- wrong:
--     engine = create_engine(url)
--     Base.metadata.create_all(engine)            # the pool has a connection now
--     with multiprocessing.get_context("fork").Pool(4) as pool:
--         pool.map(work, jobs)                    # every worker takes that same connection
-- right:
--     def started():
--         engine.dispose(close=False)             # the parent's connections are left to the parent
--
--     with multiprocessing.get_context("fork").Pool(4, initializer=started) as pool:
--         pool.map(work, jobs)
-- misleads: A program may hand a connection to its child on purpose and never touch it again itself; a daemon does, whose
--   parent ends at once, and that is a note. SQLite connections that the child closes are not reported, for an
--   interpreter that shuts down does that by itself.
WITH shared AS (
    SELECT fact.*, process.pid, coalesce(process.ended_at, process.seen_until_at) AS over_at,
           (SELECT max(ended_at) FROM process AS opener
            WHERE opener.id = other_process OR (other_process IS NULL AND opener.pid = other_pid)) AS opener_ended_at
    FROM fact JOIN process ON process.id = fact.process
    WHERE type = 'used-elsewhere' OR (type = 'closed-elsewhere' AND fact.kind = 'libpq.connection'))
SELECT fact.id AS fact,
       CASE WHEN opener_ended_at < first_at + 1000000000 AND opener_ended_at < over_at THEN 'note' END AS severity,
       coalesce(opened_stack, stack) AS stack,
       stack AS used_stack,
       stack AS where_stack,
       CASE type WHEN 'closed-elsewhere' THEN 'closed' ELSE 'used' END || ' by process ' || pid
           || coalesce(' with ' || function || '()', '') || '; process ' || coalesce(other_pid, '?')
           || ' had opened it'
           || (SELECT coalesce(' at ' || place(opened.where_file, opened.where_line, opened.where_function), '')
               FROM (SELECT 1) LEFT JOIN stack AS opened ON opened.id = fact.opened_stack)
           || ' before it forked' AS evidence
FROM shared AS fact;
