-- SPDX-License-Identifier: Apache-2.0
-- id: closed-by-shutdown
-- severity: note
-- title: {noun} closed by the interpreter's shutdown
-- phrase: never closed by the program; it went when the interpreter shut down
-- explain: The program held on to this handle until its end. When the interpreter shut down it took its objects apart, and
--   the handle was closed on the way. That is how most scripts end, and it is in order for whatever is needed to the end:
--   a module's connection, a session in an interactive shell. What was not committed by then is lost.
-- fix: nothing has to be done; a with block around the program's main part closes it earlier, and in a known order
-- wrong:
--     connection = sqlite3.connect("app.db")            # a module's own, to the end: a matter of taste
-- right:
--     with closing(sqlite3.connect("app.db")) as connection:
--         main(connection)
-- misleads: It says nothing about how long the handle was of no use any more. Many of them from one place that should hold
--   one deserve a look.
SELECT site.id AS site,
       ended_finalization AS count
FROM site JOIN kind ON kind.name = site.kind
WHERE ended_finalization > 0
  AND kind <> 'sqlalchemy.engine'
  AND NOT cheap;
