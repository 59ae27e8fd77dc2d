-- SPDX-License-Identifier: Apache-2.0
-- id: in-use-at-termination
-- severity: note
-- title: {noun} in use when the process ended
-- phrase: open at the moment the process ended or was looked at; it may well have been in use
-- explain: The process was killed, became another program, still runs, or began to exit while another thread was at work
--   with this handle. An open handle proves nothing then: the program had no chance to close it. It is listed because
--   it shows what was open at that moment. A place with many of them that never closed one deserves a look.
-- fix: look for places that opened much and closed nothing; run the program to a normal end to have leaks told apart
-- wrong:
--     kill -9 $pid                            # no exit, no search for lost handles
-- right:
--     kill $pid                               # with a handler for SIGTERM that ends the program by exit()
-- misleads: A worker killed in the middle of a request holds what that request needs. A thread that ends late holds what
--   it works with. Neither is a leak.
SELECT handle.id AS handle,
       -- an engine is there to the end, and its idle connections with it
       standing IN ('unknown', 'open-now') AND kind <> 'sqlalchemy.engine' AS undecided,
       CASE WHEN process_ended = 'running' THEN '{noun} open now'
            WHEN process_ended IN ('signal', 'killed') THEN '{noun} open when the process was killed'
            WHEN process_ended = 'exec' THEN '{noun} open when the process became another program'
       END AS title,
       CASE WHEN standing = 'open-now' THEN 'open now; the process still runs'
            WHEN standing = 'in-use' THEN 'a thread that used it last was still alive when exit began'
            WHEN standing = 'referenced' THEN 'something in memory still pointed to it when exit began'
            WHEN kind LIKE 'sqlalchemy.%' THEN 'still there: ' || unknown_because
            ELSE 'still open; could not tell leaked from referenced: ' || unknown_because
       END || CASE WHEN close_refused THEN '; its last close was refused' ELSE '' END
           || CASE WHEN zombie THEN '; its close was accepted but had to wait' ELSE '' END
           || (SELECT CASE WHEN site.opened >= 10 AND site.closed = 0 AND process_ended <> 'exit'
                           THEN '; the number of open ones here only grew' ELSE '' END
               FROM site WHERE site.id = handle.site) AS evidence
FROM open_handle AS handle
WHERE standing IN ('open-now', 'in-use')
   OR (process_ended <> 'exit' AND standing IN ('referenced', 'unknown') AND NOT gave_up_closing);
