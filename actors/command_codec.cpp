// JSON of commands: {"id":..,"hash":..,"client":true,"stream":..,"request":..,"type":"CreateAgent",
// "data":{..}}.
#include <array>

#include "actors/command.h"
#include "runtime/json_fields.h"
#include "runtime/stored_json.h"

namespace varve {
namespace {

void write_messages(JsonWriter& out, std::string_view key, const std::vector<Message>& messages) {
  out.key(key).begin_array();
  for (const Message& message : messages) write_message(out, message);
  out.end_array();
}

std::vector<Message> read_messages(JsonFields& fields, std::string_view key) {
  std::vector<Message> messages;
  for (const Json& item : fields.list(key)) {
    auto message = read_message(item);
    if (!message) {
      fields.set_fault(message.error().message);
      return {};
    }
    messages.push_back(std::move(*message));
  }
  return messages;
}

Message message_in(JsonFields& fields) {
  auto message = read_message(fields.object("message"));
  if (!message) fields.set_fault(message.error().message);
  return message ? std::move(*message) : Message{};
}

void write_data(JsonWriter& out, const CreateAgent& command) {
  out.key("settings");
  write_settings(out, command.settings);
  out.key("new_blocks").begin_array();
  for (const BlockValue& block : command.new_blocks) write_block_value(out, block);
  out.end_array().key("attach_blocks").begin_array();
  for (const StreamId& block : command.attach_blocks) out.string(block.value());
  out.end_array();
  write_messages(out, "initial_messages", command.initial_messages);
  if (command.erasable) out.field_boolean("erasable", true);
}
void read_data(JsonFields& fields, CreateAgent& command) {
  auto settings = read_settings(fields.object("settings"));
  if (!settings) return fields.set_fault(settings.error().message);
  command.settings = std::move(*settings);
  for (const Json& item : fields.list("new_blocks")) {
    auto block = read_block_value(item);
    if (!block) return fields.set_fault(block.error().message);
    command.new_blocks.push_back(std::move(*block));
  }
  for (std::string& id : fields.texts("attach_blocks")) command.attach_blocks.emplace_back(std::move(id));
  command.initial_messages = read_messages(fields, "initial_messages");
  command.erasable = fields.boolean_or("erasable", false);
}

void write_data(JsonWriter& out, const UpdateAgent& command) {
  out.field_raw("patch", command.patch);
}
void read_data(JsonFields& fields, UpdateAgent& command) {
  command.patch = fields.object("patch").dump();
}
void write_data(JsonWriter& /*out*/, const DeleteAgent& /*command*/) {}
void read_data(JsonFields& /*fields*/, DeleteAgent& /*command*/) {}
void write_data(JsonWriter& out, const EraseAgent& command) {
  out.key("keep_blocks").begin_array();
  for (const StreamId& block : command.keep_blocks) out.string(block.value());
  out.end_array();
}
void read_data(JsonFields& fields, EraseAgent& command) {
  for (std::string& id : fields.texts("keep_blocks")) command.keep_blocks.emplace_back(std::move(id));
}
void write_data(JsonWriter& out, const AttachBlock& command) {
  out.field("block", command.block.value());
}
void read_data(JsonFields& fields, AttachBlock& command) {
  command.block = StreamId{fields.text("block")};
}
void write_data(JsonWriter& out, const DetachBlock& command) {
  out.field("block", command.block.value());
}
void read_data(JsonFields& fields, DetachBlock& command) {
  command.block = StreamId{fields.text("block")};
}

void write_data(JsonWriter& out, const SendMessages& command) {
  write_messages(out, "messages", command.messages);
  out.field_integer("max_steps", command.max_steps).field_raw("request", command.request);
}
void read_data(JsonFields& fields, SendMessages& command) {
  command.messages = read_messages(fields, "messages");
  command.max_steps = fields.integer("max_steps");
  command.request = fields.object("request").dump();
}

void write_data(JsonWriter& out, const ResolveLabel& command) {
  out.field("label", command.label);
}
void read_data(JsonFields& fields, ResolveLabel& command) {
  command.label = fields.text("label");
}

void write_data(JsonWriter& out, const CreateBlock& command) {
  out.key("block");
  write_block_value(out, command.block);
}
void read_data(JsonFields& fields, CreateBlock& command) {
  auto block = read_block_value(fields.object("block"));
  if (!block) return fields.set_fault(block.error().message);
  command.block = std::move(*block);
}
void write_data(JsonWriter& out, const UpdateBlock& command) {
  out.field_raw("patch", command.patch);
}
void read_data(JsonFields& fields, UpdateBlock& command) {
  command.patch = fields.object("patch").dump();
}
void write_data(JsonWriter& /*out*/, const DeleteBlock& /*command*/) {}
void read_data(JsonFields& /*fields*/, DeleteBlock& /*command*/) {}
void write_data(JsonWriter& /*out*/, const ReadBlock& /*command*/) {}
void read_data(JsonFields& /*fields*/, ReadBlock& /*command*/) {}

constexpr std::array<std::string_view, 3> kOperations{"append", "replace", "insert"};

void write_data(JsonWriter& out, const EditBlock& command) {
  out.field("operation", kOperations[static_cast<std::size_t>(command.operation)]);
  out.field("old_text", command.old_text)
      .field("new_text", command.new_text)
      .field_integer("line", command.line);
}
void read_data(JsonFields& fields, EditBlock& command) {
  const std::string operation = fields.text("operation");
  std::size_t found = 0;
  while (found < kOperations.size() && kOperations[found] != operation) ++found;
  if (found == kOperations.size()) return fields.set_fault("\"operation\" must be append, replace or insert");
  command.operation = static_cast<EditBlock::Operation>(found);
  command.old_text = fields.text("old_text");
  command.new_text = fields.text("new_text");
  command.line = fields.integer("line");
}

void write_data(JsonWriter& out, const RecordReply& command) {
  out.field("run_id", command.run_id).key("message");
  write_message(out, command.message);
  out.key("usage");
  write_usage(out, command.usage);
  out.field("model", command.model).field("prompt_hash", command.prompt_hash).key("blocks").begin_array();
  for (const BlockSeen& seen : command.blocks) {
    out.begin_object().field("id", seen.block.value());
    out.field_integer("seq", static_cast<std::int64_t>(seen.sequence.value())).end_object();
  }
  out.end_array().field("stop_reason", command.stop_reason);
}
void read_data(JsonFields& fields, RecordReply& command) {
  command.run_id = fields.text("run_id");
  command.message = message_in(fields);
  auto usage = read_usage(fields.object("usage"));
  if (!usage) return fields.set_fault(usage.error().message);
  command.usage = *usage;
  command.model = fields.text("model");
  command.prompt_hash = fields.text("prompt_hash");
  for (const Json& item : fields.list("blocks")) {
    JsonFields seen(item, "block");
    command.blocks.push_back({StreamId{seen.text("id")}, Sequence{seen.unsigned_integer("seq")}});
    if (seen.fault()) return fields.set_fault(seen.fault()->message);
  }
  command.stop_reason = fields.text("stop_reason");
}

void write_data(JsonWriter& out, const RecordToolReturn& command) {
  out.field("run_id", command.run_id).field("stop_reason", command.stop_reason).key("message");
  write_message(out, command.message);
}
void read_data(JsonFields& fields, RecordToolReturn& command) {
  command.run_id = fields.text("run_id");
  command.stop_reason = fields.optional_text("stop_reason").value_or("");
  command.message = message_in(fields);
}

void write_data(JsonWriter& out, const FailTurn& command) {
  out.field("run_id", command.run_id).field("stop_reason", command.stop_reason);
  out.field("error_type", command.error_type).field("message", command.message);
}
void read_data(JsonFields& fields, FailTurn& command) {
  command.run_id = fields.text("run_id");
  command.stop_reason = fields.text("stop_reason");
  command.error_type = fields.text("error_type");
  command.message = fields.text("message");
}

void write_data(JsonWriter& out, const ResumeTurn& command) {
  out.field("run_id", command.run_id);
}
void read_data(JsonFields& fields, ResumeTurn& command) {
  command.run_id = fields.text("run_id");
}
void write_data(JsonWriter& out, const HandOverTurn& command) {
  out.field("run_id", command.run_id);
}
void read_data(JsonFields& fields, HandOverTurn& command) {
  command.run_id = fields.text("run_id");
}
void write_data(JsonWriter& out, const DropDeletedBlock& command) {
  out.field("block", command.block.value());
}
void read_data(JsonFields& fields, DropDeletedBlock& command) {
  command.block = StreamId{fields.text("block")};
}

void write_texts(JsonWriter& out, std::string_view key, const std::vector<std::string>& texts) {
  out.key(key).begin_array();
  for (const std::string& text : texts) out.string(text);
  out.end_array();
}

void write_data(JsonWriter& out, const ChangeTools& command) {
  write_texts(out, "attach", command.attach);
  write_texts(out, "detach", command.detach);
}
void read_data(JsonFields& fields, ChangeTools& command) {
  command.attach = fields.texts("attach");
  command.detach = fields.texts("detach");
}
void write_data(JsonWriter& out, const CancelTurn& command) {
  write_texts(out, "run_ids", command.run_ids);
}
void read_data(JsonFields& fields, CancelTurn& command) {
  command.run_ids = fields.texts("run_ids");
}
void write_data(JsonWriter& /*out*/, const ResetMessages& /*command*/) {}
void read_data(JsonFields& /*fields*/, ResetMessages& /*command*/) {}
void write_data(JsonWriter& out, const FollowTurn& command) {
  out.field("run_id", command.run_id);
}
void read_data(JsonFields& fields, FollowTurn& command) {
  command.run_id = fields.text("run_id");
}
void write_data(JsonWriter& out, const PreviewTurn& command) {
  write_messages(out, "messages", command.messages);
  out.field_raw("request", command.request);
}
void read_data(JsonFields& fields, PreviewTurn& command) {
  command.messages = read_messages(fields, "messages");
  command.request = fields.object("request").dump();
}
void write_data(JsonWriter& /*out*/, const SummarizeContext& /*command*/) {}
void read_data(JsonFields& /*fields*/, SummarizeContext& /*command*/) {}

void write_data(JsonWriter& out, const PutTool& command) {
  out.key("tool");
  write_tool(out, command.tool);
}
void read_data(JsonFields& fields, PutTool& command) {
  auto tool = read_tool(fields.object("tool"));
  if (!tool) return fields.set_fault(tool.error().message);
  command.tool = std::move(*tool);
}
void write_data(JsonWriter& out, const UpdateTool& command) {
  out.field("id", command.id).field_raw("patch", command.patch);
}
void read_data(JsonFields& fields, UpdateTool& command) {
  command.id = fields.text("id");
  command.patch = fields.object("patch").dump();
}
void write_data(JsonWriter& out, const DeleteTool& command) {
  out.field("id", command.id);
}
void read_data(JsonFields& fields, DeleteTool& command) {
  command.id = fields.text("id");
}
void write_data(JsonWriter& out, const ReadTools& command) {
  write_texts(out, "ids", command.ids);
  write_texts(out, "names", command.names);
}
void read_data(JsonFields& fields, ReadTools& command) {
  command.ids = fields.texts("ids");
  command.names = fields.texts("names");
}
void write_data(JsonWriter& out, const RecordSummary& command) {
  out.field("text", command.text);
  write_texts(out, "message_ids", command.message_ids);
}
void read_data(JsonFields& fields, RecordSummary& command) {
  command.text = fields.text("text");
  command.message_ids = fields.texts("message_ids");
}

void write_blocks(JsonWriter& out, const std::vector<BlockValue>& blocks) {
  out.key("new_blocks").begin_array();
  for (const BlockValue& block : blocks) write_block_value(out, block);
  out.end_array();
}
std::vector<BlockValue> read_blocks(JsonFields& fields) {
  std::vector<BlockValue> blocks;
  for (const Json& item : fields.list("new_blocks")) {
    auto block = read_block_value(item);
    if (!block) {
      fields.set_fault(block.error().message);
      return {};
    }
    blocks.push_back(std::move(*block));
  }
  return blocks;
}

void write_data(JsonWriter& out, const BeginImport& command) {
  out.key("settings");
  write_settings(out, command.settings);
  write_blocks(out, command.new_blocks);
  out.field_boolean("system_message", command.system_message).field_integer("records", command.records);
  out.field("hash", command.hash);
  if (command.erasable) out.field_boolean("erasable", true);
  if (command.origin.value().empty()) return;
  out.field("origin", command.origin.value()).field("origin_cut", command.origin_cut);
}
void read_data(JsonFields& fields, BeginImport& command) {
  auto settings = read_settings(fields.object("settings"));
  if (!settings) return fields.set_fault(settings.error().message);
  command.settings = std::move(*settings);
  command.new_blocks = read_blocks(fields);
  command.system_message = fields.boolean_or("system_message", false);
  command.records = fields.integer("records");
  command.hash = fields.text("hash");
  command.origin = StreamId{fields.optional_text("origin").value_or("")};
  command.origin_cut = fields.optional_text("origin_cut").value_or("");
  command.erasable = fields.boolean_or("erasable", false);
}
void write_data(JsonWriter& out, const AppendImport& command) {
  out.field_integer("ordinal", command.ordinal);
  write_messages(out, "messages", command.messages);
  out.key("out_of_context").begin_array();
  for (const std::int64_t place : command.out_of_context) out.integer(place);
  out.end_array();
}
void read_data(JsonFields& fields, AppendImport& command) {
  command.ordinal = fields.integer("ordinal");
  command.messages = read_messages(fields, "messages");
  for (const Json& place : fields.list("out_of_context")) {
    command.out_of_context.push_back(place.as_integer().value_or(-1));
  }
}
void write_data(JsonWriter& /*out*/, const SealImport& /*command*/) {}
void read_data(JsonFields& /*fields*/, SealImport& /*command*/) {}

void write_data(JsonWriter& out, const SkipEvent& command) {
  out.field_integer("offset", static_cast<std::int64_t>(command.offset.value()));
  out.field_integer("event", command.event);
}
void read_data(JsonFields& fields, SkipEvent& command) {
  command.offset = Offset{static_cast<std::uint64_t>(fields.integer("offset"))};
  command.event = fields.integer("event");
}

void write_data(JsonWriter& out, const AppendTeleport& command) {
  out.field_integer("first", static_cast<std::int64_t>(command.first.value())).field("chain", command.chain);
  out.key("events").begin_array();
  for (const EventTeleported& event : command.events) write_event(out, Event{event});
  out.end_array();
}
void read_data(JsonFields& fields, AppendTeleport& command) {
  command.first = Sequence{fields.unsigned_integer("first")};
  command.chain = fields.text("chain");
  for (const Json& item : fields.list("events")) {
    JsonFields event(item, "event");
    const std::string type = event.text("type");
    auto read = read_event(type, event.integer("v"), event.object("data"));
    if (event.fault()) return fields.set_fault(event.fault()->message);
    if (!read) return fields.set_fault(read.error().message);
    auto* carried = std::get_if<EventTeleported>(&*read);
    if (carried == nullptr) return fields.set_fault("'" + type + "' is no event that was carried");
    command.events.push_back(std::move(*carried));
  }
}
void write_data(JsonWriter& out, const SealTeleport& command) {
  out.field_integer("events", static_cast<std::int64_t>(command.events)).field("chain", command.chain);
}
void read_data(JsonFields& fields, SealTeleport& command) {
  command.events = fields.unsigned_integer("events");
  command.chain = fields.text("chain");
}
void write_data(JsonWriter& out, const MoveAgent& command) {
  out.field("place", command.place).field_integer("events", static_cast<std::int64_t>(command.events));
}
void read_data(JsonFields& fields, MoveAgent& command) {
  command.place = fields.text("place");
  command.events = fields.unsigned_integer("events");
}
void write_data(JsonWriter& out, const TakeTool& command) {
  out.key("tool");
  write_tool(out, command.tool);
}
void read_data(JsonFields& fields, TakeTool& command) {
  auto tool = read_tool(fields.object("tool"));
  if (!tool) return fields.set_fault(tool.error().message);
  command.tool = std::move(*tool);
}

template <class C>
Result<Command> read_as(const Json& data) {
  JsonFields fields(data, "command data", Errc::invalid_argument);
  C command;
  read_data(fields, command);
  if (fields.fault()) return *fields.fault();
  return Command{std::move(command)};
}

struct Entry {
  std::string_view type;
  Result<Command> (*read)(const Json& data);
};

// In the order of the variant.
constexpr std::array<Entry, std::variant_size_v<Command>> kEntries{{
    {"CreateAgent", read_as<CreateAgent>},
    {"UpdateAgent", read_as<UpdateAgent>},
    {"DeleteAgent", read_as<DeleteAgent>},
    {"AttachBlock", read_as<AttachBlock>},
    {"DetachBlock", read_as<DetachBlock>},
    {"SendMessages", read_as<SendMessages>},
    {"ResolveLabel", read_as<ResolveLabel>},
    {"CreateBlock", read_as<CreateBlock>},
    {"UpdateBlock", read_as<UpdateBlock>},
    {"DeleteBlock", read_as<DeleteBlock>},
    {"ReadBlock", read_as<ReadBlock>},
    {"EditBlock", read_as<EditBlock>},
    {"RecordReply", read_as<RecordReply>},
    {"RecordToolReturn", read_as<RecordToolReturn>},
    {"FailTurn", read_as<FailTurn>},
    {"ResumeTurn", read_as<ResumeTurn>},
    {"HandOverTurn", read_as<HandOverTurn>},
    {"DropDeletedBlock", read_as<DropDeletedBlock>},
    {"ChangeTools", read_as<ChangeTools>},
    {"CancelTurn", read_as<CancelTurn>},
    {"ResetMessages", read_as<ResetMessages>},
    {"FollowTurn", read_as<FollowTurn>},
    {"SummarizeContext", read_as<SummarizeContext>},
    {"PutTool", read_as<PutTool>},
    {"UpdateTool", read_as<UpdateTool>},
    {"DeleteTool", read_as<DeleteTool>},
    {"ReadTools", read_as<ReadTools>},
    {"RecordSummary", read_as<RecordSummary>},
    {"BeginImport", read_as<BeginImport>},
    {"AppendImport", read_as<AppendImport>},
    {"SealImport", read_as<SealImport>},
    {"PreviewTurn", read_as<PreviewTurn>},
    {"SkipEvent", read_as<SkipEvent>},
    {"AppendTeleport", read_as<AppendTeleport>},
    {"SealTeleport", read_as<SealTeleport>},
    {"MoveAgent", read_as<MoveAgent>},
    {"TakeTool", read_as<TakeTool>},
    {"EraseAgent", read_as<EraseAgent>},
}};

}  // namespace

std::string_view type_of(const Command& command) {
  return kEntries[command.index()].type;
}

std::string encode_command(const CommandEnvelope& envelope) {
  JsonWriter out;
  out.begin_object()
      .field("id", to_hex(envelope.command_ref.id))
      .field("hash", to_hex(envelope.command_ref.hash));
  out.field_boolean("client", envelope.command_ref.client).field("stream", envelope.stream.value());
  if (!envelope.command_ref.request_id.empty()) out.field("request", envelope.command_ref.request_id);
  out.field("type", type_of(envelope.command)).key("data").begin_object();
  std::visit([&out](const auto& command) { write_data(out, command); }, envelope.command);
  out.end_object().end_object();
  return out.take();
}

Result<CommandEnvelope> decode_command(std::string_view json) {
  const auto parsed = parse_stored_json(json);
  if (!parsed) return parsed.error();
  JsonFields fields(*parsed, "command", Errc::invalid_argument);
  const auto id = parse_command_id(fields.text("id"));
  const auto hash = parse_command_hash(fields.text("hash"));
  const bool client = fields.boolean_or("client", false);
  const StreamId stream{fields.text("stream")};
  std::string request_id = fields.optional_text("request").value_or("");
  if (!is_request_id(request_id)) request_id.clear();
  const std::string type = fields.text("type");
  const Json& data = fields.object("data");
  if (fields.fault()) return *fields.fault();
  if (!id) return id.error();
  if (!hash) return hash.error();
  for (const Entry& entry : kEntries) {
    if (entry.type != type) continue;
    auto command = entry.read(data);
    if (!command) return command.error();
    return CommandEnvelope{{*id, *hash, client, std::move(request_id)}, stream, std::move(*command)};
  }
  return Error{Errc::invalid_argument, "command type '" + type + "' is not known"};
}

}  // namespace varve
