-- Offers are taken through the credential issuer, which knows the device: `grant_id` is its name for the bond. Each has a transaction code
-- (here as a keyed hash), which the person gets on another way than the offer. Offers and holders from before have none, and are void.
DROP TABLE holders;
DROP TABLE offers;
CREATE TABLE offer_codes (
    code_hash BLOB PRIMARY KEY, person TEXT NOT NULL, tx_code_hash BLOB NOT NULL, tries_left INTEGER NOT NULL, grant_id TEXT,
    row_mac BLOB
) STRICT;
