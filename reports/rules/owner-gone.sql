-- SPDX-License-Identifier: Apache-2.0
-- id: owner-gone
-- severity: error
-- title: {noun} never closed
-- phrase: the request, task, test or thread that opened it has ended; nobody will close it any more
-- explain: The handle was opened on behalf of a request, a task, a test or a thread. That has ended, and the handle is still
--   open: whoever should have closed it is gone. Each time this happens there is one connection less; when the pool is
--   empty every request waits for its timeout. Handles from the same place that the garbage collector closed meanwhile are
--   counted with it: they were not closed either.
--
--   Typically an exception leaves the function before its close(), or a generator that should have closed it is never
--   resumed. The labels tell whose requests they were.
-- fix: with Session(engine) as session: …   or close() in a finally block, so that errors and cancellation close it, too
-- wrong:
--     def get_session():
--         session = Session(engine)
--         yield session
--         session.close()                               # not reached when the request fails
-- right:
--     def get_session():
--         with Session(engine) as session:
--             yield session
-- outranks: leaked open-at-exit in-use-at-termination no-rollback-after-error idle-in-transaction held-long growing
--   closed-by-shutdown
-- includes: closed-by-gc
-- misleads: What a request opens and leaves to a task that outlives it looks abandoned while that task waits; open it in the
--   task. A connection that is opened on first use, inside of a request, and kept in a global is not reported when it is the
--   only one from its place, when it was used again later, or when a pool opened it.
WITH ended AS (
    SELECT handle.id, handle.site, site.place, site.kind, handle.handles, handle.thread, handle.in_transaction, handle.stack,
           handle.process_ended, handle.tx_failed,
           handle.kind LIKE 'sqlalchemy.%' AS of_a_pool,
           owner.kind AS owner_kind,
           -- threads without a name of their own have the program's
           CASE WHEN coalesce(owner.label, '') = '' OR (owner.kind = 'thread' AND process.executable LIKE '%/' || owner.label || '%')
                THEN 'its ' || owner.kind
                ELSE CASE owner.kind WHEN 'request' THEN '' ELSE owner.kind || ' ' END || owner.label END AS who,
           CASE WHEN owner.end_reason LIKE 'exception %' THEN ' ended by an exception (' || substr(owner.end_reason, 11) || ')'
                WHEN owner.end_reason IN ('cancelled', 'never finished') THEN ' was ' || owner.end_reason
                WHEN owner.end_reason = 'client disconnected' THEN ' ended when its client disconnected'
                ELSE ' ended' END AS how,
           process.seen_until_at - handle.owner_ended_at AS since
    FROM open_handle AS handle
         JOIN site ON site.id = handle.site
         JOIN owner ON owner.id = handle.owner
         JOIN process ON process.id = handle.process
    WHERE handle.owner_ended_at IS NOT NULL
      AND NOT handle.pooled
      AND handle.kind <> 'sqlalchemy.engine'
      AND NOT handle.gave_up_closing
      -- a close that is on its way, in a task of its own perhaps, has 20 ms
      AND (handle.process_ended <> 'running' OR process.seen_until_at - handle.owner_ended_at >= 20000000)
      -- used afterwards: somebody else has it
      AND coalesce(handle.last_used_at, 0)
          <= handle.owner_ended_at + CASE WHEN handle.kind LIKE 'sqlalchemy.%' THEN 1000000000 ELSE 1000000 END
      -- of a thread only what nobody else has used; and if no pointer to it is left, that says more: leaked
      AND (owner.kind <> 'thread'
           OR (coalesce(handle.last_thread, owner.thread) = owner.thread AND handle.standing <> 'lost'))),
pool_code AS (
    SELECT DISTINCT stack_frame.stack
    FROM symbol JOIN stack_frame ON stack_frame.frame = symbol.frame
    WHERE symbol.owner = 'third-party' AND lower(symbol.file) LIKE '%pool%' AND lower(symbol.file) NOT LIKE '%threadpool%'),
