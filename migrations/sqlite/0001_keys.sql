-- The keys of erasable agents and blocks. Nothing else is in this file, so that it can be kept apart from backups
-- (docs/personal-data.md).

CREATE TABLE stream_keys (
  stream TEXT PRIMARY KEY,
  key BLOB NOT NULL -- 32 bytes.
) STRICT, WITHOUT ROWID;
