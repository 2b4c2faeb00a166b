-- The control file: what does not belong to one generation of the views. Snapshots of actors, how far
-- recovery may skip, and which generation is read.

-- A row only moves to a higher sequence and is never deleted (Recovery.tla, rule 22).
CREATE TABLE snapshots (
  stream TEXT PRIMARY KEY,
  "partition" INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  born INTEGER NOT NULL, -- Offset of the record with the stream's first event.
  open_turn INTEGER NOT NULL,
  corrupt INTEGER NOT NULL,
  bad_offset INTEGER NOT NULL,
  hash INTEGER NOT NULL, -- XXH64 of the state.
  state TEXT NOT NULL
) STRICT;
CREATE INDEX snapshots_by_birth ON snapshots ("partition", born);
CREATE INDEX snapshots_with_open_turn ON snapshots ("partition", stream) WHERE open_turn = 1;

-- Every stream of the partition whose last record lies before next_offset has a snapshot of exactly that
-- state.
CREATE TABLE recovery (
  "partition" INTEGER PRIMARY KEY,
  version INTEGER NOT NULL,
  next_offset INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  "index" INTEGER NOT NULL,
  cluster TEXT NOT NULL,
  at INTEGER NOT NULL,
  mark_offset INTEGER, -- Null before the first record, as is the hash.
  mark_hash INTEGER,
  streams INTEGER NOT NULL
) STRICT;

-- The generation of the views that readers use: one row.
CREATE TABLE active_generation (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  generation INTEGER NOT NULL
) STRICT;
INSERT INTO active_generation (only, generation) VALUES (1, 1);
