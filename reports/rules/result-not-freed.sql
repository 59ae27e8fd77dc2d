-- SPDX-License-Identifier: Apache-2.0
-- id: result-not-freed
-- severity: warning
-- title: {noun} never freed
-- phrase: a query's result was never freed; no pointer to it is left
-- explain: Results live on their own: PQfinish() does not free the results of its connection. Each one holds all rows that
--   the query gave. When exit began no pointer to this one was left, so its memory could not be freed any more.
-- fix: call {close} for every result, also for those of commands that return no rows, and for NULL-safe error paths
-- wrong:
--     PQexec(connection, "begin");            /* its result is lost */
-- right:
--     PQclear(PQexec(connection, "begin"));
-- misleads: A program that reads one result and exits loses nothing by it; hence a warning and not an error.
SELECT handle.id AS handle,
       'no pointer to it was left in memory when exit began' AS evidence
FROM open_handle AS handle
WHERE standing = 'lost'
  AND kind IN ('libpq.result', 'mysql.result');
