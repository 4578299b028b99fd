-- Programmes whose funds are kept here. `reference` is what a deposit must carry.
CREATE TABLE programmes (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    reference TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE merchants (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    iban TEXT NOT NULL
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
    UNIQUE (kind, reference)
) STRICT;

-- Balances, derived from the journal; the audit recomputes them.
CREATE TABLE balances (
    account TEXT PRIMARY KEY,
    unit TEXT NOT NULL,
    debit_minor INTEGER NOT NULL DEFAULT 0,
    credit_minor INTEGER NOT NULL DEFAULT 0
) STRICT;

-- A quote that was ordered for a run: how the treasury knows which programme's funds it takes.
CREATE TABLE orders (
    quote TEXT PRIMARY KEY,
    run TEXT NOT NULL,
    programme TEXT NOT NULL,
    amount_minor INTEGER NOT NULL
) STRICT;
CREATE INDEX orders_by_run ON orders (run);

-- Statements that were imported, and the entries in them that matched nothing.
CREATE TABLE statements (id TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT;
CREATE TABLE unmatched (statement TEXT NOT NULL, reference TEXT NOT NULL, amount_minor INTEGER NOT NULL, direction TEXT NOT NULL) STRICT;

-- How far the mint's events have been read.
CREATE TABLE cursor (one INTEGER PRIMARY KEY CHECK (one = 1), event INTEGER NOT NULL) STRICT;
INSERT INTO cursor VALUES (1, 0);
