-- Message search: the words of each message that is searched, and an agent's token to narrow by.
--
-- The words are those of projections/search_terms.cpp, joined by spaces; the ascii tokenizer splits them there
-- and nowhere else. The rowid is that of the row in messages, where everything else about it is. No content,
-- no sizes of columns: nothing is ranked and nothing is deleted.
CREATE VIRTUAL TABLE message_words USING fts5(
  agent, words, content = '', columnsize = 0, tokenize = 'ascii'
);

-- Which kSearchVersion the words were made by: one row. At another one than its own the program fills
-- message_words anew when it opens the file, as here, where old messages have no words yet.
CREATE TABLE search_index (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  version INTEGER NOT NULL
) STRICT;
INSERT INTO search_index (only, version) VALUES (1, 0);
