-- Which of two snapshots of a stream is newer is told by the last record that they have seen (Recovery.tla,
-- rule 30). Rows without it are of no use, and they go together with the recovery rows: the first start after
-- this reads the log from its beginning, once.
DELETE FROM recovery;
DELETE FROM snapshots;
ALTER TABLE snapshots ADD COLUMN seen INTEGER NOT NULL DEFAULT 0; -- Offset of that record.
DROP INDEX snapshots_by_birth;
-- Holds all that a start reads of every row.
CREATE INDEX snapshots_by_stream ON snapshots ("partition", stream, born, seen);