abandoned AS (
    SELECT * FROM ended
    WHERE of_a_pool
       OR in_transaction
       -- alone, it might be a singleton that was made on first use; several are none
       OR (CASE owner_kind
           WHEN 'thread' THEN (SELECT count(DISTINCT thread) FROM ended AS other WHERE other.place = ended.place) > 1
           ELSE (SELECT sum(opened) FROM site WHERE site.place = ended.place) > 1 END
           AND (stack IS NULL OR stack NOT IN (SELECT stack FROM pool_code)))),
collected AS (
    SELECT site, place, owner_label, how, count(*) AS handles, count(DISTINCT thread) AS threads, min(thread) AS thread,
           max(closed_at - coalesce(last_used_at, opened_at)) AS longest
    FROM closed_handle JOIN site ON site.id = closed_handle.site
    WHERE how = 'owner-gone' OR (how = 'finalization' AND owner_left)
    GROUP BY site, owner_label, how),
several AS (
    SELECT place FROM collected WHERE how = 'finalization'
    GROUP BY place
    HAVING sum(handles) > 1 AND (max(owner_label) IS NOT NULL OR max(threads) > 1 OR min(thread) < max(thread))),
share (site, label, how, count, longest) AS (
    SELECT collected.site, owner_label, how, handles, longest
    FROM collected JOIN site ON site.id = collected.site
    -- what was kept to the end may be a singleton or a pool
    WHERE how = 'owner-gone'
       OR site.kind = 'sqlalchemy.session'
       OR (collected.place IN (SELECT place FROM several) AND site.kind NOT LIKE 'sqlalchemy.%'
           AND (site.stack IS NULL OR site.stack NOT IN (SELECT stack FROM pool_code)))
    UNION ALL
    -- the ring of closed handles has forgotten these
    SELECT id, NULL, 'owner-gone', forgotten, NULL
    FROM (SELECT id, ended_owner_gone - (SELECT coalesce(sum(handles), 0) FROM collected
                                         WHERE collected.site = site.id AND how = 'owner-gone') AS forgotten
          FROM site WHERE ended_owner_gone > 0)
    WHERE forgotten > 0)
SELECT id AS handle, NULL AS site, NULL AS label, NULL AS count,
       CASE kind WHEN 'sqlalchemy.session' THEN 'Session never closed'
                 WHEN 'sqlalchemy.checkout' THEN 'Connection never given back to its pool' END AS title,
       who || how || '; its '
           || CASE WHEN of_a_pool THEN 'connection ' || CASE process_ended WHEN 'running' THEN 'is' ELSE 'was' END
                                       || ' still checked out'
                   ELSE '{noun} ' || CASE process_ended WHEN 'running' THEN 'is' ELSE 'was' END || ' still open' END
           || CASE WHEN in_transaction AND NOT of_a_pool THEN ', in a transaction' ELSE '' END
           || CASE WHEN max(tx_failed) OVER same THEN ', in a failed transaction' ELSE '' END
           || CASE WHEN max(since) OVER same < 1000000 THEN ''
                   ELSE CASE WHEN sum(handles) OVER same > 1 THEN ' (oldest ' ELSE ' (' END
                        || duration(max(since) OVER same)
                        || CASE process_ended WHEN 'running' THEN ' ago)' WHEN 'exit' THEN ' before the process ended)'
                                              ELSE ' before the process''s last event)' END END AS evidence
FROM abandoned
WINDOW same AS (PARTITION BY place, who, how, process_ended, in_transaction)
UNION ALL
SELECT NULL, share.site, label, count, CASE kind WHEN 'sqlalchemy.session' THEN 'Session never closed'
                                                 WHEN 'sqlalchemy.checkout' THEN 'Connection never given back to its pool' END,
       coalesce(nullif(label, ''), 'its owner') || ' had ended; '
           || CASE how WHEN 'finalization' THEN 'only the interpreter''s shutdown closed it'
                       ELSE CASE WHEN where_language = 'python' THEN 'Python''s' ELSE 'the' END
                            || ' garbage collector closed it' END
           || coalesce(CASE WHEN count > 1 THEN ', up to ' ELSE ', ' END || duration(longest) || ' after its last use', '')
FROM share JOIN site ON site.id = share.site JOIN kind ON kind.name = site.kind
     LEFT JOIN stack ON stack.id = site.stack
WHERE site.kind <> 'sqlalchemy.engine' AND NOT cheap;
