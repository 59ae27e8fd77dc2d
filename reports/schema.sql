-- SPDX-License-Identifier: Apache-2.0
-- The run database (report.db): everything that was read from the traces of one run, and the findings.
-- Rules are queries over these tables (docs/HOWTO_ADD_A_RULE.md); renderers read nothing else.
-- Times: *_at are nanoseconds since 1970 (UTC), *_ns are durations. NULL: not known. Booleans are 0 or 1.
-- Stacks, sites and handles of several processes live side by side; `process` tells them apart.

CREATE TABLE run (
    schema_version INTEGER NOT NULL,      -- 1; additions only
    tool_version TEXT NOT NULL,
    made_at INTEGER NOT NULL,             -- when this database was written
    host TEXT,
    label TEXT,
    command TEXT,                         -- of `unclosed run`; without secrets
    command_status INTEGER,               -- its wait status as the shell gives it (128+n for a signal)
    command_signal INTEGER                -- the signal that ended it, NULL: none
);

-- A process image that left a trace, or that `run` knows of by the roll call without one (opened nothing, or unseen).
CREATE TABLE process (
    id INTEGER PRIMARY KEY,
    trace TEXT,                           -- file name of its trace, NULL: made none
    pid INTEGER NOT NULL,
    parent_pid INTEGER,
    host TEXT, label TEXT,
    executable TEXT, command TEXT, directory TEXT,
    started_at INTEGER, ended_at INTEGER,
    seen_until_at INTEGER,                -- last moment the trace can speak of: its end, or its last event, or now
    ended TEXT NOT NULL,                  -- 'exit' 'signal' 'killed' 'exec' 'running' 'unknown'
    end_status INTEGER,                   -- exit status, or signal number
    end_words TEXT NOT NULL,              -- 'exit 0', 'signal 9', 'killed', 'exec', 'running', 'unknown'
    scan TEXT NOT NULL,                   -- search for references at exit: 'complete' 'gave-up' 'not-run'
    scan_reason TEXT,                     -- why there is no (full) answer, in words
    scan_ns INTEGER,
    capture TEXT,                         -- 'libunwind' 'libgcc'
    forked_from INTEGER,                  -- process.id of the parent whose handles it inherited
    fork_generation INTEGER,
    opened INTEGER NOT NULL DEFAULT 0, closed INTEGER NOT NULL DEFAULT 0, open INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0,   -- records that could not be kept (sum of table loss)
    observed INTEGER NOT NULL DEFAULT 1,  -- 0: uses (or may use) a watched library and could not be watched
    unobserved_reason TEXT,               -- why, in words, with what to do
    sealed INTEGER NOT NULL DEFAULT 0,
    python TEXT,                          -- version of the interpreter in it: '3.11.2', '3.13.0 free-threaded'; NULL: none
    python_frames INTEGER NOT NULL DEFAULT 0,  -- 1: its frames could be read
    python_adapted INTEGER NOT NULL DEFAULT 0, -- 1: our sitecustomize ran in it, so that adapters could see it
    python_problem TEXT,                  -- what could not be seen of Python there and why, in words; NULL: nothing
    warning TEXT                          -- the trace was cut or damaged: what is missing
);
CREATE TABLE loss (process INTEGER NOT NULL, name TEXT NOT NULL, count INTEGER NOT NULL);
CREATE TABLE library (process INTEGER NOT NULL, name TEXT NOT NULL, path TEXT, copy INTEGER);   -- watched, found loaded
-- Who reported through unclosed.h: 'sqlalchemy' '2.0.45'. problem: what it cannot see and why, NULL: nothing.
CREATE TABLE adapter (process INTEGER NOT NULL, name TEXT NOT NULL, version TEXT, problem TEXT,
    PRIMARY KEY (process, name)) WITHOUT ROWID;
CREATE TABLE kind_count (process INTEGER NOT NULL, kind TEXT NOT NULL,
    opened INTEGER NOT NULL, closed INTEGER NOT NULL, open INTEGER NOT NULL, peak INTEGER NOT NULL);
