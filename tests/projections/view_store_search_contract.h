// The exam about message search that every ViewStore takes besides ViewStoreContract; the questions are in
// view_store_search_contract.cpp.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/json.h"
#include "tests/projections/view_store_contract.h"

namespace varve::test {

struct Said {
  std::string id;
  std::string text;
  std::string role = "user";
  std::string agent_id = "a1";
};

// What somebody said, as a message with a time of creation.
inline RowInsert said(const Said& what, RowFrom from) {
  RowInsert row = message(what.id, what.agent_id, from);
  std::string content;
  append_json_string(content, what.text);
  row.row.values[messages::content] = text(content);
  row.row.values[messages::role] = text(what.role);
  row.row.values[messages::created_at] = number(from.at.value());
  return row;
}

class MessageSearchContract : public ViewStoreContract {
 protected:
  // Agents a1 and a2, at offset 0.
  void SetUp() override {
    ASSERT_EQ(ViewStoreContract::commit({agent("a1", "one", 1, at(0)), agent("a2", "two", 1, at(0, 1))}),
              "committed");
  }

  // Each at the next offset of its partition, from 1.
  void say(const std::vector<Said>& all, std::uint32_t partition = 0) {
    std::vector<RowChange> changes;
    std::uint64_t offset = 0;
    for (const Said& one : all) changes.emplace_back(said(one, at(++offset, 0, partition)));
    ASSERT_EQ(commit(std::move(changes), partition), "committed");
  }

  std::string found(SearchQuery search) {
    auto text = std::make_shared<std::string>();
    const Status status = read([text, search](ViewReader& reader) -> Status {
      const auto hits = reader.search_messages(search);
      if (!hits) return hits.error();
      std::int64_t rank = 0;
      for (const SearchHit& hit : *hits) {
        EXPECT_EQ(hit.rank, ++rank);
        *text += (text->empty() ? "" : " ") + hit.row.text(messages::id);
      }
      return ok();
    });
    return status ? *text : to_string(status.error());
  }
  std::string found(std::string query) { return found(SearchQuery{.query = std::move(query)}); }
};

}  // namespace varve::test
