-- The views. A generation of them is a schema of its own, <prefix>_views_<number>, which every statement names; its
-- tables are copies of the template_ ones here, which never have rows. <prefix>_live has SQL views of the generation
-- that is shown: what readers name. The prefix is the name of the schema that this file is applied in, or "varve" if
-- that is "public".
--
-- Every row of a view is a version: from the position of the event that made it to the position of the event that
-- closed it. The columns are those of projections/schema.cpp (a test compares them) and the primary key is the entity
-- and the position. A unique index of the open versions keeps an entity from having two, but for messages, runs and
-- steps: an index that knows which version is open would have to be changed, with all others of its table, whenever a
-- row is closed, and messages are closed by the thousand. There an insert looks for an open version
-- (projections/postgres_view_batch.h).
--
-- Text compares by bytes (COLLATE "C") and is folded in ASCII only. Opaque JSON is text: it comes back as it was
-- written. Booleans and times (microseconds) are bigint, too: a row has the same values in every store. Unsigned
-- numbers of 64 bits are in the bits of a bigint.

CREATE TABLE template_messages (
  id text COLLATE "C" NOT NULL,
  agent_id text COLLATE "C" NOT NULL,
  role text COLLATE "C" NOT NULL,
  content text COLLATE "C" NOT NULL,
  name text COLLATE "C",
  sender_id text COLLATE "C",
  group_id text COLLATE "C",
  otid text COLLATE "C",
  run_id text COLLATE "C",
  step_id text COLLATE "C",
  tool_calls text COLLATE "C",
  reasoning text COLLATE "C",
  tool_call_id text COLLATE "C",
  is_error bigint NOT NULL,
  created_at bigint NOT NULL,
  stdout_lines text COLLATE "C",
  stderr_lines text COLLATE "C",
  is_approval_request bigint NOT NULL,
  extra text COLLATE "C",
  from_partition bigint NOT NULL,
  from_offset bigint NOT NULL,
  from_ordinal bigint NOT NULL,
  from_at bigint NOT NULL,
  from_sequence bigint NOT NULL,
  to_offset bigint,
  to_at bigint,
  words tsvector, -- What the message is found by (projections/postgres_search.h); null: by nothing.
  PRIMARY KEY (id, from_offset, from_ordinal, from_partition)
) WITH (fillfactor = 90);
-- The history of an agent in order, newest or oldest first; and the messages of one run.
CREATE INDEX ON template_messages (agent_id, from_offset, from_ordinal, from_partition);
CREATE INDEX ON template_messages (run_id, from_offset, from_ordinal, from_partition) WHERE run_id IS NOT NULL;
CREATE INDEX ON template_messages USING gin (words);

CREATE TABLE template_blocks (
  id text COLLATE "C" NOT NULL,
  label text COLLATE "C" NOT NULL,
  value text COLLATE "C" NOT NULL,
  "limit" bigint NOT NULL,
  description text COLLATE "C",
  read_only bigint NOT NULL,
  tags text COLLATE "C" NOT NULL,
  metadata text COLLATE "C" NOT NULL,
  extra text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  from_partition bigint NOT NULL,
  from_offset bigint NOT NULL,
  from_ordinal bigint NOT NULL,
  from_at bigint NOT NULL,
  from_sequence bigint NOT NULL,
  to_offset bigint,
  to_at bigint,
  PRIMARY KEY (id, from_offset, from_ordinal, from_partition)
);
CREATE UNIQUE INDEX ON template_blocks (id) WHERE to_offset IS NULL;
CREATE INDEX ON template_blocks (created_at, id) WHERE to_offset IS NULL;
CREATE INDEX ON template_blocks (label, created_at, id) WHERE to_offset IS NULL;

CREATE TABLE template_agents (
  id text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  description text COLLATE "C",
  system text COLLATE "C" NOT NULL,
  agent_type text COLLATE "C" NOT NULL,
  model text COLLATE "C" NOT NULL,
  embedding text COLLATE "C",
  context_window bigint NOT NULL,
  timezone text COLLATE "C" NOT NULL,
  tools text COLLATE "C" NOT NULL,
  tags text COLLATE "C" NOT NULL,
  metadata text COLLATE "C" NOT NULL,
  extra text COLLATE "C" NOT NULL,
  importing bigint NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  from_partition bigint NOT NULL,
  from_offset bigint NOT NULL,
  from_ordinal bigint NOT NULL,
  from_at bigint NOT NULL,
  from_sequence bigint NOT NULL,
  to_offset bigint,
  to_at bigint,
  PRIMARY KEY (id, from_offset, from_ordinal, from_partition)
);
CREATE UNIQUE INDEX ON template_agents (id) WHERE to_offset IS NULL;
CREATE INDEX ON template_agents (created_at, id) WHERE to_offset IS NULL;
CREATE INDEX ON template_agents (name, created_at, id) WHERE to_offset IS NULL;
-- Which agents are being imported: asked by every list of blocks.
CREATE INDEX ON template_agents (importing) WHERE to_offset IS NULL;

