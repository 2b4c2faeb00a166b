-- The views of one generation, their checkpoints, and what is parked.
--
-- Every row of a view is a version: from the position of the event that made it to the position of the
-- event that closed it. The columns are those of projections/schema.cpp (a test compares them), the
-- primary key is the entity and the position, and a unique index of the open versions keeps an entity
-- from having two. Wide rows live in rowid tables, where new ones are appended; narrow ones live in their
-- primary key.

CREATE TABLE messages (
  id TEXT NOT NULL,
  agent_id TEXT NOT NULL,
  role TEXT NOT NULL,
  content TEXT NOT NULL,
  name TEXT,
  sender_id TEXT,
  group_id TEXT,
  otid TEXT,
  run_id TEXT,
  step_id TEXT,
  tool_calls TEXT,
  reasoning TEXT,
  tool_call_id TEXT,
  is_error INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  from_partition INTEGER NOT NULL,
  from_offset INTEGER NOT NULL,
  from_ordinal INTEGER NOT NULL,
  from_at INTEGER NOT NULL,
  from_sequence INTEGER NOT NULL,
  to_offset INTEGER,
  to_at INTEGER,
  PRIMARY KEY (id, from_offset, from_ordinal, from_partition)
) STRICT;
CREATE UNIQUE INDEX messages_open ON messages (id) WHERE to_offset IS NULL;
-- The history of an agent in order, newest or oldest first; and the messages of one run.
CREATE INDEX messages_by_agent ON messages (agent_id, from_offset, from_ordinal, from_partition);
CREATE INDEX messages_by_run ON messages (run_id, from_offset, from_ordinal, from_partition)
  WHERE run_id IS NOT NULL;

CREATE TABLE blocks (
  id TEXT NOT NULL,
  label TEXT NOT NULL,
  value TEXT NOT NULL,
  "limit" INTEGER NOT NULL,
  description TEXT,
  read_only INTEGER NOT NULL,
  tags TEXT NOT NULL,
  metadata TEXT NOT NULL,
  extra TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  from_partition INTEGER NOT NULL,
  from_offset INTEGER NOT NULL,
  from_ordinal INTEGER NOT NULL,
  from_at INTEGER NOT NULL,
  from_sequence INTEGER NOT NULL,
  to_offset INTEGER,
  to_at INTEGER,
  PRIMARY KEY (id, from_offset, from_ordinal, from_partition)
) STRICT;
CREATE UNIQUE INDEX blocks_open ON blocks (id) WHERE to_offset IS NULL;
CREATE INDEX blocks_by_creation ON blocks (created_at, id) WHERE to_offset IS NULL;
CREATE INDEX blocks_by_label ON blocks (label, created_at, id) WHERE to_offset IS NULL;

CREATE TABLE agents (
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  description TEXT,
  system TEXT NOT NULL,
  agent_type TEXT NOT NULL,
  model TEXT NOT NULL,
  embedding TEXT,
  context_window INTEGER NOT NULL,
  timezone TEXT NOT NULL,
  tools TEXT NOT NULL,
  tags TEXT NOT NULL,
  metadata TEXT NOT NULL,
  extra TEXT NOT NULL,
  importing INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  from_partition INTEGER NOT NULL,
  from_offset INTEGER NOT NULL,
  from_ordinal INTEGER NOT NULL,
  from_at INTEGER NOT NULL,
  from_sequence INTEGER NOT NULL,
  to_offset INTEGER,
  to_at INTEGER,
  PRIMARY KEY (id, from_offset, from_ordinal, from_partition)
) STRICT;
CREATE UNIQUE INDEX agents_open ON agents (id) WHERE to_offset IS NULL;
CREATE INDEX agents_by_creation ON agents (created_at, id) WHERE to_offset IS NULL;
CREATE INDEX agents_by_name ON agents (name, created_at, id) WHERE to_offset IS NULL;

