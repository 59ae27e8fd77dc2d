-- SPDX-License-Identifier: Apache-2.0
-- id: growing
-- severity: error
-- title: {noun} count keeps growing
-- phrase: opened one after the other, none closed, and none used again once there was a newer one
-- explain: From this place one handle after the other was opened over a longer time. None was ever closed, and none was used
--   again after the next one had been opened; yet something in memory still refers to them, or it is not known. So it is no
--   pool, which would use them again, and no singleton. Usually they are put into a list, a dictionary or a cache that
--   nobody empties, or an exception's traceback keeps them. It goes on until the server refuses more.
-- fix: close each one where its use ends; a cache needs a limit and has to close what it drops
-- wrong:
--     def connection_for(tenant):
--         connection = psycopg2.connect(dsn(tenant))
--         connections.append(connection)                # for good
--         return connection
-- right:
--     with closing(psycopg2.connect(dsn(tenant))) as connection:
--         …
-- outranks: open-at-exit in-use-at-termination
-- misleads: It takes at least 10 of them, over 10 seconds or more, from one thread. A pool that grows under load and is never
--   needed again looks like this if each member was used only once; pools that are known by their name are left out, and so
--   are test runners.
WITH suspect AS (
    SELECT place, min(first_at) AS first_at, max(last_at) AS last_at
    FROM site JOIN kind ON kind.name = site.kind
    WHERE NOT cheap
    GROUP BY place
    HAVING sum(site.open) >= 10 AND sum(site.closed) = 0 AND max(last_at) - min(first_at) >= 10000000000),
named AS (
    SELECT DISTINCT stack_frame.stack
    FROM symbol JOIN stack_frame ON stack_frame.frame = symbol.frame
    WHERE (lower(symbol.file) LIKE '%pool%' OR lower(symbol.function) LIKE '%pool%'
           OR symbol.file LIKE '%/\_pytest/%' ESCAPE '\' OR symbol.file LIKE '%/unittest/%')
      AND lower(symbol.file) NOT LIKE '%threadpool%' AND symbol.file NOT LIKE '%/concurrent/futures/%'),
member AS (
    SELECT handle.id, suspect.place, suspect.first_at, suspect.last_at,
           coalesce(handle.last_used_at, handle.opened_at)
               > lead(handle.opened_at) OVER (PARTITION BY suspect.place ORDER BY handle.opened_at, handle.id) AS used_again,
           max(thread) OVER same <> min(thread) OVER same AS several_threads,
           sum(handles) OVER same AS together
    FROM suspect JOIN site ON site.place = suspect.place JOIN open_handle AS handle ON handle.site = site.id
    WHERE NOT handle.pooled
      AND handle.kind NOT IN ('sqlalchemy.engine', 'sqlalchemy.session', 'sqlalchemy.checkout')
      AND handle.standing IN ('referenced', 'unknown', 'open-now')
      AND NOT handle.gave_up_closing
      AND (site.stack IS NULL OR site.stack NOT IN (SELECT stack FROM named))
    WINDOW same AS (PARTITION BY suspect.place))
SELECT member.id AS handle,
       'one after the other in ' || duration(last_at - first_at)
           || ', none used again once there was a newer one' AS evidence
FROM member
WHERE NOT several_threads
  AND together >= 10
  AND place NOT IN (SELECT place FROM member WHERE used_again);
