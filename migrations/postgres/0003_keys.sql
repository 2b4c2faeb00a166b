-- The keys of erasable agents and blocks, 32 bytes each. Nothing else is in this table, so that it can be kept apart
-- from backups (docs/personal-data.md). A page of it is read and changed seldom.

CREATE TABLE stream_keys (
  stream text COLLATE "C" PRIMARY KEY,
  key bytea NOT NULL
);
