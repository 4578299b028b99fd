-- The mint's rows (crates/mint/src/store/mod.rs). A row is inserted once and never changed; a value ends with its MAC.
CREATE TABLE spent (key BYTEA PRIMARY KEY, value BYTEA NOT NULL);
CREATE TABLE signed (key BYTEA PRIMARY KEY, value BYTEA NOT NULL);
CREATE TABLE mint_quotes (key BYTEA PRIMARY KEY, value BYTEA NOT NULL);
CREATE TABLE issued (key BYTEA PRIMARY KEY, value BYTEA NOT NULL);
CREATE TABLE melt_quotes (key BYTEA PRIMARY KEY, value BYTEA NOT NULL);
CREATE TABLE redeemed (key BYTEA PRIMARY KEY, value BYTEA NOT NULL);
CREATE TABLE keysets (key BYTEA PRIMARY KEY, value BYTEA NOT NULL);
CREATE TABLE witnesses (key BYTEA PRIMARY KEY, value BYTEA NOT NULL);
CREATE TABLE events (key BYTEA PRIMARY KEY, value BYTEA NOT NULL);
-- The order in which the treasury reads the events; given by its reader.
CREATE TABLE event_numbers (number BIGINT PRIMARY KEY, key BYTEA NOT NULL UNIQUE);
