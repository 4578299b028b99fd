-- Each row ends with its MAC, which the connection's triggers keep (crates/storage/src/sqlite.rs).

-- People. Nothing here is readable without the key-encryption key: `sealed` holds the attributes under a key of
-- the person's own, `wrapped_key` holds that key; the rest are keyed hashes.
CREATE TABLE people (
    id TEXT PRIMARY KEY,
    wrapped_key BLOB NOT NULL,
    sealed BLOB NOT NULL,
    document_index BLOB NOT NULL UNIQUE,
    content_digest BLOB NOT NULL,
    encoding BLOB NOT NULL,
    row_mac BLOB
) STRICT;

-- Keyed hashes under which likely duplicates are looked for.
CREATE TABLE blocks (
    block BLOB NOT NULL, person TEXT NOT NULL, row_mac BLOB, PRIMARY KEY (block, person)
) STRICT, WITHOUT ROWID;
CREATE TABLE possible_duplicates (
    person TEXT NOT NULL, other TEXT NOT NULL, score REAL NOT NULL, row_mac BLOB, PRIMARY KEY (person, other)
) STRICT;

-- One-time codes. `holder_key` and `device_key` are bound at the first use.
CREATE TABLE offers (
    code_hash BLOB PRIMARY KEY, person TEXT NOT NULL, holder_key BLOB, device_key BLOB, row_mac BLOB
) STRICT;
CREATE TABLE holders (holder_key BLOB PRIMARY KEY, person TEXT NOT NULL, row_mac BLOB) STRICT;

CREATE TABLE officers (
    id TEXT PRIMARY KEY, role TEXT NOT NULL, token_hash BLOB NOT NULL UNIQUE, row_mac BLOB
) STRICT;

CREATE TABLE programmes (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, unit TEXT NOT NULL, amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    period TEXT NOT NULL, rule TEXT NOT NULL, row_mac BLOB
) STRICT;

-- state: prepared, approving, approved.
CREATE TABLE runs (
    id TEXT PRIMARY KEY, programme TEXT NOT NULL UNIQUE, state TEXT NOT NULL, hash TEXT NOT NULL, lines INTEGER NOT NULL,
    total_minor INTEGER NOT NULL, prepared_by TEXT NOT NULL, approved_by TEXT, row_mac BLOB
) STRICT;
CREATE TABLE lines (
    id TEXT PRIMARY KEY, run TEXT NOT NULL, person TEXT NOT NULL, amount_minor INTEGER NOT NULL,
    quote TEXT, pubkey TEXT, row_mac BLOB, UNIQUE (run, person)
) STRICT;
CREATE INDEX lines_by_person ON lines (person);
