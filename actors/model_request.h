// What a model is asked in a step of a turn, and what of its reply can be recorded: from an agent's state,
// the present values of its blocks and its tools. Pure.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "actors/decide.h"
#include "actors/model_client.h"
#include "actors/tool_rules.h"

namespace varve {

// What a model is shown of an agent's context, kept from one step to the next.
struct ShownContext {
  MessageList messages;
  std::int64_t tokens = 0;
  // Of the context that it was made of: how many messages, and which were the first behind the system message
  // and the last.
  std::size_t count = 0;
  std::shared_ptr<const Message> first;
  std::shared_ptr<const Message> last;
};

struct OfferedTool {
  ModelTool tool;
  bool needs_client = false;  // The client runs it, or must approve of it first.
};

// What the client asked for when it opened the turn.
Json request_of(const AgentState& agent);
// The model of the agent, unless the request asked for another one.
std::string model_of(const AgentState& agent);
bool wants_tokens(const Json& request);

// Ids of the tools that the catalogue must be asked for.
std::vector<std::string> custom_tools(const AgentState& agent);
std::vector<OfferedTool> tools_offered(const AgentState& agent, const std::vector<ToolValue>& custom,
                                       const Json& request, const ToolRules& rules);

// `shown_context` is brought up to the agent's context.
ModelRequest model_request(const AgentState& agent, ShownContext& shown_context,
                           const std::vector<BlockValue>& blocks, const std::vector<OfferedTool>& offered,
                           const ToolRules& rules);

// Puts what the model said into the record, as far as it can be stored.
void take_reply(RecordReply& record, const ModelReply& reply, const std::vector<OfferedTool>& offered);

// Output of models and tools becomes text that can be stored: mended, and cut with a mark.
std::string stored_output(std::string_view output);
// The same as the content of a message: JSON.
std::string stored_content(std::string_view output);

}  // namespace varve
