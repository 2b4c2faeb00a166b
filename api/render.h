// JSON of the API, made from rows. The same functions render what a client reads later and what it is
// answered at once: the rows then come from the command's own events. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "actors/command.h"
#include "projections/schema.h"
#include "runtime/json.h"

namespace varve {

// Which relationships of an agent to print; the others are empty lists.
struct Relationships {
  bool blocks = true;
  bool tags = true;
  bool tools = true;
};

struct AgentParts {
  Row agent;
  std::optional<Row> activity;
  std::vector<Row> blocks;               // In the order of attaching.
  std::vector<std::string> message_ids;  // In context, oldest first.
};

void render_agent(JsonWriter& out, const AgentParts& parts, const Relationships& include);
void render_block(JsonWriter& out, const Row& block);

// One stored message becomes up to three of the API's: reasoning, text, tool calls. They share its id.
// `types`: print only these message types.
void render_message(JsonWriter& out, const Row& row, const std::optional<std::vector<std::string>>& types);
void render_turn_message(JsonWriter& out, const TurnMessage& message, const std::string& run_id,
                         const std::optional<std::vector<std::string>>& types);

// The "usage" member of an answer to POST messages.
void render_usage(JsonWriter& out, const Usage& usage);

}  // namespace varve
