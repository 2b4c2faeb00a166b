-- Messages are indexed many at once: a transaction of the index costs more than a few words in it. `indexed` is the
-- newest row of messages whose words are in message_words; a search reads the rows behind it one by one.
ALTER TABLE search_index ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0;
UPDATE search_index SET indexed = (SELECT coalesce(max(rowid), 0) FROM messages);