CREATE TABLE agent_activity (
  agent_id TEXT NOT NULL,
  last_run_id TEXT,
  last_run_completion INTEGER,
  last_run_duration_ms INTEGER,
  last_stop_reason TEXT,
  from_partition INTEGER NOT NULL,
  from_offset INTEGER NOT NULL,
  from_ordinal INTEGER NOT NULL,
  from_at INTEGER NOT NULL,
  from_sequence INTEGER NOT NULL,
  to_offset INTEGER,
  to_at INTEGER,
  PRIMARY KEY (agent_id, from_offset, from_ordinal, from_partition)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX agent_activity_open ON agent_activity (agent_id) WHERE to_offset IS NULL;

CREATE TABLE runs (
  id TEXT NOT NULL,
  agent_id TEXT NOT NULL,
  status TEXT NOT NULL,
  stop_reason TEXT,
  error_type TEXT,
  error_message TEXT,
  request TEXT NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL,
  steps INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  completed_at INTEGER,
  from_partition INTEGER NOT NULL,
  from_offset INTEGER NOT NULL,
  from_ordinal INTEGER NOT NULL,
  from_at INTEGER NOT NULL,
  from_sequence INTEGER NOT NULL,
  to_offset INTEGER,
  to_at INTEGER,
  PRIMARY KEY (id, from_offset, from_ordinal, from_partition)
) STRICT;
CREATE UNIQUE INDEX runs_open ON runs (id) WHERE to_offset IS NULL;
CREATE INDEX runs_by_agent ON runs (agent_id, from_offset, from_ordinal, from_partition);

CREATE TABLE attachments (
  agent_id TEXT NOT NULL,
  block_id TEXT NOT NULL,
  label TEXT NOT NULL,
  from_partition INTEGER NOT NULL,
  from_offset INTEGER NOT NULL,
  from_ordinal INTEGER NOT NULL,
  from_at INTEGER NOT NULL,
  from_sequence INTEGER NOT NULL,
  to_offset INTEGER,
  to_at INTEGER,
  PRIMARY KEY (agent_id, block_id, from_offset, from_ordinal, from_partition)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX attachments_open ON attachments (agent_id, block_id) WHERE to_offset IS NULL;
CREATE INDEX attachments_by_block ON attachments (block_id, agent_id);

CREATE TABLE tags (
  agent_id TEXT NOT NULL,
  tag TEXT NOT NULL,
  from_partition INTEGER NOT NULL,
  from_offset INTEGER NOT NULL,
  from_ordinal INTEGER NOT NULL,
  from_at INTEGER NOT NULL,
  from_sequence INTEGER NOT NULL,
  to_offset INTEGER,
  to_at INTEGER,
  PRIMARY KEY (agent_id, tag, from_offset, from_ordinal, from_partition)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX tags_open ON tags (agent_id, tag) WHERE to_offset IS NULL;
CREATE INDEX tags_by_tag ON tags (tag, agent_id);

CREATE TABLE shard_owners (
  "partition" INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  claim_id TEXT NOT NULL,
  node TEXT NOT NULL,
  url TEXT NOT NULL,
  claimed_at INTEGER NOT NULL,
  from_partition INTEGER NOT NULL,
  from_offset INTEGER NOT NULL,
  from_ordinal INTEGER NOT NULL,
  from_at INTEGER NOT NULL,
  from_sequence INTEGER NOT NULL,
  to_offset INTEGER,
  to_at INTEGER,
  PRIMARY KEY ("partition", from_offset, from_ordinal, from_partition)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX shard_owners_open ON shard_owners ("partition") WHERE to_offset IS NULL;

-- How far each partition is folded. Moves in the transaction of the rows, by compare-and-set on its
-- version.
CREATE TABLE checkpoints (
  "partition" INTEGER PRIMARY KEY,
  version INTEGER NOT NULL,
  next_offset INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  "index" INTEGER NOT NULL,
  cluster TEXT NOT NULL,
  at INTEGER NOT NULL,
  mark_offset INTEGER, -- Null before the first record, as is the hash.
  mark_hash INTEGER,
  digests TEXT NOT NULL
) STRICT;

-- Events that could not be folded, and what waits behind them in their streams.
CREATE TABLE quarantine (
  "partition" INTEGER NOT NULL,
  "offset" INTEGER NOT NULL,
  stream TEXT NOT NULL,
  event INTEGER NOT NULL, -- Ordinal in its part; -1 = the whole part waits.
  type TEXT NOT NULL,
  reason TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY ("partition", "offset", stream, event)
) STRICT, WITHOUT ROWID;

-- From time to offset, for as_of: one row per batch.
CREATE TABLE times (
  "partition" INTEGER NOT NULL,
  first_offset INTEGER NOT NULL,
  last_offset INTEGER NOT NULL,
  first_at INTEGER NOT NULL,
  last_at INTEGER NOT NULL,
  PRIMARY KEY ("partition", first_offset)
) STRICT, WITHOUT ROWID;
