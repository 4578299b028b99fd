-- How many records an officer has looked up on a day (days since 1970, UTC), for the daily limit.
CREATE TABLE openings (
    officer TEXT NOT NULL, day INTEGER NOT NULL, opened INTEGER NOT NULL, row_mac BLOB, PRIMARY KEY (officer, day)
) STRICT;
-- Look-ups past the limit: wait for another officer, and go when they are used or the day is over. `document_index` is a keyed hash.
CREATE TABLE look_ups (
    id TEXT PRIMARY KEY, officer TEXT NOT NULL, day INTEGER NOT NULL, document_index BLOB NOT NULL, purpose TEXT NOT NULL,
    fields TEXT NOT NULL, approved_by TEXT, row_mac BLOB
) STRICT;
