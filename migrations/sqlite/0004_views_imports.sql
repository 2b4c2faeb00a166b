-- What an imported message had in its agent file besides what the other columns hold, for its export.
-- A generation that was made before has none: serve folds a new one (sqlite_view_store.h).

ALTER TABLE messages ADD COLUMN extra TEXT;