CREATE TABLE kind (name TEXT PRIMARY KEY, noun TEXT NOT NULL, plural TEXT NOT NULL, parent TEXT, cheap INTEGER NOT NULL);

CREATE TABLE module (id INTEGER PRIMARY KEY, path TEXT NOT NULL, build_id TEXT,
    state TEXT);                          -- 'matches' 'missing' 'differs' 'no-debug-info'; NULL: not looked up

-- One code place, shared by all processes; its names may be several lines because calls are inlined.
CREATE TABLE frame (id INTEGER PRIMARY KEY,
    type TEXT NOT NULL,                   -- 'native' 'python' 'unknown' 'truncated' 'other'
    module INTEGER,                       -- native
    offset INTEGER,                       -- native: ELF virtual address of the return address
    entry INTEGER NOT NULL DEFAULT 0);
CREATE TABLE symbol (frame INTEGER NOT NULL,
    level INTEGER NOT NULL,               -- 0: innermost (most inlined) function at that place
    function TEXT NOT NULL,               -- readable; 'libfoo.so+0x1234' when there is no name
    linkage_name TEXT, file TEXT, line INTEGER, col INTEGER,
    module TEXT,                          -- path of the module
    language TEXT NOT NULL,               -- 'c' 'python'
    owner TEXT NOT NULL,                  -- 'user' 'third-party' 'system' 'driver'
    inlined INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (frame, level)) WITHOUT ROWID;
-- Equal stacks of several processes are one stack.
CREATE TABLE stack (id INTEGER PRIMARY KEY, depth INTEGER NOT NULL, truncated INTEGER NOT NULL DEFAULT 0,
    approximate INTEGER NOT NULL DEFAULT 0,  -- 1: Python and native frames are all there, but may be interleaved otherwise
    where_function TEXT, where_file TEXT, where_line INTEGER, where_module TEXT, where_language TEXT, where_owner TEXT,
    fingerprint TEXT NOT NULL);           -- of the normalised stack: functions, no lines, no addresses
-- hidden: of no use to who reads the stack of a Python program. Native frames further out than the innermost Python frame,
-- those of the interpreter, and the frames of our own adapter. `where_*` and the fingerprint are made of the others.
CREATE TABLE stack_frame (stack INTEGER NOT NULL, position INTEGER NOT NULL,  -- 0: innermost
    frame INTEGER NOT NULL, hidden INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (stack, position)) WITHOUT ROWID;

CREATE TABLE site (id INTEGER PRIMARY KEY, process INTEGER NOT NULL, kind TEXT NOT NULL, stack INTEGER,
    target TEXT,                          -- of the first handle opened here
    opened INTEGER NOT NULL, closed INTEGER NOT NULL, failed INTEGER NOT NULL, open INTEGER NOT NULL, peak INTEGER NOT NULL,
    first_at INTEGER, last_at INTEGER, peak_at INTEGER,
    ended_explicit INTEGER NOT NULL DEFAULT 0, ended_gc INTEGER NOT NULL DEFAULT 0,
    ended_finalization INTEGER NOT NULL DEFAULT 0, ended_invalidated INTEGER NOT NULL DEFAULT 0,
    ended_detached INTEGER NOT NULL DEFAULT 0, ended_owner_gone INTEGER NOT NULL DEFAULT 0,
    ended_with_parent INTEGER NOT NULL DEFAULT 0, ended_replaced INTEGER NOT NULL DEFAULT 0,
    held_p50_ns INTEGER, held_p99_ns INTEGER, held_max_ns INTEGER,
    place INTEGER);                       -- site.id of the first site of the same line: they differ in frames that are
                                          -- not the user's; made before the rules are run
CREATE TABLE hold_time (site INTEGER NOT NULL, bucket INTEGER NOT NULL, low_ns INTEGER NOT NULL, high_ns INTEGER NOT NULL,
    count INTEGER NOT NULL);

