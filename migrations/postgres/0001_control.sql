-- What does not belong to one generation of the views: snapshots of actors, and how far recovery may skip.
--
-- Keys compare by bytes (COLLATE "C"), as in SQLite and in memory. Opaque JSON is text: it comes back as it was
-- written. Offsets, epochs and hashes are unsigned numbers of 64 bits in the bits of a bigint.

-- A row only moves to one that has seen more of its stream, and is never deleted (Recovery.tla, rules 22 and 30).
-- Nothing that changes with every snapshot is indexed, and pages keep room: an update then touches no index.
CREATE TABLE snapshots (
  stream text COLLATE "C" PRIMARY KEY,
  "partition" bigint NOT NULL,
  sequence bigint NOT NULL,
  born bigint NOT NULL, -- Offset of the record with the stream's first event.
  open_turn boolean NOT NULL,
  corrupt boolean NOT NULL,
  bad_offset bigint NOT NULL,
  hash bigint NOT NULL, -- XXH64 of the state.
  state text COLLATE "C" NOT NULL,
  seen bigint NOT NULL -- Offset of the last record of the stream that the state has seen.
) WITH (fillfactor = 80);
CREATE INDEX snapshots_by_partition ON snapshots ("partition", stream);
CREATE INDEX snapshots_with_open_turn ON snapshots ("partition", stream) WHERE open_turn;

-- Every stream of the partition whose last record lies before next_offset has a snapshot of exactly that state.
CREATE TABLE recovery (
  "partition" bigint PRIMARY KEY,
  version bigint NOT NULL,
  next_offset bigint NOT NULL,
  epoch bigint NOT NULL,
  "index" bigint NOT NULL,
  cluster text COLLATE "C" NOT NULL,
  at bigint NOT NULL,
  mark_offset bigint, -- Null before the first record, as is the hash.
  mark_hash bigint,
  streams bigint NOT NULL
) WITH (fillfactor = 50);
