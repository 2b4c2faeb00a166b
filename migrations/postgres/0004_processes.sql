-- Which processes of a cluster are alive: each says so every few seconds (projections/process_table.h), for
-- `varve cluster status`. Nothing is decided by it. Times are this server's; rows of the dead are removed by the living.
-- A row changes every few seconds and no index holds what changes.

CREATE TABLE processes (
  node text COLLATE "C" PRIMARY KEY, -- Drawn at every start.
  cluster text COLLATE "C" NOT NULL,
  url text COLLATE "C" NOT NULL,
  roles text COLLATE "C" NOT NULL, -- As "api,projections".
  started_at timestamptz NOT NULL,
  seen_at timestamptz NOT NULL
) WITH (fillfactor = 50);
