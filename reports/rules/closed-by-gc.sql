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
-- misleads: CPython closes a plain connection as soon as its last reference goes away (sqlite3's since 3.10 only when the
--   collector comes by); a short script that relies on it loses nothing. Hence a warning, and no error, for a driver's own
--   connections outside of requests and tasks, and for whatever happened only once there. Sessions that the collector has not
--   come to when the program ends are counted, too, where their thread had gone on to newer ones from the same place: it
--   cannot be seen whether something still refers to them.
WITH collected AS (
    SELECT site, owner_label, count(*) AS handles, max(closed_at - coalesce(last_used_at, opened_at)) AS longest
    FROM closed_handle
    WHERE how = 'gc'
    GROUP BY site, owner_label),
remembered AS (
    SELECT site, sum(handles) AS handles, max(longest) AS longest, max(owner_label IS NOT NULL) AS owned
    FROM collected
    GROUP BY site),
spot AS (
    SELECT site.id AS site, place, site.kind, ended_gc, where_language,
           sum(ended_gc) OVER same AS together, max(peak) OVER same AS peak,
           coalesce(remembered.handles, 0) AS remembered, longest, owned
    FROM site JOIN kind ON kind.name = site.kind LEFT JOIN stack ON stack.id = site.stack
         LEFT JOIN remembered ON remembered.site = site.id
    WHERE site.kind <> 'sqlalchemy.engine' AND NOT cheap
      AND (ended_gc > 0 OR (site.open > 0 AND site.kind IN ('sqlalchemy.session', 'sqlalchemy.checkout')))
    WINDOW same AS (PARTITION BY place)),
kept AS (
    SELECT handle.id, handle.site, spot.place, spot.together, handle.handles, handle.process_ended,
           process.seen_until_at - coalesce(handle.last_used_at, handle.opened_at) AS unused,
           -- its thread went on to another one from the same place
           handles > 1 OR coalesce(handle.last_used_at, handle.opened_at)
               <= lead(handle.opened_at) OVER (PARTITION BY place, handle.thread ORDER BY handle.opened_at, handle.id)
               AS passed_over
    FROM open_handle AS handle JOIN spot ON spot.site = handle.site JOIN process ON process.id = handle.process
         LEFT JOIN owner ON owner.id = handle.owner
    WHERE handle.kind IN ('sqlalchemy.session', 'sqlalchemy.checkout')
      AND NOT handle.closing
      -- what a request or task has is its own until it ends; then it is owner-gone
      AND handle.owner_ended_at IS NULL AND coalesce(owner.kind, 'thread') = 'thread'),
waiting AS (
    SELECT * FROM kept
    WHERE CASE process_ended
          WHEN 'exit' THEN together > 0 OR place IN (SELECT place FROM kept WHERE passed_over)
          ELSE passed_over OR (together > 0 AND unused >= 1000000000) END),
waiting_at AS (
    SELECT place, sum(handles) AS handles FROM waiting GROUP BY place),
place AS (
    SELECT spot.place, max(longest) AS longest, together,
           (together + coalesce(waiting_at.handles, 0) > 1 AND (kind LIKE 'sqlalchemy.%' OR peak > 5))
               OR coalesce(max(owned), 0) AS matters
    FROM spot LEFT JOIN waiting_at ON waiting_at.place = spot.place
    GROUP BY spot.place),
share (site, handle, label, count, what) AS (
    SELECT site, NULL, owner_label, handles, NULL FROM collected JOIN spot USING (site)
    UNION ALL
    -- the ring of closed handles has forgotten these
    SELECT site, NULL, NULL, ended_gc - remembered, NULL FROM spot WHERE ended_gc > remembered
    UNION ALL
    SELECT site, waiting.id, NULL, handles,
           'never closed; it ' || CASE process_ended WHEN 'running' THEN 'is' ELSE 'was' END || ' still open '
               || CASE WHEN sum(handles) OVER same > 1 THEN 'up to ' ELSE '' END
               || duration(max(unused) OVER same) || ' after its last use'
               || CASE WHEN max(passed_over) OVER same THEN ', when its thread had gone on to newer ones' ELSE '' END
    FROM waiting
    WINDOW same AS (PARTITION BY place, process_ended))
SELECT CASE WHEN handle IS NULL THEN share.site END AS site, handle, label, count,
       CASE WHEN kind = 'sqlalchemy.session' THEN 'Session left to the garbage collector' END AS title,
       CASE WHEN NOT matters THEN 'warning' END AS severity,
       coalesce(what,
                'never closed; ' || CASE WHEN where_language = 'python' THEN 'Python''s' ELSE 'the' END
                    || ' garbage collector did it'
                    || coalesce(', ' || CASE WHEN place.together > 1 THEN 'up to ' ELSE '' END || duration(place.longest)
                                || ' after its last use', '')
                    || '; next time it may be too late') AS evidence
FROM share JOIN spot ON spot.site = share.site JOIN place ON place.place = spot.place;
