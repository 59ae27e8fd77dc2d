-- SPDX-License-Identifier: Apache-2.0
-- id: pool-exhausted
-- severity: error
-- title: The connection pool ran empty
-- phrase: a connection was asked for, and none came back in time
-- explain: Somebody asked for a connection while all of them were taken, waited, and got an error: the pool's TimeoutError,
--   or the server's refusal ("too many clients"). At that moment unclosed noted who held each of them: where it was taken,
--   on whose behalf, and whether that one was still at work. Those that nobody will give back any more are findings of
--   their own, listed below this one; they are the cause, and this is the effect.
--
--   A larger pool only delays it when connections are not given back. A restart frees them for a while.
-- fix: close what is listed as held and never closed; raise pool_size only when all holders were at work
-- wrong:
--     engine = create_engine(url, pool_size=100)        # it takes longer until it is empty
-- right:
--     with Session(engine) as session:                  # every path gives its connection back
--         …
-- misleads: What is listed is who held the connections when it happened first at that place; later times are only counted. A
--   holder that was still at work then may have been stuck behind the others.
WITH held AS (
    SELECT holder_then.incident, holder_then.kind, holder_then.stack, holder_then.owner_label AS label, age_ns,
           CASE WHEN state IN ('owner-gone', 'never-closed') THEN state
                WHEN ended_gc + ended_owner_gone + ended_with_parent > 0 THEN 'never closed elsewhere'
                WHEN holder_then.thread = incident.thread AND holder_then.owner_label IS NULL
                     AND incident.owner_label IS NULL THEN 'itself'
                ELSE 'at work' END AS state
    FROM holder_then JOIN incident ON incident.id = holder_then.incident LEFT JOIN site ON site.id = holder_then.site
    WHERE incident.rule = 'pool-exhausted'),
summed AS (
    SELECT incident, where_file, where_line, where_function, label, state, count(*) AS holders, max(age_ns) AS age,
           sum(count(*)) OVER (PARTITION BY incident) AS total,
           row_number() OVER (PARTITION BY incident ORDER BY state = 'at work', count(*) DESC) AS place
    FROM held LEFT JOIN stack ON stack.id = held.stack
    GROUP BY incident, where_file, where_line, where_function, label, state),
told AS (
    SELECT incident,
           group_concat(holders || ' at ' || coalesce(place(where_file, where_line, where_function), 'an unknown place') || ' ('
                        || coalesce(nullif(label, '') || ', ', '')
                        || CASE state WHEN 'owner-gone' THEN 'which had ended'
                                      WHEN 'never-closed' THEN 'never closed'
                                      WHEN 'never closed elsewhere' THEN 'a place that leaves them to the garbage collector'
                                      WHEN 'itself' THEN 'the very thread that asked'
                                      ELSE 'at work' END
                        || ', held for ' || CASE WHEN holders > 1 THEN 'up to ' ELSE '' END || duration(age) || ')', ', ')
               AS holders,
           max(total) AS count
    FROM (SELECT * FROM summed WHERE place <= 3 ORDER BY incident, place)
    GROUP BY incident)
SELECT incident.id AS incident,
       coalesce((SELECT kind FROM held WHERE held.incident = incident.id), 'sqlalchemy.checkout') AS kind,
       CASE WHEN EXISTS (SELECT 1 FROM held WHERE held.incident = incident.id AND state <> 'at work')
            THEN 'error' ELSE 'warning' END AS severity,
       'waited ' || duration(waited_ns) || ' in vain'
           || coalesce('; ' || told.count || ' connection'
                       || CASE WHEN told.count > 1 THEN 's were' ELSE ' was' END || ' out: ' || told.holders,
                       '; nobody in this process held one')
           || CASE WHEN incident.count > 1 THEN '; ' || counted(incident.count) || ' times in '
                                                || duration(last_at - at) ELSE '' END AS evidence
FROM incident LEFT JOIN told ON told.incident = incident.id
WHERE rule = 'pool-exhausted'
  -- else the pool is merely too small: pool-starved
  AND (told.incident IS NULL
       OR EXISTS (SELECT 1 FROM held WHERE held.incident = incident.id AND state <> 'at work'));
