// What differs between two JSON values, member by member, for people who read what an event has changed.
// Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/json.h"

namespace varve {

struct JsonChange {
  std::string path;                   // "block.value", "context[3]"
  std::optional<std::string> before;  // JSON; nothing: it was not there.
  std::optional<std::string> after;
  friend bool operator==(const JsonChange&, const JsonChange&) = default;
};

// In the order of the members. Items of a list that come or go in its middle are that, not changes of all
// that follow; a list's items are named by their place in the list that holds them.
std::vector<JsonChange> json_changes(const Json& before, const Json& after);

}  // namespace varve
