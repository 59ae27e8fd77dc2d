-- SPDX-License-Identifier: Apache-2.0
-- id: blocking-transaction
-- severity: warning
-- title: {noun} locked others out
-- phrase: its transaction held the lock when another caller was told that the database is locked
-- explain: A caller got "database is locked" (SQLITE_BUSY). At that moment this connection of the same process was inside of
--   a transaction on the same database. SQLite has one writer at a time: everybody else waits for it, and gives up after
--   the busy timeout. That is in order while it works; it is a mistake when the transaction was left open by an exception,
--   or by a cursor that was read only in part, and lay idle.
-- fix: commit or roll back before anything else is done; read cursors to their end, or close them
-- wrong:
--     connection.execute("insert …")                    # begins a transaction
--     notify(customer)                                  # everybody else waits meanwhile
--     connection.commit()
-- right:
--     with connection:
--         connection.execute("insert …")
--     notify(customer)
-- misleads: Only connections of the same process can be named: when another process holds the lock there is no such finding.
--   Reading transactions are listed, too: in rollback journal mode they block a writer's commit.
WITH blocked AS (
    SELECT holder.*, incident.process, incident.count, incident.stack AS used_stack, incident.target, incident.at,
           incident.at - holder.last_used_at AS idle_ns, holder.thread = incident.thread AS by_itself,
           incident.at - holder.last_used_at >= max(100000000, min(1000000000, incident.waited_ns)) AS was_idle
    FROM incident JOIN holder ON holder.incident = incident.id
    WHERE incident.rule = 'blocking-transaction' AND holder.in_transaction)
SELECT blocked.site, blocked.process, blocked.kind, blocked.stack, blocked.target, blocked.opened_at, blocked.thread,
       max(blocked.count) AS count,
       blocked.transaction_stack AS begin_stack,
       blocked.used_stack,
       coalesce(blocked.transaction_stack, blocked.stack) AS where_stack,
       blocked.owner_label AS label,
       CASE WHEN max(was_idle) OR max(by_itself) OR max(owner_ended_at) IS NOT NULL THEN 'error' END AS severity,
       coalesce(place(used.where_file, used.where_line, used.where_function), 'another caller') || ' was locked out'
           || CASE WHEN max(owner_ended_at) IS NOT NULL
                   THEN '; ' || coalesce(nullif(owner_label, ''), 'the one that had opened it') || ' had ended before'
                   WHEN max(by_itself) THEN ' by a transaction of its own thread'
                   WHEN max(idle_ns) >= 10000000 THEN '; nothing had been done in the transaction for '
                                                     || duration(max(idle_ns))
                   ELSE '; it was at work' END
           || coalesce('; last statement: ' || last_sql, '') AS evidence
FROM blocked LEFT JOIN stack AS used ON used.id = blocked.used_stack
GROUP BY blocked.incident, blocked.site, blocked.transaction_stack;
