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
-- misleads: CPython closes a plain connection as soon as its last reference goes away; a short script that relies on it loses
--   nothing. Hence a warning, and no error, for a driver's own connections outside of requests and tasks, and for whatever
--   happened only once there. How many the collector has closed when the program ends depends on when it ran.
WITH collected AS (
    SELECT site, owner_label, count(*) AS handles, max(closed_at - coalesce(last_used_at, opened_at)) AS longest
    FROM closed_handle
    WHERE how = 'gc'
    GROUP BY site, owner_label),
place AS (
    SELECT site.id, kind, stack, ended_gc,
           (SELECT max(longest) FROM collected WHERE collected.site = site.id) AS longest,
           (SELECT coalesce(sum(handles), 0) FROM collected WHERE collected.site = site.id) AS remembered,
           ended_gc > 1 AND (kind LIKE 'sqlalchemy.%' OR peak > 5)
               OR EXISTS (SELECT 1 FROM collected WHERE collected.site = site.id AND owner_label IS NOT NULL) AS matters
    FROM site JOIN kind ON kind.name = site.kind
    WHERE ended_gc > 0
      AND kind <> 'sqlalchemy.engine'
      AND NOT cheap),
share (site, label, count) AS (
    SELECT place.id, owner_label, min(handles, ended_gc) FROM collected JOIN place ON place.id = collected.site
    UNION ALL
    SELECT id, NULL, ended_gc - remembered FROM place WHERE ended_gc > remembered)
SELECT share.site, label, count,
       CASE WHEN kind = 'sqlalchemy.session' THEN 'Session left to the garbage collector' END AS title,
       CASE WHEN NOT matters THEN 'warning' END AS severity,
       'never closed; ' || CASE WHEN where_language = 'python' THEN 'Python''s' ELSE 'the' END || ' garbage collector did it'
           || coalesce(', ' || CASE WHEN ended_gc > 1 THEN 'up to ' ELSE '' END || duration(longest)
                       || ' after its last use', '')
           || '; next time it may be too late' AS evidence
FROM share JOIN place ON place.id = share.site LEFT JOIN stack ON stack.id = place.stack;
