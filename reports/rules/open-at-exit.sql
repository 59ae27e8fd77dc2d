-- SPDX-License-Identifier: Apache-2.0
-- id: open-at-exit
-- severity: note
-- title: {noun} still open at exit
-- phrase: still open at exit and still referenced; normal for a pool or a singleton
-- explain: The program ended without closing this handle, but something in its memory still pointed to it: a pool, a
--   global, a cache. That is how most programs keep a connection that they need to the end, and the operating system
--   closes it. Where it cannot be known whether a pointer was left, the evidence says why; it is not called a leak then.
-- fix: nothing has to be done; a library that wants to be tidy calls {close} from its own shutdown function
-- wrong:
--     static sqlite3 *shared;                 /* opened once, never closed: a matter of taste */
-- right:
--     atexit(shared_closed);                  /* … if other tools complain about it */
-- misleads: A pointer may be stale: a lost handle whose address still lies around in memory looks referenced. Ten handles
--   here from one place that should hold one deserve a look.
SELECT handle.id AS handle,
       standing IN ('unknown', 'open-now') AND kind NOT LIKE 'sqlalchemy.%' AS undecided,
       CASE WHEN kind LIKE 'sqlalchemy.%' THEN 'still there when the program ended'
            WHEN standing = 'referenced' THEN 'something in memory still pointed to it when exit began'
            ELSE 'still open; could not tell leaked from referenced: ' || unknown_because
       END AS evidence
FROM open_handle AS handle
WHERE process_ended = 'exit'
  AND standing IN ('referenced', 'unknown')
  AND NOT gave_up_closing;
