-- What keysets that are over came to; from then on their tokens' rows may be dropped.
CREATE TABLE closed (key BYTEA PRIMARY KEY, value BYTEA NOT NULL);
