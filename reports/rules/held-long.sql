-- SPDX-License-Identifier: Apache-2.0
-- id: held-long
-- severity: warning
-- title: {noun} held for long
-- phrase: held for longer than --held allows (30 s unless it is given)
-- explain: A connection was taken out of its pool, or opened by a request, and held for longer than the time that --held
--   gives. While it is held nobody else can have it: a pool of 15 that is held 30 s at a time serves one request every two
--   seconds. It is no leak: it was given back, or may still be.
-- fix: take the connection late and give it back early; no calls to other services while it is held
-- wrong:
--     def report(session: Session = Depends(get_session)):      # held until the response is out
--         rows = session.scalars(select(Order)).all()
--         return StreamingResponse(slow_lines(rows))
-- right:
--     def report():
--         with Session(engine) as session:
--             rows = session.scalars(select(Order)).all()
--         return StreamingResponse(slow_lines(rows))
-- outranks: open-at-exit in-use-at-termination
-- misleads: A long query, a batch job or a server-side cursor needs its connection for long, and that is in order: age alone
--   is no mistake. Choose --held accordingly. A driver's own connection outside of requests is meant to be kept and is not
--   looked at. The time of one that is not given back is told as far as the trace goes. What was at work
--   meanwhile is a note; idleness of less than five seconds cannot be seen any more once it is over.
WITH allowed AS (SELECT value * 1000000000 AS ns FROM setting WHERE name = 'held_seconds'),
long_ago AS (
    SELECT handle.id, site.place, handle.process, process.ended, process.seen_until_at - handle.opened_at AS age,
           process.seen_until_at - coalesce(handle.last_used_at, handle.opened_at) AS unused
    FROM handle JOIN site ON site.id = handle.site JOIN process ON process.id = handle.process JOIN allowed
         LEFT JOIN owner ON owner.id = handle.owner
    WHERE process.seen_until_at - handle.opened_at >= allowed.ns
      AND NOT handle.ignored
      AND (handle.kind = 'sqlalchemy.checkout'
           OR (owner.kind = 'request' AND NOT handle.is_child AND NOT handle.pooled
               AND handle.kind LIKE '%.connection' AND handle.owner_ended_at IS NULL))),
idle AS (
    SELECT fact.process, fact.site, fact.code, where_function, where_file, where_line
    FROM fact LEFT JOIN stack ON stack.id = fact.begin_stack
    WHERE fact.type = 'idle-in-transaction'),
longest_by_request AS (
    SELECT site, owner_label, count(*) AS handles, max(closed_at - opened_at) AS longest
    FROM closed_handle JOIN allowed
    WHERE closed_at - opened_at >= allowed.ns AND owner_label GLOB '[A-Z]* [/(]*' AND owner_label NOT LIKE '%::%'
      AND kind LIKE '%.connection'
    GROUP BY site, owner_label)
SELECT id AS handle, NULL AS site, NULL AS label, NULL AS count,
       CASE WHEN unused < min(5000000000, (SELECT ns FROM allowed)) THEN 'note' END AS severity,
       CASE ended WHEN 'running' THEN 'held for ' ELSE 'not given back to the end, for ' END
           || duration(max(age) OVER (PARTITION BY place, ended)) || CASE ended WHEN 'running' THEN ' by now' ELSE '' END
           || ', not used for the last ' || duration(max(unused) OVER (PARTITION BY place, ended))
           AS evidence
FROM long_ago
UNION ALL
SELECT NULL, site.id, NULL,
       max(1, (SELECT coalesce(sum(hold_time.count), 0) FROM hold_time
               WHERE hold_time.site = site.id AND low_ns >= allowed.ns)),
       CASE WHEN max(idle.code) IS NULL THEN 'note' END,
       'given back after ' || duration(held_max_ns)
           || coalesce(', of which nothing was done with it for ' || duration(max(idle.code) * 1000000),
                       '; it was at work meanwhile, as far as can be seen')
FROM site JOIN allowed LEFT JOIN stack ON stack.id = site.stack
     -- it was taken where its session's transaction began
     LEFT JOIN idle ON idle.process = site.process
                       AND (idle.site = site.id
                            OR (idle.where_function = stack.where_function AND idle.where_file IS stack.where_file
                                AND idle.where_line IS stack.where_line))
WHERE kind = 'sqlalchemy.checkout' AND held_max_ns >= allowed.ns
GROUP BY site.id
UNION ALL
SELECT NULL, site, owner_label, handles, NULL, 'closed after ' || duration(longest)
FROM longest_by_request JOIN site ON site.id = longest_by_request.site
WHERE NOT EXISTS (SELECT 1 FROM stack_frame JOIN symbol ON symbol.frame = stack_frame.frame
                  WHERE stack_frame.stack = site.stack
                    AND (symbol.file LIKE '%/sqlalchemy/%'
                         OR (symbol.owner = 'third-party' AND lower(symbol.file) LIKE '%pool%')));
