-- The fingerprint of the seed that the rows were made with: a mint process with another one is refused.
CREATE TABLE seed (one INT PRIMARY KEY CHECK (one = 1), fingerprint BYTEA NOT NULL);
