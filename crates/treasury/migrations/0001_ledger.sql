-- Each row ends with its MAC, which the connection's triggers keep (crates/storage/src/sqlite.rs).

-- Programmes whose funds are kept here. `reference` is what a deposit must carry.
CREATE TABLE programmes (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    reference TEXT NOT NULL UNIQUE,
    row_mac BLOB
) STRICT;

CREATE TABLE merchants (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    iban TEXT NOT NULL,
    row_mac BLOB
) STRICT;

-- The journal: each row moves money from one account to another, and its hash covers the row before it.
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    unit TEXT NOT NULL,
    debit TEXT NOT NULL,
    credit TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    kind TEXT NOT NULL,
    reference TEXT NOT NULL,
    hash BLOB NOT NULL,
    row_mac BLOB,
    UNIQUE (kind, reference)
) STRICT;

-- Balances, derived from the journal; the audit recomputes them.
CREATE TABLE balances (
    account TEXT PRIMARY KEY,
    unit TEXT NOT NULL,
    debit_minor INTEGER NOT NULL DEFAULT 0,
    credit_minor INTEGER NOT NULL DEFAULT 0,
    row_mac BLOB
) STRICT;

-- A quote that was ordered for a run: how the treasury knows which programme's funds it takes.
CREATE TABLE orders (
    quote TEXT PRIMARY KEY,
    run TEXT NOT NULL,
    programme TEXT NOT NULL,
    amount_minor INTEGER NOT NULL,
    row_mac BLOB
) STRICT;
CREATE INDEX orders_by_run ON orders (run);

-- Statements that were imported, and the entries in them that matched nothing.
CREATE TABLE statements (id TEXT PRIMARY KEY, at INTEGER NOT NULL, row_mac BLOB) STRICT;
CREATE TABLE unmatched (
    id INTEGER PRIMARY KEY, statement TEXT NOT NULL, reference TEXT NOT NULL, amount_minor INTEGER NOT NULL,
    direction TEXT NOT NULL, row_mac BLOB
) STRICT;

-- Payment files as they were written, so that one that got lost on its way to the bank is sent again and not made anew.
CREATE TABLE settlements (
    id TEXT PRIMARY KEY, at INTEGER NOT NULL, unit TEXT NOT NULL, payments INTEGER NOT NULL, total_minor INTEGER NOT NULL,
    pain001 TEXT NOT NULL, row_mac BLOB
) STRICT;

-- How far the mint's events have been read.
CREATE TABLE cursor (one INTEGER PRIMARY KEY CHECK (one = 1), event INTEGER NOT NULL, row_mac BLOB) STRICT;
