// JSON of messages, runs' ends and the events of streams. One stored message becomes up to three of the API's
// (reasoning, text, tool calls) that share its id; in a stream each is an event of its own. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "actors/turn_channel.h"
#include "projections/schema.h"
#include "runtime/json.h"

namespace varve {

using MessageTypes = std::optional<std::vector<std::string>>;  // Only these message_types; nothing = all.

// What the API prints of a message, from a row or from an event.
struct MessageView {
  std::string id;
  std::int64_t created_at = 0;
  std::optional<std::string> name, sender_id, otid, step_id, run_id;
  std::string role;
  std::string content = "\"\"";  // JSON.
  std::string reasoning;
  std::vector<ToolCall> tool_calls;
  std::string tool_call_id;
  bool is_error = false;
  bool is_approval_request = false;
  std::string stdout_lines, stderr_lines;  // JSON lists or empty.
};
MessageView view_of(const Row& row);
MessageView view_of(const TurnMessage& message, const std::string& run_id);

// The parts of a message in order, each a JSON object. With `seq_id` (the number of the message in its run)
// the last part carries it, and the others the number before: who has seen a part has not seen the message.
std::vector<std::string> message_parts(const MessageView& view, const MessageTypes& types,
                                       std::optional<std::int64_t> seq_id = std::nullopt);

// Appends the parts to an open list.
void render_message(JsonWriter& out, const MessageView& view, const MessageTypes& types);

// A piece of a reply in the making, as an event; empty if `types` leaves it out. `part` is its place among
// the parts of the message.
std::string delta_part(const LiveReply& live, const ModelDelta& delta, const std::string& run_id,
                       unsigned part, std::int64_t seq_id, const MessageTypes& types);

// The "usage" member of an answer to POST messages. `tokens`: of a stream of tokens, which knows less.
void render_usage(JsonWriter& out, const Usage& usage, bool tokens = false);
std::string stop_event(const std::string& stop_reason);

}  // namespace varve
