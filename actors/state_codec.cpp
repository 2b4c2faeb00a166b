#include "actors/state_codec.h"

#include "runtime/json_fields.h"
#include "runtime/stored_json.h"

namespace varve {
namespace {

std::int64_t as_signed(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}

void write_command(JsonWriter& out, const CommandRef& command) {
  out.begin_object().field("id", to_hex(command.id)).field("hash", to_hex(command.hash));
  out.field_boolean("client", command.client).end_object();
}

void write_agent(JsonWriter& out, const AgentState& agent) {
  out.begin_object().key("settings");
  write_settings(out, agent.settings);
  out.key("blocks").begin_array();
  for (const BlockRef& ref : agent.blocks) {
    out.begin_object().field("id", ref.block.value()).field("label", ref.label).end_object();
  }
  out.end_array().key("context").begin_array();
  for (const ContextMessage& entry : agent.context) {
    out.begin_object().field("run_id", entry.run_id).key("message");
    write_message(out, *entry.message);
    out.end_object();
  }
  out.end_array().field_boolean("importing", agent.importing);
  if (!agent.import_hash.empty()) {
    out.field("import_hash", agent.import_hash).field_integer("import_records", agent.import_records);
    out.field_integer("records_imported", agent.records_imported);
  }
  if (agent.turn) {
    const OpenTurn& turn = *agent.turn;
    out.key("turn").begin_object().field("run_id", turn.run_id).field("command", to_hex(turn.command));
    if (!turn.request_id.empty()) out.field("request_id", turn.request_id);
    out.field_integer("first", as_signed(turn.first.value()))
        .field_integer("started_at", turn.started_at.value());
    out.field_integer("deadline", turn.deadline.value()).field_integer("max_steps", turn.max_steps);
    out.field_integer("attempt", turn.attempt).field_boolean("handed_over", turn.handed_over).key("usage");
    write_usage(out, turn.usage);
    out.field_raw("request", turn.request).key("message_times").begin_array();
    for (const WallTime& time : turn.message_times) out.integer(time.value());
    out.end_array().end_object();
  }
  out.end_object();
}

void write_teleport(JsonWriter& out, const Teleport& teleport) {
  out.key("teleport")
      .begin_object()
      .field("source", teleport.source)
      .field("origin", teleport.origin.value());
  out.field_integer("carried", as_signed(teleport.carried)).field("chain", teleport.chain);
  out.field_integer("updated_at", teleport.updated_at.value()).field_boolean("sealed", teleport.sealed);
  out.end_object();
}

Teleport read_teleport(const Json& json, JsonFields& state) {
  JsonFields fields(json, "teleport");
  Teleport teleport;
  teleport.source = fields.text("source");
  teleport.origin = StreamId{fields.text("origin")};
  teleport.carried = fields.unsigned_integer("carried");
  teleport.chain = fields.text("chain");
  teleport.updated_at = WallTime{fields.integer("updated_at")};
  teleport.sealed = fields.boolean_or("sealed", false);
  if (fields.fault()) state.set_fault(fields.fault()->message);
  return teleport;
}

struct BodyWriter {
  JsonWriter& out;
  void operator()(const std::monostate& /*none*/) const { out.null(); }
  void operator()(const AgentState& agent) const { write_agent(out, agent); }
  void operator()(const CatalogueState& catalogue) const {
    out.begin_object().key("tools").begin_array();
    for (const auto& [id, tool] : catalogue.tools) {
      out.begin_object().key("tool");
      write_tool(out, tool.value);
      out.field_integer("created_at", tool.created_at.value()).end_object();
    }
    out.end_array().end_object();
  }
  void operator()(const BlockState& block) const {
    out.begin_object().key("block");
    write_block_value(out, block.value);
    if (block.imported()) out.field("imported_with", block.imported_with.value());
    out.end_object();
  }
};

CatalogueState read_catalogue(const Json& json, JsonFields& state) {
  JsonFields fields(json, "catalogue");
  CatalogueState catalogue;
  for (const Json& item : fields.list("tools")) {
    JsonFields entry(item, "catalogue");
    auto tool = read_tool(entry.object("tool"));
    const WallTime created_at{entry.integer("created_at")};
    if (!tool || entry.fault()) {
      fields.set_fault("a tool does not fit");
      break;
    }
    std::string id = tool->id;
    catalogue.tools.emplace(std::move(id), CatalogueTool{std::move(*tool), created_at});
  }
  if (fields.fault()) state.set_fault(fields.fault()->message);
  return catalogue;
}

OpenTurn read_turn(const Json& json, JsonFields& state) {
  JsonFields fields(json, "turn");
  OpenTurn turn;
  turn.run_id = fields.text("run_id");
  if (const auto command = parse_command_id(fields.text("command"))) {
    turn.command = *command;
  } else {
    fields.set_fault(command.error().message);
  }
  turn.request_id = fields.optional_text("request_id").value_or("");
  turn.first = Sequence{fields.unsigned_integer("first")};
  turn.started_at = WallTime{fields.integer("started_at")};
  turn.deadline = WallTime{fields.integer("deadline")};
  turn.max_steps = fields.integer("max_steps");
  turn.attempt = fields.integer("attempt");
  turn.handed_over = fields.boolean_or("handed_over", false);
  if (const auto usage = read_usage(fields.object("usage"))) {
    turn.usage = *usage;
  } else {
    fields.set_fault(usage.error().message);
  }
  turn.request = fields.json_or("request", "{}");
  for (const Json& item : fields.list("message_times"))
    turn.message_times.emplace_back(item.as_integer().value_or(0));
  if (fields.fault()) state.set_fault(fields.fault()->message);
  return turn;
}

AgentState read_agent(const Json& json, JsonFields& state) {
  JsonFields fields(json, "agent");
  AgentState agent;
  auto settings = read_settings(fields.object("settings"));
  if (settings) {
    agent.settings = std::move(*settings);
  } else {
    fields.set_fault(settings.error().message);
  }
  for (const Json& item : fields.list("blocks")) {
    JsonFields ref(item, "block");
    agent.blocks.push_back({StreamId{ref.text("id")}, ref.text("label")});
    if (ref.fault()) fields.set_fault(ref.fault()->message);
  }
  for (const Json& item : fields.list("context")) {
    JsonFields entry(item, "context");
    const std::string run_id = entry.text("run_id");
    auto message = read_message(entry.object("message"));
    if (!message || entry.fault()) {
      fields.set_fault("a message of the context does not fit");
      break;
    }
    const std::int64_t tokens = tokens_of(*message);
    agent.context.push_back({std::make_shared<const Message>(std::move(*message)), run_id, tokens});
    agent.context_tokens += tokens;
  }
  agent.importing = fields.boolean_or("importing", false);
  agent.import_hash = fields.optional_text("import_hash").value_or("");
  agent.import_records = fields.integer_or("import_records", 0);
  agent.records_imported = fields.integer_or("records_imported", 0);
  if (const Json* turn = json.find("turn")) agent.turn = read_turn(*turn, fields);
  if (fields.fault()) state.set_fault(fields.fault()->message);
  return agent;
}

void read_body(const std::string& kind, JsonFields& fields, ActorState& state) {
  if (kind == "catalogue") {
    state.body = read_catalogue(fields.object("body"), fields);
  } else if (kind == "agent") {
    state.body = read_agent(fields.object("body"), fields);
  } else if (kind == "block") {
    const Json& body = fields.object("body");
    auto block = read_block_value(body.find("block") != nullptr ? *body.find("block") : Json::object());
    const Json* imported_with = body.find("imported_with");
    if (block) {
      const bool imported = imported_with != nullptr && imported_with->is_string();
      state.body = BlockState{std::move(*block), StreamId{imported ? imported_with->as_string() : ""}};
    } else {
      fields.set_fault(block.error().message);
    }
  }
}

constexpr const char* kKinds[] = {"none", "agent", "block", "catalogue"};

}  // namespace

std::string encode_state(const ActorState& state) {
  JsonWriter out;
  out.begin_object().field_integer("v", kStateVersion).field("stream", state.stream.value());
  out.field_integer("sequence", as_signed(state.sequence.value()));
  out.field_integer("born", as_signed(state.born.value()))
      .field_integer("created_at", state.created_at.value());
  out.key("created_by");
  write_command(out, state.created_by);
  out.field_boolean("deleted", state.deleted).field_boolean("corrupt", state.corrupt);
  if (state.erasable) {
    out.field_boolean("erasable", true).key("born_with").begin_array();
    for (const StreamId& block : state.born_with) out.string(block.value());
    out.end_array();
  }
  out.field_integer("bad_offset", as_signed(state.bad_offset.value()))
      .field("why_corrupt", state.why_corrupt);
  if (!state.gone.empty()) out.field("gone", state.gone);
  if (state.teleport) write_teleport(out, *state.teleport);
  out.key("recent").begin_array();
  for (const RecentCommand& recent : state.recent.list()) {
    out.begin_array().string(to_hex(recent.id)).string(to_hex(recent.hash));
    out.integer(as_signed(recent.first.value())).end_array();
  }
  out.end_array().field("kind", kKinds[state.body.index()]).key("body");
  std::visit(BodyWriter{out}, state.body);
  out.end_object();
  return out.take();
}

Result<ActorState> decode_state(std::string_view json) {
  const auto parsed = parse_stored_json(json);
  if (!parsed) return Error{Errc::corrupt, "snapshot: " + parsed.error().message};
  JsonFields fields(*parsed, "snapshot");
  if (fields.integer("v") != kStateVersion) fields.set_fault("it is of another version");
  ActorState state;
  state.stream = StreamId{fields.text("stream")};
  state.sequence = Sequence{fields.unsigned_integer("sequence")};
  state.born = Offset{fields.unsigned_integer("born")};
  state.created_at = WallTime{fields.integer("created_at")};
  JsonFields created_by(fields.object("created_by"), "created_by");
  const auto id = parse_command_id(created_by.text("id"));
  const auto hash = parse_command_hash(created_by.text("hash"));
  if (!id || !hash) fields.set_fault("\"created_by\" does not fit");
  if (id && hash) state.created_by = {*id, *hash, created_by.boolean_or("client", false)};
  state.deleted = fields.boolean_or("deleted", false);
  state.erasable = fields.boolean_or("erasable", false);
  for (std::string& block : fields.texts("born_with")) state.born_with.emplace_back(std::move(block));
  state.corrupt = fields.boolean_or("corrupt", false);
  state.bad_offset = Offset{fields.unsigned_integer("bad_offset")};
  state.why_corrupt = fields.text("why_corrupt");
  for (const Json& item : fields.list("recent")) {
    const auto& entry = item.items();
    if (entry.size() != 3 || !entry[0].is_string() || !entry[1].is_string() || !entry[2].as_integer()) {
      fields.set_fault("\"recent\" does not fit");
      break;
    }
    const auto recent_id = parse_command_id(entry[0].as_string());
    const auto recent_hash = parse_command_hash(entry[1].as_string());
    if (!recent_id || !recent_hash) {
      fields.set_fault("\"recent\" does not fit");
      break;
    }
    state.recent.add(
        {*recent_id, *recent_hash, Sequence{static_cast<std::uint64_t>(*entry[2].as_integer())}});
  }
  state.gone = fields.optional_text("gone").value_or("");
  if (const Json* teleport = parsed->find("teleport")) state.teleport = read_teleport(*teleport, fields);
  read_body(fields.text("kind"), fields, state);
  if (fields.fault()) return *fields.fault();
  return state;
}

}  // namespace varve