CREATE TABLE template_agent_activity (
  agent_id text COLLATE "C" NOT NULL,
  last_run_id text COLLATE "C",
  last_run_completion bigint,
  last_run_duration_ms bigint,
  last_stop_reason text COLLATE "C",
  from_partition bigint NOT NULL,
  from_offset bigint NOT NULL,
  from_ordinal bigint NOT NULL,
  from_at bigint NOT NULL,
  from_sequence bigint NOT NULL,
  to_offset bigint,
  to_at bigint,
  PRIMARY KEY (agent_id, from_offset, from_ordinal, from_partition)
);
CREATE UNIQUE INDEX ON template_agent_activity (agent_id) WHERE to_offset IS NULL;

CREATE TABLE template_runs (
  id text COLLATE "C" NOT NULL,
  agent_id text COLLATE "C" NOT NULL,
  status text COLLATE "C" NOT NULL,
  stop_reason text COLLATE "C",
  error_type text COLLATE "C",
  error_message text COLLATE "C",
  request text COLLATE "C" NOT NULL,
  prompt_tokens bigint NOT NULL,
  completion_tokens bigint NOT NULL,
  steps bigint NOT NULL,
  created_at bigint NOT NULL,
  completed_at bigint,
  from_partition bigint NOT NULL,
  from_offset bigint NOT NULL,
  from_ordinal bigint NOT NULL,
  from_at bigint NOT NULL,
  from_sequence bigint NOT NULL,
  to_offset bigint,
  to_at bigint,
  PRIMARY KEY (id, from_offset, from_ordinal, from_partition)
);
CREATE INDEX ON template_runs (agent_id, from_offset, from_ordinal, from_partition);
CREATE INDEX ON template_runs (created_at, id) WHERE to_offset IS NULL;

CREATE TABLE template_attachments (
  agent_id text COLLATE "C" NOT NULL,
  block_id text COLLATE "C" NOT NULL,
  label text COLLATE "C" NOT NULL,
  from_partition bigint NOT NULL,
  from_offset bigint NOT NULL,
  from_ordinal bigint NOT NULL,
  from_at bigint NOT NULL,
  from_sequence bigint NOT NULL,
  to_offset bigint,
  to_at bigint,
  PRIMARY KEY (agent_id, block_id, from_offset, from_ordinal, from_partition)
);
CREATE UNIQUE INDEX ON template_attachments (agent_id, block_id) WHERE to_offset IS NULL;
CREATE INDEX ON template_attachments (block_id, agent_id);

CREATE TABLE template_tags (
  agent_id text COLLATE "C" NOT NULL,
  tag text COLLATE "C" NOT NULL,
  from_partition bigint NOT NULL,
  from_offset bigint NOT NULL,
  from_ordinal bigint NOT NULL,
  from_at bigint NOT NULL,
  from_sequence bigint NOT NULL,
  to_offset bigint,
  to_at bigint,
  PRIMARY KEY (agent_id, tag, from_offset, from_ordinal, from_partition)
);
CREATE UNIQUE INDEX ON template_tags (agent_id, tag) WHERE to_offset IS NULL;
CREATE INDEX ON template_tags (tag, agent_id);

CREATE TABLE template_shard_owners (
  "partition" bigint NOT NULL,
  epoch bigint NOT NULL,
  claim_id text COLLATE "C" NOT NULL,
  node text COLLATE "C" NOT NULL,
  url text COLLATE "C" NOT NULL,
  claimed_at bigint NOT NULL,
  from_partition bigint NOT NULL,
  from_offset bigint NOT NULL,
  from_ordinal bigint NOT NULL,
  from_at bigint NOT NULL,
  from_sequence bigint NOT NULL,
  to_offset bigint,
  to_at bigint,
  PRIMARY KEY ("partition", from_offset, from_ordinal, from_partition)
);
CREATE UNIQUE INDEX ON template_shard_owners ("partition") WHERE to_offset IS NULL;

CREATE TABLE template_tools (
  id text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  description text COLLATE "C",
  source_type text COLLATE "C" NOT NULL,
  source_code text COLLATE "C" NOT NULL,
  json_schema text COLLATE "C" NOT NULL,
  tags text COLLATE "C" NOT NULL,
  return_char_limit bigint NOT NULL,
  extra text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  from_partition bigint NOT NULL,
  from_offset bigint NOT NULL,
  from_ordinal bigint NOT NULL,
  from_at bigint NOT NULL,
  from_sequence bigint NOT NULL,
  to_offset bigint,
  to_at bigint,
  PRIMARY KEY (id, from_offset, from_ordinal, from_partition)
);
CREATE UNIQUE INDEX ON template_tools (id) WHERE to_offset IS NULL;
CREATE INDEX ON template_tools (created_at, id) WHERE to_offset IS NULL;

