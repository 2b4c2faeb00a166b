#include "actors/memory_tools.h"

#include <algorithm>

namespace varve {
namespace {

Error refuse(std::string why) {
  return {Errc::invalid_argument, std::move(why)};
}

// A required string argument.
Result<std::string> argument(const Json& arguments, std::string_view tool, std::string_view name) {
  const Json* found = arguments.find(name);
  if (found == nullptr)
    return refuse(std::string(tool) + ": argument '" + std::string(name) + "' is missing");
  if (!found->is_string())
    return refuse(std::string(tool) + ": argument '" + std::string(name) + "' must be a string");
  return found->as_string();
}

// Line numbers such as a model copies from a numbered listing: "\nLine 12: ".
bool has_line_number_prefix(std::string_view text) {
  if (text.starts_with("\n")) text.remove_prefix(1);
  if (!text.starts_with("Line ")) return false;
  text.remove_prefix(5);
  std::size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  return digits > 0 && text.substr(digits).starts_with(": ");
}

Result<std::string> replace_once(const std::string& value, const EditBlock& edit) {
  if (edit.old_text.empty()) return refuse("the text to replace must not be empty");
  const std::size_t first = value.find(edit.old_text);
  if (first == std::string::npos) {
    return refuse("the text '" + edit.old_text + "' was not found in the block; it must match exactly");
  }
  if (value.find(edit.old_text, first + 1) != std::string::npos) {
    return refuse("the text '" + edit.old_text +
                  "' occurs more than once; make it longer, so that it is unique");
  }
  std::string edited = value;
  edited.replace(first, edit.old_text.size(), edit.new_text);
  return edited;
}

std::string insert_line(const std::string& value, const EditBlock& edit) {
  // Position behind the line with this number; -1, or more lines than there are, is the end.
  std::size_t at = 0;
  std::int64_t line = 0;
  if (edit.line < 0) {
    at = value.size();
  } else {
    while (line < edit.line && at < value.size()) {
      const std::size_t newline = value.find('\n', at);
      at = newline == std::string::npos ? value.size() : newline + 1;
      ++line;
    }
  }
  std::string edited = value.substr(0, at);
  if (!edited.empty() && edited.back() != '\n') edited += '\n';
  edited += edit.new_text;
  if (at < value.size()) {
    edited += '\n';
    edited += value.substr(at);
  }
  return edited;
}

// A day counts to its end where it ends a range.
std::optional<WallTime> parse_search_date(const std::string& text, bool end) {
  const auto time = parse_rfc3339(text);
  constexpr std::int64_t kDayMicros = 86'400'000'000;
  if (time && end && text.size() == 10) return WallTime{time->value() + kDayMicros - 1};
  return time;
}

}  // namespace

const std::vector<ToolSchema>& builtin_tools() {
  static const std::vector<ToolSchema> kSchemas{
      {"memory_insert",
       "Insert text into a block of your memory, after a line (0 = at the beginning) or at the end.",
       R"({"type":"object","properties":{"label":{"type":"string","description":"Section of the memory to be edited, identified by its label."},"new_string":{"type":"string","description":"The text to insert. Do not include line number prefixes."},"insert_line":{"type":"integer","description":"The line after which to insert; 0 inserts at the beginning, -1 (the default) at the end."}},"required":["label","new_string"]})",
       "letta_sleeptime_core"},
      {"memory_replace",
       "Replace a text in a block of your memory by another. The text must occur exactly once.",
       R"({"type":"object","properties":{"label":{"type":"string","description":"Section of the memory to be edited, identified by its label."},"old_string":{"type":"string","description":"The text to replace; it must match exactly and be unique."},"new_string":{"type":"string","description":"The new text; empty deletes the old one. Without line numbers."}},"required":["label","old_string","new_string"]})",
       "letta_sleeptime_core"},
      {"core_memory_append", "Append a line to a block of your memory.",
       R"({"type":"object","properties":{"label":{"type":"string","description":"Section of the memory to be edited, identified by its label."},"content":{"type":"string","description":"The text to append."}},"required":["label","content"]})",
       "letta_memory_core"},
      {"core_memory_replace",
       "Replace a text in a block of your memory by another. The text must occur exactly once.",
       R"({"type":"object","properties":{"label":{"type":"string","description":"Section of the memory to be edited, identified by its label."},"old_content":{"type":"string","description":"The text to replace; it must match exactly."},"new_content":{"type":"string","description":"The new text; empty deletes the old one."}},"required":["label","old_content","new_content"]})",
       "letta_memory_core"},
      {"conversation_search",
       "Search the messages of this conversation, also those that you no longer see. A message is found if "
       "it holds all the words of the query.",
       R"({"type":"object","properties":{"query":{"type":"string","description":"The words to look for; a phrase in double quotes is looked for as it is."},"roles":{"type":"array","items":{"type":"string","enum":["assistant","user","tool"]},"description":"Optional list of message roles to filter by."},"limit":{"type":"integer","description":"At most so many messages, 10 if it is left out."},"start_date":{"type":"string","description":"Only messages from this day or time on, as 2026-01-31 or 2026-01-31T12:00."},"end_date":{"type":"string","description":"Only messages up to this day or time."}},"required":[]})",
       "letta_core"},
  };
  return kSchemas;
}

bool is_memory_tool(std::string_view name) {
  return name != kConversationSearch && find_builtin_tool(name) != nullptr;
}

std::string builtin_tool_id(std::string_view name) {
  return "tool-" + derived_uuid(command_id_from_text("built-in tool"), name, 0);
}

const ToolSchema* find_builtin_tool(std::string_view name) {
  const auto& schemas = builtin_tools();
  const auto found =
      std::find_if(schemas.begin(), schemas.end(), [name](const auto& tool) { return tool.name == name; });
  return found == schemas.end() ? nullptr : &*found;
}

std::string tool_intent(const CommandId& turn, const std::string& step_id, std::int64_t ordinal) {
  return to_hex(turn) + "/tool/" + step_id + "/" + std::to_string(ordinal);
}

std::vector<std::string> base_tools() {
  return {std::string(kConversationSearch), "memory_insert", "memory_replace"};
}

Result<MemoryToolCall> parse_memory_tool_call(const ToolCall& call) {
  const auto parsed = Json::parse(call.arguments.empty() ? "{}" : call.arguments);
  if (!parsed || !parsed->is_object()) return refuse(call.name + ": the arguments must be a JSON object");
  MemoryToolCall tool_call;
  auto label = argument(*parsed, call.name, "label");
  if (!label) return label.error();
  tool_call.label = std::move(*label);

  const bool core = call.name.starts_with("core_memory_");
  EditBlock& edit = tool_call.edit;
  if (call.name == "core_memory_append") {
    edit.operation = EditBlock::Operation::append;
  } else if (call.name == "memory_insert") {
    edit.operation = EditBlock::Operation::insert;
  } else {
    edit.operation = EditBlock::Operation::replace;
  }
  const char* new_name =
      core ? (edit.operation == EditBlock::Operation::append ? "content" : "new_content") : "new_string";
  auto new_text = argument(*parsed, call.name, new_name);
  if (!new_text) return new_text.error();
  edit.new_text = std::move(*new_text);
  if (edit.operation == EditBlock::Operation::replace) {
    auto old_text = argument(*parsed, call.name, core ? "old_content" : "old_string");
    if (!old_text) return old_text.error();
    edit.old_text = std::move(*old_text);
  }
  if (const Json* line = parsed->find("insert_line"); line != nullptr && !line->is_null()) {
    const auto number = line->as_integer();
    if (!number) return refuse(call.name + ": argument 'insert_line' must be an integer");
    edit.line = *number;
  }
  if (has_line_number_prefix(edit.new_text) || has_line_number_prefix(edit.old_text)) {
    return refuse(call.name + ": leave out the line number prefix 'Line N: ', it is not part of the text");
  }
  return tool_call;
}

Result<MessageQuestion> parse_search_call(const ToolCall& call) {
  const auto parsed = Json::parse(call.arguments.empty() ? "{}" : call.arguments);
  if (!parsed || !parsed->is_object()) return refuse(call.name + ": the arguments must be a JSON object");
  MessageQuestion question;
  auto query = argument(*parsed, call.name, "query");
  if (!query) return query.error();
  question.query = std::move(*query);
  if (const Json* roles = parsed->find("roles"); roles != nullptr && !roles->is_null()) {
    for (const Json& role : roles->items()) {
      if (!role.is_string()) return refuse(call.name + ": argument 'roles' must be a list of strings");
      question.roles.push_back(role.as_string());
    }
  }
  if (const Json* limit = parsed->find("limit"); limit != nullptr && !limit->is_null()) {
    const auto number = limit->as_integer();
    if (!number || *number < 1) return refuse(call.name + ": argument 'limit' must be a positive integer");
    question.limit = static_cast<std::size_t>(*number);
  }
  for (const char* name : {"start_date", "end_date"}) {
    const Json* date = parsed->find(name);
    if (date == nullptr || date->is_null()) continue;
    const bool end = std::string_view(name) == "end_date";
    const auto time = date->is_string() ? parse_search_date(date->as_string(), end) : std::nullopt;
    if (!time) return refuse(call.name + ": argument '" + name + "' must be a date such as 2026-01-31");
    (end ? question.until : question.from) = *time;
  }
  return question;
}

Result<std::string> edit_block_text(const BlockValue& block, const EditBlock& edit) {
  if (block.read_only) return refuse("the block '" + block.label + "' is read-only");
  std::string edited;
  switch (edit.operation) {
    case EditBlock::Operation::append:
      edited = block.value.empty() ? edit.new_text : block.value + "\n" + edit.new_text;
      break;
    case EditBlock::Operation::insert:
      edited = insert_line(block.value, edit);
      break;
    case EditBlock::Operation::replace: {
      auto replaced = replace_once(block.value, edit);
      if (!replaced) return replaced.error();
      edited = std::move(*replaced);
      break;
    }
  }
  if (edited.size() > kBlockBytesMax) {
    return refuse("the block '" + block.label + "' would grow to " + std::to_string(edited.size()) +
                  " bytes; the limit is " + std::to_string(kBlockBytesMax));
  }
  return edited;
}

}  // namespace varve
