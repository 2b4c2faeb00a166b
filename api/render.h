// JSON of the API, made from rows. The same functions render what a client reads later and what it is
// answered at once: the rows then come from the command's own events. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/render_message.h"
#include "projections/schema.h"
#include "runtime/json.h"

namespace varve {

// Which relationships of an agent to print; the others are empty lists.
struct Relationships {
  bool blocks = true;
  bool tags = true;
  bool tools = true;
};

// A tool as JSON of the API, whether it is code or a row of the catalogue.
struct ToolView {
  std::string id;
  std::string name;
  std::string tool_type;
  std::string json;
};

struct AgentParts {
  Row agent;
  std::optional<Row> activity;
  std::vector<Row> blocks;               // In the order of attaching.
  std::vector<std::string> message_ids;  // In context, oldest first.
  std::vector<ToolView> tools;           // If they are asked for.
  std::optional<Row> pending_approval;   // The reply whose tool calls wait for the client.
};

// How many files an agent may have open and how much of each is in view, unless somebody has said: by the
// size of its context window.
struct FileLimits {
  std::int64_t context_window_max;
  std::int64_t files_open;
  std::int64_t chars_in_view;
};
const FileLimits& file_limits(std::int64_t context_window);

void render_agent(JsonWriter& out, const AgentParts& parts, const Relationships& include);
void render_block(JsonWriter& out, const Row& block);
// The "memory" member of an agent.
void render_memory(JsonWriter& out, const AgentParts& parts, bool include_blocks);

}  // namespace varve
