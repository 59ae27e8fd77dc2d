-- SPDX-License-Identifier: Apache-2.0
-- id: nested-checkout
-- severity: warning
-- title: A second connection taken while the first one was held
-- phrase: one task or thread took a second connection from a pool of which it already held one
-- explain: The same thread or task held a connection and took another one from the same pool. Each of them then needs two to
--   get on. When as many of them as the pool has connections hold their first one, all wait for a second, and none gives
--   its first one back: the pool has locked itself. It is rare in tests and sudden under load.
-- fix: pass the session on to what is called instead of letting it open one of its own
-- wrong:
--     with Session(engine) as session:
--         order = session.get(Order, 1)
--         log_access(order)                             # opens a session of its own
-- right:
--     with Session(engine) as session:
--         order = session.get(Order, 1)
--         log_access(session, order)
-- misleads: A pool that is larger than twice the number of threads cannot lock itself this way. A second connection may be
--   meant, for what must be written whether or not the first transaction succeeds: give it a pool of its own.
WITH locked AS (
    SELECT DISTINCT fact.id
    FROM fact
         JOIN stack AS second ON second.id = fact.stack
         JOIN incident ON incident.process = fact.process AND incident.rule = 'pool-exhausted'
         JOIN stack AS waiting ON waiting.id = incident.stack
         JOIN holder ON holder.incident = incident.id
    WHERE fact.type = 'noticed' AND fact.function = 'nested-checkout'
      AND second.where_function IS waiting.where_function AND second.where_file IS waiting.where_file
      AND second.where_line IS waiting.where_line),
active AS (
    -- who took the first one is among the callers of who takes the second, and has gone on meanwhile
    SELECT DISTINCT fact.id
    FROM fact
         JOIN stack AS first ON first.id = fact.opened_stack
         JOIN stack_frame ON stack_frame.stack = fact.stack
         JOIN symbol ON symbol.frame = stack_frame.frame
    WHERE fact.type = 'noticed' AND fact.function = 'nested-checkout'
      AND symbol.function = first.where_function AND symbol.file = first.where_file AND symbol.line <> first.where_line)
SELECT fact.id AS fact,
       fact.stack AS used_stack,
       fact.stack AS where_stack,
       CASE WHEN fact.id IN locked THEN 'error' END AS severity,
       'the first one was taken at ' || coalesce(place(first.where_file, first.where_line, first.where_function),
                                                 'a place that is not known')
           || CASE WHEN fact.id IN locked THEN '; the pool ran empty over it' ELSE '' END
           || coalesce('; ' || nullif(fact.text, ''), '') AS evidence
FROM fact LEFT JOIN stack AS first ON first.id = fact.opened_stack LEFT JOIN site ON site.id = fact.site
WHERE fact.type = 'noticed' AND fact.function = 'nested-checkout'
  -- else the first one was not in use any more, only never given back
  AND (fact.id IN active
       OR coalesce(site.ended_gc + site.ended_owner_gone + site.ended_with_parent + site.open, 0) = 0);