CREATE TABLE template_steps (
  id text COLLATE "C" NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  agent_id text COLLATE "C" NOT NULL,
  model text COLLATE "C" NOT NULL,
  prompt_tokens bigint NOT NULL,
  completion_tokens bigint NOT NULL,
  stop_reason text COLLATE "C",
  created_at bigint NOT NULL,
  from_partition bigint NOT NULL,
  from_offset bigint NOT NULL,
  from_ordinal bigint NOT NULL,
  from_at bigint NOT NULL,
  from_sequence bigint NOT NULL,
  to_offset bigint,
  to_at bigint,
  PRIMARY KEY (id, from_offset, from_ordinal, from_partition)
) WITH (fillfactor = 90);
CREATE INDEX ON template_steps (run_id, from_offset, from_ordinal, from_partition);

-- How far each partition is folded. Moves in the statement that writes the rows, by compare-and-set on its version and
-- place, which comes first.
CREATE TABLE template_checkpoints (
  "partition" bigint PRIMARY KEY,
  version bigint NOT NULL,
  next_offset bigint NOT NULL,
  epoch bigint NOT NULL,
  "index" bigint NOT NULL,
  cluster text COLLATE "C" NOT NULL,
  at bigint NOT NULL,
  mark_offset bigint, -- Null before the first record, as is the hash.
  mark_hash bigint,
  digests text COLLATE "C" NOT NULL
) WITH (fillfactor = 50);

-- Events that could not be folded, and what waits behind them in their streams.
CREATE TABLE template_quarantine (
  "partition" bigint NOT NULL,
  "offset" bigint NOT NULL,
  stream text COLLATE "C" NOT NULL,
  event bigint NOT NULL, -- Ordinal in its part; -1 = the whole part waits.
  type text COLLATE "C" NOT NULL,
  reason text COLLATE "C" NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY ("partition", "offset", stream, event)
);

-- From time to offset, for as_of: one row per batch.
CREATE TABLE template_times (
  "partition" bigint NOT NULL,
  first_offset bigint NOT NULL,
  last_offset bigint NOT NULL,
  first_at bigint NOT NULL,
  last_at bigint NOT NULL,
  PRIMARY KEY ("partition", first_offset)
);

-- Which kSearchVersion (projections/search_terms.h) the words of the messages were made by: one row.
CREATE TABLE template_search_index (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  version bigint NOT NULL
);

CREATE FUNCTION views_prefix() RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $body$
  SELECT CASE current_schema() WHEN 'public' THEN 'varve' ELSE current_schema()::text END
$body$;

-- Makes the tables of a generation; false, and nothing done, if they are there. Several programs may ask at once.
CREATE FUNCTION make_generation(generation bigint, search_version bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $body$
DECLARE
  target text := views_prefix() || '_views_' || generation;
  shape record;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(views_prefix() || '_views', 0));
  IF to_regnamespace(quote_ident(target)) IS NOT NULL THEN
    RETURN false;
  END IF;
  EXECUTE format('CREATE SCHEMA %I', target);
  FOR shape IN
    SELECT relname, substr(relname, length('template_') + 1) AS name, reloptions FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname ^@ 'template_'
    ORDER BY relname
  LOOP
    EXECUTE format('CREATE TABLE %I.%I (LIKE %I INCLUDING ALL)', target, shape.name, shape.relname);
    IF shape.reloptions IS NOT NULL THEN -- LIKE leaves them out.
      EXECUTE format('ALTER TABLE %I.%I SET (%s)', target, shape.name, array_to_string(shape.reloptions, ', '));
    END IF;
  END LOOP;
  EXECUTE format('INSERT INTO %I.search_index (version) VALUES ($1)', target) USING search_version;
  RETURN true;
END
$body$;

-- Shows a generation to the readers of <prefix>_live: a read sees the one before or this one, never both. Belongs into
-- a transaction with a short lock_timeout: it waits for the reads that are under way, and later ones wait for it.
CREATE FUNCTION show_generation(generation bigint) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $body$
DECLARE
  source text := views_prefix() || '_views_' || generation;
  target text := views_prefix() || '_live';
  shown record;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(views_prefix() || '_views', 0));
  EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', target);
  FOR shown IN
    SELECT relname AS name FROM pg_class
    WHERE relnamespace = quote_ident(source)::regnamespace AND relkind = 'r' ORDER BY relname
  LOOP
    EXECUTE format('CREATE OR REPLACE VIEW %I.%I AS SELECT * FROM %I.%I', target, shown.name, source, shown.name);
  END LOOP;
  EXECUTE format('CREATE OR REPLACE VIEW %I.generation AS SELECT %s::bigint AS number', target, generation);
END
$body$;

-- The same if nothing is shown yet.
CREATE FUNCTION show_first_generation(generation bigint) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $body$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(views_prefix() || '_views', 0));
  IF to_regclass(quote_ident(views_prefix() || '_live') || '.generation') IS NULL THEN
    PERFORM show_generation(generation);
  END IF;
END
$body$;
