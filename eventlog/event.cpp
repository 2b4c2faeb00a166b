#include "eventlog/event.h"

#include <array>
#include <utility>

#include "runtime/json_fields.h"
#include "runtime/stored_json.h"

namespace varve {
namespace {

void write_texts(JsonWriter& out, std::string_view key, const std::vector<std::string>& texts) {
  out.key(key).begin_array();
  for (const std::string& text : texts) out.string(text);
  out.end_array();
}

void write_if(JsonWriter& out, std::string_view key, const std::optional<std::string>& text) {
  if (text) out.field(key, *text);
}

void write_if(JsonWriter& out, std::string_view key, const std::string& text) {
  if (!text.empty()) out.field(key, text);
}

void write_messages(JsonWriter& out, const std::vector<Message>& messages) {
  out.key("messages").begin_array();
  for (const Message& message : messages) write_message(out, message);
  out.end_array();
}

std::vector<Message> read_messages(JsonFields& fields) {
  std::vector<Message> messages;
  for (const Json& item : fields.list("messages")) {
    auto message = read_message(item);
    if (!message) {
      fields.set_fault(message.error().message);
      return {};
    }
    messages.push_back(std::move(*message));
  }
  return messages;
}

Usage usage_in(JsonFields& fields) {
  auto usage = read_usage(fields.object("usage"));
  if (!usage) {
    fields.set_fault(usage.error().message);
    return {};
  }
  return *usage;
}

WallTime time_in(JsonFields& fields, std::string_view key) {
  return WallTime{fields.integer(key)};
}

// ---- the data of each event: write(out, event) and read<Event>(fields) ----

void write_data(JsonWriter& out, const AgentCreated& event) {
  out.key("settings");
  write_settings(out, event.settings);
  out.key("blocks").begin_array();
  for (const BlockRef& block : event.blocks) {
    out.begin_object().field("id", block.block.value()).field("label", block.label).end_object();
  }
  out.end_array();
  write_messages(out, event.messages);
  if (event.erasable) out.field_boolean("erasable", true);
}

void read_data(JsonFields& fields, AgentCreated& event) {
  auto settings = read_settings(fields.object("settings"));
  if (!settings) return fields.set_fault(settings.error().message);
  event.settings = std::move(*settings);
  for (const Json& item : fields.list("blocks")) {
    JsonFields block(item, "block");
    event.blocks.push_back({StreamId{block.text("id")}, block.text("label")});
    if (block.fault()) return fields.set_fault(block.fault()->message);
  }
  event.messages = read_messages(fields);
  event.erasable = fields.boolean_or("erasable", false);
}

void write_data(JsonWriter& out, const AgentUpdated& event) {
  out.key("settings");
  write_settings(out, event.settings);
  write_texts(out, "tags_added", event.tags_added);
  write_texts(out, "tags_removed", event.tags_removed);
  out.field_integer("created_at", event.created_at.value());
}

void read_data(JsonFields& fields, AgentUpdated& event) {
  auto settings = read_settings(fields.object("settings"));
  if (!settings) return fields.set_fault(settings.error().message);
  event.settings = std::move(*settings);
  event.tags_added = fields.texts("tags_added");
  event.tags_removed = fields.texts("tags_removed");
  event.created_at = time_in(fields, "created_at");
}

void write_data(JsonWriter& /*out*/, const AgentDeleted& /*event*/) {}
void read_data(JsonFields& /*fields*/, AgentDeleted& /*event*/) {}

void write_data(JsonWriter& out, const BlockAttached& event) {
  out.field("block", event.block.block.value()).field("label", event.block.label);
}
void read_data(JsonFields& fields, BlockAttached& event) {
  event.block.block = StreamId{fields.text("block")};
  event.block.label = fields.text("label");
}

void write_data(JsonWriter& out, const BlockDetached& event) {
  out.field("block", event.block.value());
}
void read_data(JsonFields& fields, BlockDetached& event) {
  event.block = StreamId{fields.text("block")};
}

void write_data(JsonWriter& out, const ContextTrimmed& event) {
  write_texts(out, "message_ids", event.message_ids);
}
void read_data(JsonFields& fields, ContextTrimmed& event) {
  event.message_ids = fields.texts("message_ids");
}

void write_data(JsonWriter& out, const UserMessageReceived& event) {
  out.field("run_id", event.run_id);
  write_messages(out, event.messages);
  out.field_integer("max_steps", event.max_steps).field_integer("deadline", event.deadline.value());
  out.field_raw("request", event.request);
}
void read_data(JsonFields& fields, UserMessageReceived& event) {
  event.run_id = fields.text("run_id");
  event.messages = read_messages(fields);
  event.max_steps = fields.integer("max_steps");
  event.deadline = time_in(fields, "deadline");
  event.request = fields.json_or("request", "{}");
}

void write_data(JsonWriter& out, const AssistantReplied& event) {
  out.field("run_id", event.run_id).key("message");
  write_message(out, event.message);
  out.key("usage");
  write_usage(out, event.usage);
  out.field("model", event.model).field("prompt_hash", event.prompt_hash).key("blocks").begin_array();
  for (const BlockSeen& seen : event.blocks) {
    out.begin_object().field("id", seen.block.value());
    out.field_integer("seq", static_cast<std::int64_t>(seen.sequence.value())).end_object();
  }
  out.end_array();
}
void read_data(JsonFields& fields, AssistantReplied& event) {
  event.run_id = fields.text("run_id");
  auto message = read_message(fields.object("message"));
  if (!message) return fields.set_fault(message.error().message);
  event.message = std::move(*message);
  event.usage = usage_in(fields);
  event.model = fields.text("model");
  event.prompt_hash = fields.text("prompt_hash");
  for (const Json& item : fields.list("blocks")) {
    JsonFields seen(item, "block");
    event.blocks.push_back({StreamId{seen.text("id")}, Sequence{seen.unsigned_integer("seq")}});
    if (seen.fault()) return fields.set_fault(seen.fault()->message);
  }
}

void write_data(JsonWriter& out, const ToolReturned& event) {
  out.field("run_id", event.run_id).key("message");
  write_message(out, event.message);
}
void read_data(JsonFields& fields, ToolReturned& event) {
  event.run_id = fields.text("run_id");
  auto message = read_message(fields.object("message"));
  if (!message) return fields.set_fault(message.error().message);
  event.message = std::move(*message);
}

void write_data(JsonWriter& out, const TurnResumed& event) {
  out.field("run_id", event.run_id).field_integer("attempt", event.attempt);
}
void read_data(JsonFields& fields, TurnResumed& event) {
  event.run_id = fields.text("run_id");
  event.attempt = fields.integer("attempt");
}

void write_data(JsonWriter& out, const TurnHandedOver& event) {
  out.field("run_id", event.run_id);
}
void read_data(JsonFields& fields, TurnHandedOver& event) {
  event.run_id = fields.text("run_id");
}

void write_turn_end(JsonWriter& out, const Usage& usage, WallTime started_at, const std::string& request) {
  out.key("usage");
  write_usage(out, usage);
  out.field_integer("started_at", started_at.value()).field_raw("request", request);
}

void write_data(JsonWriter& out, const TurnFinished& event) {
  out.field("run_id", event.run_id).field("stop_reason", event.stop_reason);
  write_turn_end(out, event.usage, event.started_at, event.request);
}
void read_data(JsonFields& fields, TurnFinished& event) {
  event.run_id = fields.text("run_id");
  event.stop_reason = fields.text("stop_reason");
  event.usage = usage_in(fields);
  event.started_at = time_in(fields, "started_at");
  event.request = fields.json_or("request", "{}");
}

void write_data(JsonWriter& out, const TurnFailed& event) {
  out.field("run_id", event.run_id).field("stop_reason", event.stop_reason);
  out.field("error_type", event.error_type).field("message", event.message);
  write_turn_end(out, event.usage, event.started_at, event.request);
}
void read_data(JsonFields& fields, TurnFailed& event) {
  event.run_id = fields.text("run_id");
  event.stop_reason = fields.text("stop_reason");
  event.error_type = fields.text("error_type");
  event.message = fields.text("message");
  event.usage = usage_in(fields);
  event.started_at = time_in(fields, "started_at");
  event.request = fields.json_or("request", "{}");
}

void write_data(JsonWriter& out, const TurnCancelled& event) {
  out.field("run_id", event.run_id);
  write_turn_end(out, event.usage, event.started_at, event.request);
}
void read_data(JsonFields& fields, TurnCancelled& event) {
  event.run_id = fields.text("run_id");
  event.usage = usage_in(fields);
  event.started_at = time_in(fields, "started_at");
  event.request = fields.json_or("request", "{}");
}

void write_data(JsonWriter& out, const ImportBegun& event) {
  out.field_integer("records", event.records).field("hash", event.hash);
}
void read_data(JsonFields& fields, ImportBegun& event) {
  event.records = fields.integer("records");
  event.hash = fields.text("hash");
}

void write_data(JsonWriter& /*out*/, const ImportSealed& /*event*/) {}
void read_data(JsonFields& /*fields*/, ImportSealed& /*event*/) {}

void write_data(JsonWriter& out, const BlockCreated& event) {
  out.key("block");
  write_block_value(out, event.block);
  if (event.erasable) out.field_boolean("erasable", true);
}
void read_data(JsonFields& fields, BlockCreated& event) {
  auto block = read_block_value(fields.object("block"));
  if (!block) return fields.set_fault(block.error().message);
  event.block = std::move(*block);
  event.erasable = fields.boolean_or("erasable", false);
}

void write_data(JsonWriter& out, const BlockUpdated& event) {
  out.key("block");
  write_block_value(out, event.block);
  out.field_integer("created_at", event.created_at.value());
}
void read_data(JsonFields& fields, BlockUpdated& event) {
  auto block = read_block_value(fields.object("block"));
  if (!block) return fields.set_fault(block.error().message);
  event.block = std::move(*block);
  event.created_at = time_in(fields, "created_at");
}

void write_data(JsonWriter& /*out*/, const BlockDeleted& /*event*/) {}
void read_data(JsonFields& /*fields*/, BlockDeleted& /*event*/) {}

void write_data(JsonWriter& out, const ContextSummarized& event) {
  out.key("summary");
  write_message(out, event.summary);
  write_texts(out, "message_ids", event.message_ids);
}
void read_data(JsonFields& fields, ContextSummarized& event) {
  auto summary = read_message(fields.object("summary"));
  if (!summary) return fields.set_fault(summary.error().message);
  event.summary = std::move(*summary);
  event.message_ids = fields.texts("message_ids");
}

void write_data(JsonWriter& out, const MessagesImported& event) {
  write_messages(out, event.messages);
  write_texts(out, "out_of_context", event.out_of_context);
}
void read_data(JsonFields& fields, MessagesImported& event) {
  event.messages = read_messages(fields);
  event.out_of_context = fields.texts("out_of_context");
}

void write_data(JsonWriter& out, const AgentForked& event) {
  out.field("origin", event.origin.value()).field("cut", event.cut);
}
void read_data(JsonFields& fields, AgentForked& event) {
  event.origin = StreamId{fields.text("origin")};
  event.cut = fields.text("cut");
}

void write_data(JsonWriter& out, const EventTeleported& event) {
  out.field_integer("at", event.at.value());
  write_if(out, "cmd", event.command);
  write_if(out, "hash", event.command_hash);
  if (event.client) out.field_boolean("client", true);
  write_if(out, "request", event.request_id);
  write_if(out, "source", event.source);
  write_if(out, "origin", event.origin.value());
  if (event.type.empty()) return;
  out.field("type", event.type).field_integer("v", event.version).field_raw("data", event.data);
}
void read_data(JsonFields& fields, EventTeleported& event) {
  event.at = time_in(fields, "at");
  event.command = fields.optional_text("cmd").value_or("");
  event.command_hash = fields.optional_text("hash").value_or("");
  event.client = fields.boolean_or("client", false);
  event.request_id = fields.optional_text("request").value_or("");
  event.source = fields.optional_text("source").value_or("");
  event.origin = StreamId{fields.optional_text("origin").value_or("")};
  event.type = fields.optional_text("type").value_or("");
  if (event.type.empty()) return;
  event.version = fields.integer("v");
  event.data = fields.json_or("data", "{}");
  if (const Status known = read_inner(event); !known) fields.set_fault(known.error().message);
}

void write_data(JsonWriter& out, const TeleportSealed& event) {
  if (event.settings) {
    out.key("settings");
    write_settings(out, *event.settings);
  }
  if (event.block) {
    out.key("block");
    write_block_value(out, *event.block);
  }
  out.field_integer("created_at", event.created_at.value());
  out.field_integer("updated_at", event.updated_at.value());
}
void read_data(JsonFields& fields, TeleportSealed& event) {
  if (!fields.json_or("settings", "").empty()) {
    auto settings = read_settings(fields.object("settings"));
    if (!settings) return fields.set_fault(settings.error().message);
    event.settings = std::move(*settings);
  }
  if (!fields.json_or("block", "").empty()) {
    auto block = read_block_value(fields.object("block"));
    if (!block) return fields.set_fault(block.error().message);
    event.block = std::move(*block);
  }
  event.created_at = time_in(fields, "created_at");
  event.updated_at = time_in(fields, "updated_at");
}

void write_data(JsonWriter& out, const AgentMoved& event) {
  out.field("place", event.place);
}
void read_data(JsonFields& fields, AgentMoved& event) {
  event.place = fields.text("place");
}

void write_data(JsonWriter& out, const AgentErased& event) {
  if (event.was_deleted) out.field_boolean("was_deleted", true);
  out.key("blocks").begin_array();
  for (const StreamId& block : event.blocks) out.string(block.value());
  out.end_array();
}
void read_data(JsonFields& fields, AgentErased& event) {
  event.was_deleted = fields.boolean_or("was_deleted", false);
  for (std::string& block : fields.texts("blocks")) event.blocks.emplace_back(std::move(block));
}

ToolValue tool_in(JsonFields& fields) {
  auto tool = read_tool(fields.object("tool"));
  if (!tool) {
    fields.set_fault(tool.error().message);
    return {};
  }
  return std::move(*tool);
}

void write_data(JsonWriter& out, const ToolCreated& event) {
  out.key("tool");
  write_tool(out, event.tool);
}
void read_data(JsonFields& fields, ToolCreated& event) {
  event.tool = tool_in(fields);
}

void write_data(JsonWriter& out, const ToolUpdated& event) {
  out.key("tool");
  write_tool(out, event.tool);
  out.field_integer("created_at", event.created_at.value());
}
void read_data(JsonFields& fields, ToolUpdated& event) {
  event.tool = tool_in(fields);
  event.created_at = time_in(fields, "created_at");
}

void write_data(JsonWriter& out, const ToolDeleted& event) {
  out.field("id", event.id);
}
void read_data(JsonFields& fields, ToolDeleted& event) {
  event.id = fields.text("id");
}

// ---- the catalogue ----

// BlockCreated v1 had the value's members beside each other and called the limit "char_limit"; v2 holds the
// same "block" object as BlockUpdated.
Json block_created_v1_to_v2(const Json& v1) {
  Json block = v1;
  if (const Json* limit = v1.find("char_limit")) block.set("limit", *limit);
  block.remove("char_limit");
  Json v2 = Json::object();
  v2.set("block", std::move(block));
  return v2;
}

using Upcaster = Json (*)(const Json&);

struct CatalogueEntry {
  std::string_view type;
  std::int64_t version;
  Result<Event> (*read)(const Json& data);
  std::vector<Upcaster> upcasters;  // [0] lifts v1 to v2, and so on.
};

template <class E>
Result<Event> read_as(const Json& data) {
  JsonFields fields(data, "event data");
  E event;
  read_data(fields, event);
  if (fields.fault()) return *fields.fault();
  return Event{std::move(event)};
}

// In the order of the variant.
const std::array<CatalogueEntry, std::variant_size_v<Event>>& catalogue() {
  static const std::array<CatalogueEntry, std::variant_size_v<Event>> kEntries{{
      {"AgentCreated", 1, read_as<AgentCreated>, {}},
      {"AgentUpdated", 1, read_as<AgentUpdated>, {}},
      {"AgentDeleted", 1, read_as<AgentDeleted>, {}},
      {"BlockAttached", 1, read_as<BlockAttached>, {}},
      {"BlockDetached", 1, read_as<BlockDetached>, {}},
      {"ContextTrimmed", 1, read_as<ContextTrimmed>, {}},
      {"UserMessageReceived", 1, read_as<UserMessageReceived>, {}},
      {"AssistantReplied", 1, read_as<AssistantReplied>, {}},
      {"ToolReturned", 1, read_as<ToolReturned>, {}},
      {"TurnResumed", 1, read_as<TurnResumed>, {}},
      {"TurnHandedOver", 1, read_as<TurnHandedOver>, {}},
      {"TurnFinished", 1, read_as<TurnFinished>, {}},
      {"TurnFailed", 1, read_as<TurnFailed>, {}},
      {"TurnCancelled", 1, read_as<TurnCancelled>, {}},
      {"ImportBegun", 1, read_as<ImportBegun>, {}},
      {"ImportSealed", 1, read_as<ImportSealed>, {}},
      {"BlockCreated", 2, read_as<BlockCreated>, {block_created_v1_to_v2}},
      {"BlockUpdated", 1, read_as<BlockUpdated>, {}},
      {"BlockDeleted", 1, read_as<BlockDeleted>, {}},
      {"ContextSummarized", 1, read_as<ContextSummarized>, {}},
      {"MessagesImported", 1, read_as<MessagesImported>, {}},
      {"ToolCreated", 1, read_as<ToolCreated>, {}},
      {"ToolUpdated", 1, read_as<ToolUpdated>, {}},
      {"ToolDeleted", 1, read_as<ToolDeleted>, {}},
      {"AgentForked", 1, read_as<AgentForked>, {}},
      {"EventTeleported", 1, read_as<EventTeleported>, {}},
      {"TeleportSealed", 1, read_as<TeleportSealed>, {}},
      {"AgentMoved", 1, read_as<AgentMoved>, {}},
      {"AgentErased", 1, read_as<AgentErased>, {}},
  }};
  return kEntries;
}

}  // namespace

const char* to_string(Role role) {
  switch (role) {
    case Role::system:
      return "system";
    case Role::user:
      return "user";
    case Role::assistant:
      return "assistant";
    case Role::tool:
      return "tool";
    case Role::approval:
      return "approval";
    case Role::summary:
      return "summary";
  }
  return "?";
}

std::optional<Role> parse_role(std::string_view text) {
  for (const Role role :
       {Role::system, Role::user, Role::assistant, Role::tool, Role::approval, Role::summary}) {
    if (text == to_string(role)) return role;
  }
  return std::nullopt;
}

std::string text_of(const Message& message) {
  const auto content = Json::parse(message.content);
  if (!content) return {};
  if (content->is_string()) return content->as_string();
  std::string text;
  for (const Json& part : content->items()) {
    const Json* part_text = part.find("text");
    if (part_text != nullptr && part_text->is_string()) text += part_text->as_string();
  }
  return text;
}

std::string_view type_of(const Event& event) {
  return catalogue()[event.index()].type;
}
std::int64_t version_of(const Event& event) {
  return catalogue()[event.index()].version;
}

void write_event(JsonWriter& out, const Event& event) {
  out.begin_object().field("type", type_of(event)).field_integer("v", version_of(event));
  out.key("data").begin_object();
  std::visit([&out](const auto& typed) { write_data(out, typed); }, event);
  out.end_object().end_object();
}

Result<Event> read_event(std::string_view type, std::int64_t version, const Json& data) {
  for (const CatalogueEntry& entry : catalogue()) {
    if (entry.type != type) continue;
    if (version < 1 || version > entry.version) {
      return Error{Errc::corrupt, std::string(type) + " v" + std::to_string(version) +
                                      " is not known to this program; upgrade first"};
    }
    if (version == entry.version) return entry.read(data);
    Json lifted = data;
    for (auto v = static_cast<std::size_t>(version); v < static_cast<std::size_t>(entry.version); ++v) {
      lifted = entry.upcasters[v - 1](lifted);
    }
    return entry.read(lifted);
  }
  return Error{Errc::corrupt, "event type '" + std::string(type) + "' is not known to this program"};
}

Status read_inner(EventTeleported& event) {
  if (event.type.empty()) return ok();
  // What a stream has been carried by is not carried on: an export unwraps it.
  if (event.type == "EventTeleported") return Error{Errc::corrupt, "a carried event inside of another"};
  const auto data = parse_stored_json(event.data);
  if (!data) return data.error();
  auto inner = read_event(event.type, event.version, *data);
  if (!inner) return inner.error();
  event.inner = std::make_shared<const CarriedEvent>(CarriedEvent{std::move(*inner)});
  return ok();
}

void write_settings(JsonWriter& out, const AgentSettings& settings) {
  out.begin_object().field("name", settings.name);
  write_if(out, "description", settings.description);
  out.field("system", settings.system)
      .field("agent_type", settings.agent_type)
      .field("model", settings.model);
  write_if(out, "embedding", settings.embedding);
  out.field_integer("context_window", settings.context_window).field("timezone", settings.timezone);
  write_texts(out, "tools", settings.tools);
  write_texts(out, "tags", settings.tags);
  out.field_raw("metadata", settings.metadata).field_raw("extra", settings.extra).end_object();
}

Result<AgentSettings> read_settings(const Json& json) {
  JsonFields fields(json, "settings");
  AgentSettings settings;
  settings.name = fields.text("name");
  settings.description = fields.optional_text("description");
  settings.system = fields.text("system");
  settings.agent_type = fields.text("agent_type");
  settings.model = fields.text("model");
  settings.embedding = fields.optional_text("embedding");
  settings.context_window = fields.integer("context_window");
  settings.timezone = fields.text("timezone");
  settings.tools = fields.texts("tools");
  settings.tags = fields.texts("tags");
  settings.metadata = fields.json_or("metadata", "null");
  settings.extra = fields.json_or("extra", "{}");
  if (fields.fault()) return *fields.fault();
  return settings;
}

void write_block_value(JsonWriter& out, const BlockValue& block) {
  out.begin_object()
      .field("label", block.label)
      .field("value", block.value)
      .field_integer("limit", block.limit);
  write_if(out, "description", block.description);
  if (block.read_only) out.field_boolean("read_only", true);
  if (!block.tags.empty()) write_texts(out, "tags", block.tags);
  out.field_raw("metadata", block.metadata).field_raw("extra", block.extra).end_object();
}

Result<BlockValue> read_block_value(const Json& json) {
  JsonFields fields(json, "block");
  BlockValue block;
  block.label = fields.text("label");
  block.value = fields.text("value");
  block.limit = fields.integer("limit");
  block.description = fields.optional_text("description");
  block.read_only = fields.boolean_or("read_only", false);
  block.tags = fields.texts("tags");
  block.metadata = fields.json_or("metadata", "{}");
  block.extra = fields.json_or("extra", "{}");
  if (fields.fault()) return *fields.fault();
  return block;
}

void write_tool(JsonWriter& out, const ToolValue& tool) {
  out.begin_object().field("id", tool.id).field("name", tool.name);
  write_if(out, "description", tool.description);
  out.field("source_type", tool.source_type).field("source_code", tool.source_code);
  out.field_raw("json_schema", tool.json_schema);
  write_texts(out, "tags", tool.tags);
  out.field_integer("return_char_limit", tool.return_char_limit).field_raw("extra", tool.extra).end_object();
}

Result<ToolValue> read_tool(const Json& json) {
  JsonFields fields(json, "tool");
  ToolValue tool;
  tool.id = fields.text("id");
  tool.name = fields.text("name");
  tool.description = fields.optional_text("description");
  tool.source_type = fields.text("source_type");
  tool.source_code = fields.text("source_code");
  tool.json_schema = fields.json_or("json_schema", "{}");
  tool.tags = fields.texts("tags");
  tool.return_char_limit = fields.integer("return_char_limit");
  tool.extra = fields.json_or("extra", "{}");
  if (fields.fault()) return *fields.fault();
  return tool;
}

void write_message(JsonWriter& out, const Message& message) {
  out.begin_object().field("id", message.id).field("role", to_string(message.role));
  out.field_raw("content", message.content);
  write_if(out, "name", message.name);
  write_if(out, "sender_id", message.sender_id);
  write_if(out, "group_id", message.group_id);
  write_if(out, "otid", message.otid);
  write_if(out, "step_id", message.step_id);
  if (!message.tool_calls.empty()) {
    out.key("tool_calls").begin_array();
    for (const ToolCall& call : message.tool_calls) {
      out.begin_object()
          .field("id", call.id)
          .field("name", call.name)
          .field("arguments", call.arguments)
          .end_object();
    }
    out.end_array();
  }
  write_if(out, "reasoning", message.reasoning);
  write_if(out, "tool_call_id", message.tool_call_id);
  if (message.is_error) out.field_boolean("is_error", true);
  if (!message.stdout_lines.empty()) out.field_raw("stdout", message.stdout_lines);
  if (!message.stderr_lines.empty()) out.field_raw("stderr", message.stderr_lines);
  if (message.is_approval_request) out.field_boolean("is_approval_request", true);
  if (message.sent_at != WallTime{}) out.field_integer("sent_at", message.sent_at.value());
  if (!message.extra.empty()) out.field_raw("extra", message.extra);
  out.end_object();
}

Result<Message> read_message(const Json& json) {
  JsonFields fields(json, "message");
  Message message;
  message.id = fields.text("id");
  const auto role = parse_role(fields.text("role"));
  if (!role) fields.set_fault("\"role\" must be system, user, assistant, tool, approval or summary");
  message.role = role.value_or(Role::user);
  message.content = fields.json_or("content", "\"\"");
  message.name = fields.optional_text("name");
  message.sender_id = fields.optional_text("sender_id");
  message.group_id = fields.optional_text("group_id");
  message.otid = fields.optional_text("otid");
  message.step_id = fields.optional_text("step_id").value_or("");
  if (json.find("tool_calls") != nullptr) {
    for (const Json& item : fields.list("tool_calls")) {
      JsonFields call(item, "tool call");
      message.tool_calls.push_back({call.text("id"), call.text("name"), call.text("arguments")});
      if (call.fault()) fields.set_fault(call.fault()->message);
    }
  }
  message.reasoning = fields.optional_text("reasoning").value_or("");
  message.tool_call_id = fields.optional_text("tool_call_id").value_or("");
  message.is_error = fields.boolean_or("is_error", false);
  message.stdout_lines = fields.json_or("stdout", "");
  message.stderr_lines = fields.json_or("stderr", "");
  message.is_approval_request = fields.boolean_or("is_approval_request", false);
  message.sent_at = WallTime{fields.integer_or("sent_at", 0)};
  message.extra = fields.json_or("extra", "");
  if (fields.fault()) return *fields.fault();
  return message;
}

void write_usage(JsonWriter& out, const Usage& usage) {
  out.begin_object().field_integer("prompt_tokens", usage.prompt_tokens);
  out.field_integer("completion_tokens", usage.completion_tokens).field_integer("steps", usage.steps);
  if (usage.context_tokens != 0) out.field_integer("context_tokens", usage.context_tokens);
  out.end_object();
}

Result<Usage> read_usage(const Json& json) {
  JsonFields fields(json, "usage");
  Usage usage;
  usage.prompt_tokens = fields.integer("prompt_tokens");
  usage.completion_tokens = fields.integer("completion_tokens");
  usage.steps = fields.integer("steps");
  usage.context_tokens = fields.integer_or("context_tokens", 0);
  if (fields.fault()) return *fields.fault();
  return usage;
}

}  // namespace varve
