-- SPDX-License-Identifier: Apache-2.0
-- id: leaked
-- severity: error
-- title: {noun} never closed
-- phrase: never closed; no pointer to it is left, so nothing can close it any more
-- explain: The handle was still open when the program ended, and when exit began no pointer to it was left anywhere in
--   the program's memory: not in a global, not on the heap, not on a thread's stack. Nothing could have closed it any
--   more. Each time this code runs it loses one more handle, with its file descriptors, its locks and its memory; on a
--   server the session stays until the process ends.
-- fix: call {close} on every path that leaves the function, errors and early returns included
-- wrong:
--     int count_orders(const char *path)
--     {
--         sqlite3 *db;
--         if (sqlite3_open(path, &db) != SQLITE_OK)
--             return -1;                      /* db is lost: a failed open leaves a handle, too */
--         if (!has_table(db))
--             return -1;                      /* db is lost */
--         int count = counted(db);
--         sqlite3_close(db);
--         return count;
--     }
-- right:
--     int count_orders(const char *path)
--     {
--         int count = -1;
--         sqlite3 *db = NULL;
--         if (sqlite3_open(path, &db) != SQLITE_OK || !has_table(db))
--             goto out;
--         count = counted(db);
--     out:
--         sqlite3_close(db);                  /* NULL is allowed */
--         return count;
--     }
-- misleads: The search for pointers is conservative: a stale word on a stack that looks like a pointer hides a leak (it
--   is then open-at-exit), so the count is a lower bound. A pointer kept only in a disguised form (XOR-ed, compressed,
--   in a file, in memory shared with a device) is not recognised: mark such a handle with unclosed_ignore().
SELECT handle.id AS handle,
       'no pointer to it was left in memory when exit began' AS evidence,
       EXISTS (SELECT 1 FROM handle AS other
               WHERE other.site = handle.site AND other.reference <> 'none') AS at_least
FROM open_handle AS handle
WHERE standing = 'lost'
  AND NOT failed_open
  AND NOT gave_up_closing
  AND kind NOT IN ('libpq.result', 'mysql.result');
