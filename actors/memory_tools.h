// The memory tools: what they are called, how a model is told about them, and how a call becomes an edit of a
// block. The edit itself is a command to the block's stream, with an id made of turn and call, so that a
// repeated call edits once. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "actors/command.h"
#include "actors/message_search.h"

namespace varve {

struct ToolSchema {
  std::string_view name;
  std::string_view description;
  std::string_view parameters;  // JSON schema.
  std::string_view tool_type;   // As the API names it.
};

// Every tool that is code of this program: the memory tools (memory_insert, memory_replace,
// core_memory_append, core_memory_replace) and conversation_search.
const std::vector<ToolSchema>& builtin_tools();
const ToolSchema* find_builtin_tool(std::string_view name);
// Edits a block of memory.
bool is_memory_tool(std::string_view name);
inline constexpr std::string_view kConversationSearch = "conversation_search";
// "tool-<uuid4>" of a built-in tool, the same on every server.
std::string builtin_tool_id(std::string_view name);
// What an agent gets with include_base_tools.
std::vector<std::string> base_tools();

struct MemoryToolCall {
  std::string label;
  EditBlock edit;
};
// Errc::invalid_argument with a sentence for the model: which argument, what was expected.
Result<MemoryToolCall> parse_memory_tool_call(const ToolCall& call);

// The arguments of conversation_search. Errc::invalid_argument with a sentence for the model.
Result<MessageQuestion> parse_search_call(const ToolCall& call);

// What the id of the command is made of by which a tool call edits a block; `turn` is the command that opened
// the turn, `ordinal` the call's place in its step. inspect/causes.cpp finds the call by it.
std::string tool_intent(const CommandId& turn, const std::string& step_id, std::int64_t ordinal);

// The new value of a block. Errc::invalid_argument with a sentence for the model: read-only block, text not
// found or found more than once, more than kBlockBytesMax.
Result<std::string> edit_block_text(const BlockValue& block, const EditBlock& edit);

}  // namespace varve
