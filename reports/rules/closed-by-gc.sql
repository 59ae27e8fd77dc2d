-- SPDX-License-Identifier: Apache-2.0
-- id: closed-by-gc
-- severity: error
-- title: {noun} left to the garbage collector
-- phrase: you never closed it; Python's garbage collector did; next time it may be too late
-- explain: Nothing in the program closed this handle. It was given back when Python's garbage collector happened to find it:
--   at once where the last reference went away, or much later where an exception's traceback, a cycle or a suspended
--   generator still held it. Until then its connection was missing from the pool, its transaction and its locks stayed.
--   Under load the pool is empty before the collector comes by ("QueuePool limit of size 5 overflow 10 reached"), and then
--   it looks as if the database had failed.
--
--   SQLAlchemy's synchronous engines say nothing about this. The place that is named is where the handle was opened; where
--   the collector happened to run says nothing about the mistake.
-- fix: with Session(engine) as session: …   or close() in a finally block; contextlib.closing() for a plain connection
-- wrong:
--     def list_orders():
--         session = Session(engine)
--         return session.scalars(select(Order)).all()   # nobody closes it
--
--     with sqlite3.connect("app.db") as connection:     # commits, but does not close
--         connection.execute("insert …")
-- right:
--     def list_orders():
--         with Session(engine) as session:
--             return session.scalars(select(Order)).all()
--
--     with closing(sqlite3.connect("app.db")) as connection, connection:
--         connection.execute("insert …")
-- outranks: open-at-exit in-use-at-termination idle-in-transaction held-long growing
-- misleads: CPython closes a plain connection as soon as its last reference goes away; a short script that relies on it loses
--   nothing. Hence a warning, and no error, for a driver's own connections outside of requests and tasks, and for whatever
--   happened only once there. Sessions that the collector has not come to when the program ends are counted, too, where their
--   thread had gone on to newer ones: it cannot be seen whether something still refers to them.
WITH collected AS (
    SELECT site, owner_label, count(*) AS handles, max(closed_at - coalesce(last_used_at, opened_at)) AS longest
    FROM closed_handle
    WHERE how = 'gc'
    GROUP BY site, owner_label),
kept AS (
    SELECT handle.id, handle.site, handle.handles, handle.process_ended,
           process.seen_until_at - coalesce(handle.last_used_at, handle.opened_at) AS since,
           -- its thread went on to another one from the same place
           handles > 1 OR coalesce(handle.last_used_at, handle.opened_at)
               <= lead(handle.opened_at) OVER (PARTITION BY handle.site, handle.thread ORDER BY handle.opened_at, handle.id)
               AS passed_over
    FROM open_handle AS handle JOIN process ON process.id = handle.process LEFT JOIN owner ON owner.id = handle.owner
    WHERE handle.kind IN ('sqlalchemy.session', 'sqlalchemy.checkout')
      AND NOT handle.closing
      -- what a request or task has is its own until it ends; then it is owner-gone
      AND handle.owner_ended_at IS NULL AND coalesce(owner.kind, 'thread') = 'thread'),
waiting AS (
    SELECT kept.* FROM kept JOIN site ON site.id = kept.site
    WHERE CASE process_ended
          WHEN 'exit' THEN ended_gc > 0 OR kept.site IN (SELECT site FROM kept WHERE passed_over)
          ELSE passed_over OR (ended_gc > 0 AND since >= 1000000000) END),
place AS (
    SELECT site.id, site.kind, ended_gc, where_language,
           (SELECT max(longest) FROM collected WHERE collected.site = site.id) AS longest,
           (SELECT coalesce(sum(handles), 0) FROM collected WHERE collected.site = site.id) AS remembered,
           (ended_gc + coalesce((SELECT sum(handles) FROM waiting WHERE waiting.site = site.id), 0) > 1
            AND (site.kind LIKE 'sqlalchemy.%' OR peak > 5))
               OR EXISTS (SELECT 1 FROM collected WHERE collected.site = site.id AND owner_label IS NOT NULL) AS matters
    FROM site JOIN kind ON kind.name = site.kind LEFT JOIN stack ON stack.id = site.stack
    WHERE (ended_gc > 0 OR site.id IN (SELECT site FROM waiting))
      AND site.kind <> 'sqlalchemy.engine'
      AND NOT cheap),
share (site, handle, label, count, what) AS (
    SELECT place.id, NULL, owner_label, min(handles, ended_gc), NULL
    FROM collected JOIN place ON place.id = collected.site
    UNION ALL
    -- the ring of closed handles has forgotten these
    SELECT id, NULL, NULL, ended_gc - remembered, NULL FROM place WHERE ended_gc > remembered
    UNION ALL
    SELECT site, waiting.id, NULL, handles,
           'never closed; it ' || CASE process_ended WHEN 'running' THEN 'is' ELSE 'was' END || ' still open '
               || duration(max(since) OVER same) || ' after its last use'
               || CASE WHEN max(passed_over) OVER same THEN ', when its thread had gone on to newer ones' ELSE '' END
    FROM waiting
    WINDOW same AS (PARTITION BY site, process_ended))
SELECT share.site, handle, label, count,
       CASE WHEN kind = 'sqlalchemy.session' THEN 'Session left to the garbage collector' END AS title,
       CASE WHEN NOT matters THEN 'warning' END AS severity,
       coalesce(what,
                'never closed; ' || CASE WHEN where_language = 'python' THEN 'Python''s' ELSE 'the' END
                    || ' garbage collector did it'
                    || coalesce(', ' || CASE WHEN ended_gc > 1 THEN 'up to ' ELSE '' END || duration(longest)
                                || ' after its last use', '')
                    || '; next time it may be too late') AS evidence
FROM share JOIN place ON place.id = share.site;
