// Message search in PostgreSQL: what the column `words` of messages holds, and the query that reads it. Pure:
// nothing is executed.
//
// The words are those of projections/search_terms.h, as lexemes without positions: a tsvector keeps no more
// than 256 positions of a word, and holds none beyond 16,383. So the index finds the messages that hold all
// words of a query, and of a phrase of several words the reader itself looks whether they follow each other.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "projections/postgres_query.h"

namespace varve {

// The lexemes of a message with a space between them, first a token of its agent, so that the index itself
// narrows to an agent; nothing if it is not searched or has no words.
std::optional<std::string> postgres_lexemes(const Row& message);
std::optional<std::string> postgres_lexemes(std::string_view agent_id, std::string_view role,
                                            std::string_view content);
// The column `words` from such a text, as SQL.
std::string postgres_words_of(const std::string& lexemes);

// Where a page of a search begins: behind this row, in the order of the hits.
using SearchPlace = RowFrom;

// The newest `limit` messages that hold all words of `phrases` and are otherwise what is asked for. Columns
// of the result: as those of postgres_select() for messages. `search` has passed check_search(), `phrases`
// are those of its query, at least one.
PostgresStatement postgres_search(const ViewTables& tables, const SearchQuery& search,
                                  const std::vector<std::string>& phrases,
                                  const std::optional<SearchPlace>& behind, std::size_t limit);

// True if a message that holds all words of `phrases` holds the phrases, too.
bool are_single_words(const std::vector<std::string>& phrases);

}  // namespace varve
