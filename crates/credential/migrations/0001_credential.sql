-- Each row ends with its MAC, which the connection's triggers keep (crates/storage/src/sqlite.rs).

-- Devices that may ask for credentials. `code_hash` is of the offer's code; `subject` is the registry's name for the person, and is set
-- once the registry took the code; `jkt` is the thumbprint of the device's key.
CREATE TABLE grants (
    id TEXT PRIMARY KEY, code_hash BLOB NOT NULL UNIQUE, subject TEXT, jkt TEXT NOT NULL, refresh_hash BLOB UNIQUE,
    revoked INTEGER NOT NULL, row_mac BLOB
) STRICT;
CREATE INDEX grants_by_key ON grants (jkt);
CREATE INDEX grants_by_subject ON grants (subject);

-- Batches of credentials: their places in a status list, four bytes each, and what the list says of them. No attribute, no key.
CREATE TABLE batches (
    id TEXT PRIMARY KEY, grant_id TEXT NOT NULL, list INTEGER NOT NULL, indices BLOB NOT NULL, expires_at INTEGER NOT NULL,
    status INTEGER NOT NULL, row_mac BLOB
) STRICT;
CREATE INDEX batches_by_grant ON batches (grant_id);

-- Relying parties. `registration` is the JSON that was registered; `place` is in the register's status list.
CREATE TABLE relying_parties (
    id TEXT PRIMARY KEY, place INTEGER NOT NULL UNIQUE, registration TEXT NOT NULL, certificate BLOB NOT NULL,
    suspended INTEGER NOT NULL, row_mac BLOB
) STRICT;

-- The issuer's keys of predicates, as they were announced: the public key (SubjectPublicKeyInfo) and its place in the log.
CREATE TABLE predicate_keys (
    predicate TEXT NOT NULL, period TEXT NOT NULL, log_index INTEGER NOT NULL, spki BLOB NOT NULL, row_mac BLOB,
    PRIMARY KEY (predicate, period)
) STRICT;

-- How many tokens of a predicate a device was given for a period.
CREATE TABLE predicates_issued (
    grant_id TEXT NOT NULL, predicate TEXT NOT NULL, period TEXT NOT NULL, tokens INTEGER NOT NULL, row_mac BLOB,
    PRIMARY KEY (grant_id, predicate, period)
) STRICT;