CREATE TABLE owner (id INTEGER PRIMARY KEY, process INTEGER NOT NULL, kind TEXT NOT NULL,      -- 'thread' 'task' 'request' 'test'
    label TEXT, parent INTEGER, began_at INTEGER, ended_at INTEGER, end_reason TEXT, thread INTEGER);

-- Handles open when the trace was read. Handles that rules cannot tell apart (same site, flags, reference, owner state,
-- parent's state …) are one row once there are more than a few of them: sum(handles), never count(*).
CREATE TABLE handle (id INTEGER PRIMARY KEY, process INTEGER NOT NULL, site INTEGER NOT NULL, kind TEXT NOT NULL,
    stack INTEGER,
    handles INTEGER NOT NULL DEFAULT 1,   -- how many this row stands for; the columns below are of the oldest
    address INTEGER, generation INTEGER, copy INTEGER,
    opened_at INTEGER, last_used_at INTEGER,
    thread INTEGER, thread_name TEXT, last_thread INTEGER,
    target TEXT,
    parent INTEGER,                       -- handle.id of the open parent, NULL: none, or it is closed
    root_site INTEGER NOT NULL,           -- site of the outermost open ancestor; its own when it has none (an engine is
                                          -- none of its sessions and checkouts: it outlives them)
    root_reference TEXT NOT NULL,         -- `reference` of that ancestor
    is_child INTEGER NOT NULL DEFAULT 0,  -- 1: an ancestor is open too, and is the one to report
    owner INTEGER, owner_ended_at INTEGER,
    failed_open INTEGER NOT NULL DEFAULT 0, failed_code INTEGER,
    zombie INTEGER NOT NULL DEFAULT 0,
    close_refused INTEGER NOT NULL DEFAULT 0, close_stack INTEGER, close_result INTEGER,
    ignored INTEGER NOT NULL DEFAULT 0,
    connecting INTEGER NOT NULL DEFAULT 0,
    in_transaction INTEGER NOT NULL DEFAULT 0, transaction_stack INTEGER, transaction_began_at INTEGER,
    wrote INTEGER NOT NULL DEFAULT 0,
    tx_failed INTEGER NOT NULL DEFAULT 0, -- its transaction failed: nothing goes on before a rollback
    pooled INTEGER NOT NULL DEFAULT 0,    -- a native connection that an adapter said to belong to a pool
    reference TEXT NOT NULL,              -- 'none' 'found' 'thread' 'uncertain' 'not-looked'
    closing INTEGER NOT NULL DEFAULT 0);  -- the program was inside its close
CREATE TABLE detail (handle INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL);
-- What the open handles of a site have under them: children of `site`'s handles, by kind and where they were opened.
CREATE TABLE child (root_site INTEGER NOT NULL, kind TEXT NOT NULL, site INTEGER NOT NULL, handles INTEGER NOT NULL);

CREATE TABLE closed_handle (process INTEGER NOT NULL, kind TEXT NOT NULL, address INTEGER, generation INTEGER,
    site INTEGER, close_stack INTEGER, opened_at INTEGER, closed_at INTEGER, how TEXT NOT NULL, target TEXT,
    owner_label TEXT,                     -- of the request, task or test whose it was
    in_transaction INTEGER NOT NULL DEFAULT 0,
    last_used_at INTEGER,
    thread INTEGER,                       -- that opened it
    owner_left INTEGER NOT NULL DEFAULT 0);  -- 1: whose it was had ended before, and nobody had used it since

CREATE TABLE fact (id INTEGER PRIMARY KEY, process INTEGER NOT NULL,
    type TEXT NOT NULL,                   -- 'closed-twice' 'used-after-close' 'close-failed' 'close-later-done' 'zombie' 'open-failed'
                                          -- 'open-failed-closed' 'closed-in-transaction' 'closed-elsewhere' 'used-elsewhere'
                                          -- 'parent-closed-first' 'busy' 'unresolved' 'idle-in-transaction'
                                          -- 'used-while-failed' 'noticed' (function: the rule that judges it)
    kind TEXT NOT NULL, site INTEGER, stack INTEGER,          -- stack: where it happened
    opened_stack INTEGER, close_stack INTEGER, begin_stack INTEGER,
    wrote INTEGER NOT NULL, handle_left INTEGER NOT NULL, unwinding INTEGER NOT NULL, tx_failed INTEGER NOT NULL,
    count INTEGER NOT NULL, first_at INTEGER, last_at INTEGER, opened_at INTEGER, closed_at INTEGER,
    thread INTEGER, target TEXT, code INTEGER, function TEXT,
    other_process INTEGER, other_pid INTEGER,                 -- *-elsewhere: who opened it
    generation INTEGER,
    text TEXT,                            -- 'noticed': what was said; 'used-while-failed': the statement that failed
    owner INTEGER);                       -- owner.id: whose doing it was the first time

CREATE TABLE incident (id INTEGER PRIMARY KEY, process INTEGER NOT NULL, rule TEXT NOT NULL, at INTEGER, waited_ns INTEGER,
    stack INTEGER, thread INTEGER, owner_label TEXT, target TEXT, message TEXT, count INTEGER NOT NULL, last_at INTEGER);
CREATE TABLE holder (incident INTEGER NOT NULL, site INTEGER, kind TEXT, stack INTEGER, opened_at INTEGER, last_used_at INTEGER,
    thread INTEGER, owner_label TEXT, owner_ended_at INTEGER, transaction_stack INTEGER, last_sql TEXT,
    in_transaction INTEGER NOT NULL DEFAULT 0,
    generation INTEGER);                  -- of the handle, in the incident's process

-- Who held what when an incident happened, and how each of them stood then, as far as is known by now.
CREATE VIEW holder_then AS
SELECT holder.*, incident.process, incident.rule, incident.at,
       incident.at - holder.opened_at AS age_ns,
       incident.at - holder.last_used_at AS unused_ns,
       incident.at - holder.owner_ended_at AS abandoned_ns,
       CASE WHEN holder.owner_ended_at IS NOT NULL THEN 'owner-gone'      -- the request, task … had ended
            WHEN owner.ended_at IS NOT NULL OR closed_handle.how IN ('gc', 'owner-gone', 'finalization')
                THEN 'never-closed'                                       -- what became of it later says so
            WHEN incident.at - holder.last_used_at < 1000000000 THEN 'busy'
            WHEN holder.in_transaction THEN 'idle-in-transaction'
            ELSE 'idle' END AS state
FROM holder JOIN incident ON incident.id = holder.incident
     LEFT JOIN handle ON handle.site = holder.site AND handle.generation = holder.generation
     LEFT JOIN owner ON owner.id = handle.owner
     LEFT JOIN closed_handle ON closed_handle.process = incident.process
                                AND closed_handle.generation = holder.generation;

CREATE TABLE timeline (process INTEGER NOT NULL, kind TEXT NOT NULL, at INTEGER NOT NULL, width_ns INTEGER NOT NULL,
    peak INTEGER NOT NULL);               -- highest number open in that span; spans without change are left out

-- The open handles that can be a finding of their own, and how each of them stands. Left out: those that the program
-- asked to ignore, states of a connection that are no objects (its transaction), sessions that hold no connection, and
-- what goes down with its parent.
CREATE VIEW open_handle AS
SELECT handle.*,
       process.ended AS process_ended,
       CASE WHEN process.ended = 'running' THEN 'open-now'
            WHEN handle.closing THEN 'in-use'
            WHEN handle.reference = 'none' THEN 'lost'            -- no pointer to it was left when exit began
            WHEN handle.reference = 'found' THEN 'referenced'     -- something pointed to it
            WHEN handle.reference = 'thread' THEN 'in-use'        -- only a thread that was alive may have
            ELSE 'unknown' END AS standing,
       CASE WHEN process.ended = 'signal' THEN 'killed by ' || process.end_words
            WHEN process.ended = 'killed' THEN 'it was killed'
            WHEN process.ended = 'exec' THEN 'it became another program (exec)'
            WHEN process.ended <> 'exit' THEN 'how the process ended is not known'
            WHEN process.scan = 'not-run' THEN coalesce(process.scan_reason, 'memory was not searched')
            WHEN process.scan = 'complete' AND handle.reference = 'not-looked' THEN 'opened after exit had begun'
            ELSE coalesce(process.scan_reason, 'its memory could not be searched for pointers') END AS unknown_because,
       -- its close was refused, or put off, and the program ended by itself without closing it after all
       (handle.zombie OR handle.close_refused) AND process.ended = 'exit' AND handle.reference <> 'thread'
           AND NOT handle.closing AS gave_up_closing
FROM handle JOIN process ON process.id = handle.process
WHERE NOT handle.ignored
  AND handle.kind NOT IN ('sqlite3.transaction', 'libpq.transaction', 'mysql.transaction', 'odbc.transaction',
                          'sqlalchemy.transaction')
  AND (handle.kind <> 'sqlalchemy.session' OR handle.in_transaction)
  AND (NOT handle.is_child OR (handle.reference = 'none' AND handle.root_reference IN ('found', 'thread')));

-- Options that rules may ask for: 'held_seconds' (--held).
CREATE TABLE setting (name TEXT PRIMARY KEY, value NOT NULL);

-- The rules' own texts, as read from reports/rules/*.sql and --rules DIR.
CREATE TABLE rule (id TEXT PRIMARY KEY, severity TEXT NOT NULL,  -- 'error' 'warning' 'note' 'off': in force
    default_severity TEXT NOT NULL, title TEXT NOT NULL, phrase TEXT NOT NULL, explain TEXT NOT NULL, fix TEXT NOT NULL,
    wrong TEXT, right TEXT, misleads TEXT, position INTEGER NOT NULL);

-- What the rules found. One row for a rule, a kind and a normalised stack, over all processes.
CREATE TABLE finding (id TEXT PRIMARY KEY,  -- 16 hex digits: rule + kind + normalised stack, never a count
    rule TEXT NOT NULL, severity TEXT NOT NULL, kind TEXT NOT NULL,
    count INTEGER NOT NULL,
    at_least INTEGER NOT NULL DEFAULT 0,  -- 1: records were lost, or the scan could miss some
    undecided INTEGER NOT NULL DEFAULT 0, -- 1: whether this is a leak cannot be known (killed, still running …)
    title TEXT NOT NULL, evidence TEXT NOT NULL,
    site INTEGER, stack INTEGER, closed_stack INTEGER, begin_stack INTEGER, used_stack INTEGER,
    where_function TEXT, where_file TEXT, where_line INTEGER, where_module TEXT, where_language TEXT, where_owner TEXT,
    target TEXT, oldest_ns INTEGER, held_p50_ns INTEGER, held_p99_ns INTEGER, held_max_ns INTEGER,
    suppressed TEXT,                      -- the pattern that did, NULL: none
    baseline TEXT NOT NULL DEFAULT 'new', -- 'new' 'known'
    position INTEGER NOT NULL);           -- order of presentation: worst first
CREATE TABLE finding_process (finding TEXT NOT NULL, process INTEGER NOT NULL, count INTEGER NOT NULL);
CREATE TABLE finding_thread (finding TEXT NOT NULL, thread INTEGER NOT NULL, name TEXT);
CREATE TABLE finding_label (finding TEXT NOT NULL, kind TEXT NOT NULL,   -- 'request' 'test' 'task' 'thread'
    label TEXT NOT NULL, count INTEGER NOT NULL);
-- What the oldest of its handles (and what goes down with it) told of itself: "unsaved" "2 new", "last_sql" "SELECT …".
CREATE TABLE finding_detail (finding TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL);
CREATE TABLE finding_child (finding TEXT NOT NULL, kind TEXT NOT NULL, stack INTEGER, count INTEGER NOT NULL);

-- The outcome: one row.
CREATE TABLE verdict (verdict TEXT NOT NULL,   -- 'error' 'warning' 'note' 'clean' 'nothing' 'unobserved'
    exit_status INTEGER NOT NULL, exit_reason TEXT NOT NULL);
