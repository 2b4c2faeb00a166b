-- Custom tools and the steps of runs, and what a tool's return and a waiting call keep beside their text.
-- A generation that was made before has none of these rows: serve folds a new one (sqlite_view_store.h).

ALTER TABLE messages ADD COLUMN stdout_lines TEXT;
ALTER TABLE messages ADD COLUMN stderr_lines TEXT;
ALTER TABLE messages ADD COLUMN is_approval_request INTEGER NOT NULL DEFAULT 0;

CREATE TABLE tools (
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  description TEXT,
  source_type TEXT NOT NULL,
  source_code TEXT NOT NULL,
  json_schema TEXT NOT NULL,
  tags TEXT NOT NULL,
  return_char_limit INTEGER NOT NULL,
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
CREATE UNIQUE INDEX tools_open ON tools (id) WHERE to_offset IS NULL;
CREATE INDEX tools_by_creation ON tools (created_at, id) WHERE to_offset IS NULL;

CREATE TABLE steps (
  id TEXT NOT NULL,
  run_id TEXT NOT NULL,
  agent_id TEXT NOT NULL,
  model TEXT NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL,
  stop_reason TEXT,
  created_at INTEGER NOT NULL,
  from_partition INTEGER NOT NULL,
  from_offset INTEGER NOT NULL,
  from_ordinal INTEGER NOT NULL,
  from_at INTEGER NOT NULL,
  from_sequence INTEGER NOT NULL,
  to_offset INTEGER,
  to_at INTEGER,
  PRIMARY KEY (id, from_offset, from_ordinal, from_partition)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX steps_open ON steps (id) WHERE to_offset IS NULL;
CREATE INDEX steps_by_run ON steps (run_id, from_offset, from_ordinal, from_partition);
CREATE INDEX runs_by_creation ON runs (created_at, id) WHERE to_offset IS NULL;
-- Which agents are being imported: asked by every list of blocks.
CREATE INDEX agents_by_importing ON agents (importing) WHERE to_offset IS NULL;
