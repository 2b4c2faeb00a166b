-- The keys of rowid tables are indexes of their own, which can be made when all rows are there: ids are random, and
-- a rebuild that kept them in order while it loads would spend its time on that (projections/sqlite_loader.h).

CREATE TABLE new_messages (
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
  stdout_lines TEXT,
  stderr_lines TEXT,
  is_approval_request INTEGER NOT NULL DEFAULT 0,
  extra TEXT
) STRICT;
INSERT INTO new_messages (rowid, id, agent_id, role, content, name, sender_id, group_id, otid, run_id,
    step_id, tool_calls, reasoning, tool_call_id, is_error, created_at, from_partition, from_offset,
    from_ordinal, from_at, from_sequence, to_offset, to_at, stdout_lines, stderr_lines, is_approval_request,
    extra)
    SELECT rowid, id, agent_id, role, content, name, sender_id, group_id, otid, run_id, step_id, tool_calls,
      reasoning, tool_call_id, is_error, created_at, from_partition, from_offset, from_ordinal, from_at,
      from_sequence, to_offset, to_at, stdout_lines, stderr_lines, is_approval_request, extra FROM messages
      ORDER BY rowid;
DROP TABLE messages;
ALTER TABLE new_messages RENAME TO messages;
CREATE UNIQUE INDEX messages_key ON messages (id, from_offset, from_ordinal, from_partition);
CREATE INDEX messages_by_agent ON messages (agent_id, from_offset, from_ordinal, from_partition);
CREATE INDEX messages_by_run ON messages (run_id, from_offset, from_ordinal, from_partition)
  WHERE run_id IS NOT NULL;

CREATE TABLE new_blocks (
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
  to_at INTEGER
) STRICT;
INSERT INTO new_blocks (rowid, id, label, value, "limit", description, read_only, tags, metadata, extra,
    created_at, updated_at, from_partition, from_offset, from_ordinal, from_at, from_sequence, to_offset,
    to_at)
    SELECT rowid, id, label, value, "limit", description, read_only, tags, metadata, extra, created_at,
      updated_at, from_partition, from_offset, from_ordinal, from_at, from_sequence, to_offset, to_at FROM
      blocks ORDER BY rowid;
DROP TABLE blocks;
ALTER TABLE new_blocks RENAME TO blocks;
CREATE UNIQUE INDEX blocks_key ON blocks (id, from_offset, from_ordinal, from_partition);
CREATE UNIQUE INDEX blocks_open ON blocks (id) WHERE to_offset IS NULL;
CREATE INDEX blocks_by_creation ON blocks (created_at, id) WHERE to_offset IS NULL;
CREATE INDEX blocks_by_label ON blocks (label, created_at, id) WHERE to_offset IS NULL;

CREATE TABLE new_agents (
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
  to_at INTEGER
) STRICT;
INSERT INTO new_agents (rowid, id, name, description, system, agent_type, model, embedding, context_window,
    timezone, tools, tags, metadata, extra, importing, created_at, updated_at, from_partition, from_offset,
    from_ordinal, from_at, from_sequence, to_offset, to_at)
    SELECT rowid, id, name, description, system, agent_type, model, embedding, context_window, timezone,
      tools, tags, metadata, extra, importing, created_at, updated_at, from_partition, from_offset,
      from_ordinal, from_at, from_sequence, to_offset, to_at FROM agents ORDER BY rowid;
DROP TABLE agents;
ALTER TABLE new_agents RENAME TO agents;
CREATE UNIQUE INDEX agents_key ON agents (id, from_offset, from_ordinal, from_partition);
CREATE UNIQUE INDEX agents_open ON agents (id) WHERE to_offset IS NULL;
CREATE INDEX agents_by_creation ON agents (created_at, id) WHERE to_offset IS NULL;
CREATE INDEX agents_by_name ON agents (name, created_at, id) WHERE to_offset IS NULL;
CREATE INDEX agents_by_importing ON agents (importing) WHERE to_offset IS NULL;

CREATE TABLE new_runs (
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
  to_at INTEGER
) STRICT;
INSERT INTO new_runs (rowid, id, agent_id, status, stop_reason, error_type, error_message, request,
    prompt_tokens, completion_tokens, steps, created_at, completed_at, from_partition, from_offset,
    from_ordinal, from_at, from_sequence, to_offset, to_at)
    SELECT rowid, id, agent_id, status, stop_reason, error_type, error_message, request, prompt_tokens,
      completion_tokens, steps, created_at, completed_at, from_partition, from_offset, from_ordinal,
      from_at, from_sequence, to_offset, to_at FROM runs ORDER BY rowid;
DROP TABLE runs;
ALTER TABLE new_runs RENAME TO runs;
CREATE UNIQUE INDEX runs_key ON runs (id, from_offset, from_ordinal, from_partition);
CREATE INDEX runs_by_agent ON runs (agent_id, from_offset, from_ordinal, from_partition);
CREATE INDEX runs_by_creation ON runs (created_at, id) WHERE to_offset IS NULL;

CREATE TABLE new_tools (
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
  to_at INTEGER
) STRICT;
INSERT INTO new_tools (rowid, id, name, description, source_type, source_code, json_schema, tags,
    return_char_limit, extra, created_at, updated_at, from_partition, from_offset, from_ordinal, from_at,
    from_sequence, to_offset, to_at)
    SELECT rowid, id, name, description, source_type, source_code, json_schema, tags, return_char_limit,
      extra, created_at, updated_at, from_partition, from_offset, from_ordinal, from_at, from_sequence,
      to_offset, to_at FROM tools ORDER BY rowid;
DROP TABLE tools;
ALTER TABLE new_tools RENAME TO tools;
CREATE UNIQUE INDEX tools_key ON tools (id, from_offset, from_ordinal, from_partition);
CREATE UNIQUE INDEX tools_open ON tools (id) WHERE to_offset IS NULL;
CREATE INDEX tools_by_creation ON tools (created_at, id) WHERE to_offset IS NULL;
