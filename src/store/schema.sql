-- The ledger, format 1. `docs/ledger.md` says what each table means.
-- records is the truth; specs, attempts, usage, landings and the end of runs are derived from it (`store::project`).

CREATE TABLE meta (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    device     INTEGER NOT NULL,
    inode      INTEGER NOT NULL,
    born_ns    INTEGER, -- NULL where the file system does not tell
    created_ms INTEGER NOT NULL,
    orch       TEXT NOT NULL
) STRICT;

CREATE TABLE runs (
    run_id     TEXT PRIMARY KEY,
    plan_id    TEXT NOT NULL,
    plan_path  TEXT NOT NULL,
    target_ref TEXT NOT NULL,
    repository TEXT NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms   INTEGER,
    outcome    TEXT,
    CHECK ((ended_ms IS NULL) = (outcome IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE records (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id  TEXT NOT NULL REFERENCES runs,
    at_ms   INTEGER NOT NULL,
    body    TEXT NOT NULL,
    -- A body begins with its kind. One that holds a whole plan is not parsed for it, nor copied, nor for a task that it has
    -- not: its bytes are looked at, because SQLite copies a bound text to put a NUL behind it.
    kind    TEXT NOT NULL GENERATED ALWAYS AS (CASE
                WHEN substr(CAST(body AS BLOB), 1, 9) = CAST('{"kind":"' AS BLOB) THEN CAST(substr(
                    CAST(body AS BLOB), 10, instr(substr(CAST(body AS BLOB), 10, 64), CAST('"' AS BLOB)) - 1) AS TEXT)
                ELSE body ->> '$.kind' END),
    task    TEXT GENERATED ALWAYS AS (CASE WHEN kind NOT IN ('run_started', 'run_resumed', 'plan_accepted')
                THEN coalesce(body ->> '$.ticket.task', body ->> '$.task', body ->> '$.control.verb.task') END),
    attempt INTEGER GENERATED ALWAYS AS (CASE WHEN kind NOT IN ('run_started', 'run_resumed', 'plan_accepted')
                THEN body ->> '$.ticket.attempt' END)
) STRICT;
CREATE INDEX records_of_run ON records (run_id, seq);
CREATE INDEX records_of_task ON records (run_id, task, kind) WHERE task IS NOT NULL;
CREATE TRIGGER records_never_change BEFORE UPDATE ON records BEGIN SELECT raise(ABORT, 'records never change'); END;
CREATE TRIGGER records_never_vanish BEFORE DELETE ON records BEGIN SELECT raise(ABORT, 'records never vanish'); END;

CREATE TABLE specs (
    run_id    TEXT NOT NULL REFERENCES runs,
    task      TEXT NOT NULL,
    spec_hash TEXT NOT NULL,
    PRIMARY KEY (run_id, task)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (
    run_id    TEXT NOT NULL REFERENCES runs,
    task      TEXT NOT NULL,
    attempt   INTEGER NOT NULL,
    spec_hash TEXT NOT NULL,
    part      TEXT NOT NULL CHECK (part IN ('work', 'ask') OR part GLOB 'continue-[1-9]*'),
    PRIMARY KEY (run_id, task, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage (
    run_id                TEXT NOT NULL,
    task                  TEXT NOT NULL,
    attempt               INTEGER NOT NULL,
    part                  TEXT NOT NULL CHECK (part IN ('work', 'ask') OR part GLOB 'continue-[1-9]*'),
    input_tokens          INTEGER NOT NULL,
    output_tokens         INTEGER NOT NULL,
    cache_read_tokens     INTEGER NOT NULL,
    cache_creation_tokens INTEGER NOT NULL,
    cost_micro_usd        INTEGER NOT NULL,
    unpriced_sessions     INTEGER NOT NULL,
    sessions              INTEGER NOT NULL,
    turns                 INTEGER NOT NULL,
    api_ms                INTEGER NOT NULL,
    PRIMARY KEY (run_id, task, attempt, part), -- a session is counted once
    FOREIGN KEY (run_id, task, attempt) REFERENCES attempts
) STRICT, WITHOUT ROWID;

CREATE TABLE landings (
    seq        INTEGER PRIMARY KEY REFERENCES records,
    run_id     TEXT NOT NULL REFERENCES runs,
    task       TEXT NOT NULL,
    generation INTEGER NOT NULL,
    spec_hash  TEXT NOT NULL,
    plan_id    TEXT NOT NULL,
    target_ref TEXT NOT NULL,
    commit_id  TEXT NOT NULL,
    verified   INTEGER NOT NULL CHECK (verified IN (0, 1)),
    UNIQUE (run_id, task, generation) -- exactly once
) STRICT;
CREATE INDEX landings_of_plan ON landings (plan_id, target_ref, seq);
