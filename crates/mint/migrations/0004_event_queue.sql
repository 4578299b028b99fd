-- Events that have no number yet: the reader takes them from here, and need not look through all events for them.
CREATE TABLE event_queue (key BYTEA PRIMARY KEY);
