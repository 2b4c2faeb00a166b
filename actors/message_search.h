// MessageSearch: the port through which a tool looks through an agent's whole history. It reads the views,
// which may lie a moment behind. Thread: the Env's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "eventlog/event.h"
#include "runtime/task.h"

namespace varve {

struct MessageQuestion {
  StreamId agent;
  std::string query;               // Words and phrases, as projections/search_terms.h reads them.
  std::vector<std::string> roles;  // Empty: all.
  std::optional<WallTime> from;
  std::optional<WallTime> until;
  std::size_t limit = 10;
};
struct FoundMessage {
  std::string role;
  std::string text;
  WallTime at;
};

class MessageSearch {
 public:
  MessageSearch() = default;
  MessageSearch(const MessageSearch&) = delete;
  MessageSearch& operator=(const MessageSearch&) = delete;
  virtual ~MessageSearch() = default;

  // Newest first.
  virtual Task<std::vector<FoundMessage>> search(MessageQuestion question) = 0;
};

}  // namespace varve
