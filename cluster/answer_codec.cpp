#include "cluster/answer_codec.h"

#include <array>

#include "runtime/utf8.h"

namespace varve {
namespace {

// In the order of Errc.
constexpr std::array<Errc, 8> kCodes{Errc::invalid_argument,   Errc::not_found,       Errc::conflict,
                                     Errc::unavailable,        Errc::outcome_unknown, Errc::corrupt,
                                     Errc::resource_exhausted, Errc::cancelled};

std::int64_t signed_of(std::uint64_t number) {
  return static_cast<std::int64_t>(number);
}

void write_block(JsonWriter& out, const BlockFact& fact) {
  out.begin_object().field("id", fact.block.value()).field_integer("seq", signed_of(fact.sequence.value()));
  out.field_boolean("exists", fact.exists).key("value");
  write_block_value(out, fact.value);
  out.end_object();
}

Result<BlockFact> read_block(const Json& json) {
  JsonFields fields(json, "block of an answer");
  BlockFact fact;
  fact.block = StreamId{fields.text("id")};
  fact.sequence = Sequence{fields.unsigned_integer("seq")};
  fact.exists = fields.boolean_or("exists", false);
  auto value = read_block_value(fields.object("value"));
  if (fields.fault()) return *fields.fault();
  if (!value) return value.error();
  fact.value = std::move(*value);
  return fact;
}

void write_commit(JsonWriter& out, const CommandAnswer& answer) {
  const auto record = encode_record(Record{*answer.commit});
  CHECK(record.has_value());  // It was read from the log.
  out.field_raw("commit", *record).field_integer("offset", signed_of(answer.offset.value()));
}

Status read_commit(JsonFields& fields, const Json& json, CommandAnswer& answer) {
  auto record = decode_record(json.dump());
  if (!record) return record.error();
  auto* commit = std::get_if<Commit>(&*record);
  if (commit == nullptr) return Error{Errc::corrupt, "the commit of an answer is none"};
  answer.commit = std::make_shared<const Commit>(std::move(*commit));
  answer.offset = Offset{fields.unsigned_integer("offset")};
  return ok();
}

}  // namespace

void write_error(JsonWriter& out, const Error& error) {
  out.begin_object().field("code", to_string(error.code)).field("message", mend_text(error.message));
  out.end_object();
}

Status read_error(const Json& json, Error& error) {
  JsonFields fields(json, "error of an answer");
  const std::string code = fields.text("code");
  error.message = fields.text("message");
  if (fields.fault()) return *fields.fault();
  for (const Errc known : kCodes) {
    if (code != to_string(known)) continue;
    error.code = known;
    return ok();
  }
  return Error{Errc::corrupt, "error code '" + code + "' is not known"};
}

void write_turn_messages(JsonWriter& out, const std::vector<TurnMessage>& messages) {
  out.begin_array();
  for (const TurnMessage& message : messages) {
    out.begin_object().field_integer("at", message.at.value()).key("message");
    write_message(out, message.message);
    out.end_object();
  }
  out.end_array();
}

std::vector<TurnMessage> read_turn_messages(JsonFields& fields, std::string_view key) {
  std::vector<TurnMessage> messages;
  for (const Json& item : fields.list(key)) {
    JsonFields entry(item, "message of a turn");
    const WallTime at{entry.integer("at")};
    auto message = read_message(entry.object("message"));
    if (entry.fault() || !message) {
      fields.set_fault(entry.fault() ? entry.fault()->message : message.error().message);
      return {};
    }
    messages.push_back({std::move(*message), at});
  }
  return messages;
}

void write_turn_result(JsonWriter& out, const TurnResult& turn) {
  out.begin_object().field("run_id", turn.run_id).key("messages");
  write_turn_messages(out, turn.messages);
  out.field("stop_reason", turn.stop_reason).key("usage");
  write_usage(out, turn.usage);
  out.field("error_type", turn.error_type).field("error_message", turn.error_message).end_object();
}

Result<TurnResult> read_turn_result(const Json& json) {
  JsonFields fields(json, "turn of an answer");
  TurnResult turn;
  turn.run_id = fields.text("run_id");
  turn.messages = read_turn_messages(fields, "messages");
  turn.stop_reason = fields.text("stop_reason");
  auto usage = read_usage(fields.object("usage"));
  turn.error_type = fields.text("error_type");
  turn.error_message = fields.text("error_message");
  if (fields.fault()) return *fields.fault();
  if (!usage) return usage.error();
  turn.usage = *usage;
  return turn;
}

void write_answer(JsonWriter& out, const CommandAnswer& answer) {
  out.begin_object().field("stream", answer.stream.value()).field("positions", to_string(answer.positions));
  out.field_boolean("replayed", answer.replayed).field_integer("first", signed_of(answer.first.value()));
  if (answer.commit) write_commit(out, answer);
  if (answer.block) {
    out.key("block");
    write_block(out, *answer.block);
  }
  if (answer.turn) {
    out.key("turn");
    write_turn_result(out, *answer.turn);
  }
  if (!answer.tools.empty()) {
    out.key("tools").begin_array();
    for (const ToolValue& tool : answer.tools) write_tool(out, tool);
    out.end_array();
  }
  if (answer.summary) {
    out.key("summary").begin_object().field("text", answer.summary->text);
    out.field_integer("messages_before", answer.summary->messages_before);
    out.field_integer("messages_after", answer.summary->messages_after).end_object();
  }
  if (!answer.payload.empty()) out.field("payload", answer.payload);
  out.end_object();
}

Result<CommandAnswer> read_answer(const Json& json) {
  JsonFields fields(json, "answer");
  CommandAnswer answer;
  answer.stream = StreamId{fields.text("stream")};
  const std::string positions = fields.text("positions");
  if (!positions.empty()) {
    auto parsed = parse_positions(positions);
    if (!parsed) return parsed.error();
    answer.positions = std::move(*parsed);
  }
  answer.replayed = fields.boolean_or("replayed", false);
  answer.first = Sequence{fields.unsigned_integer("first")};
  if (const Json* commit = json.find("commit")) {
    if (Status read = read_commit(fields, *commit, answer); !read) return read.error();
  }
  if (const Json* block = json.find("block")) {
    auto read = read_block(*block);
    if (!read) return read.error();
    answer.block = std::move(*read);
  }
  if (const Json* turn = json.find("turn")) {
    auto read = read_turn_result(*turn);
    if (!read) return read.error();
    answer.turn = std::move(*read);
  }
  if (json.find("tools") != nullptr) {
    for (const Json& item : fields.list("tools")) {
      auto tool = read_tool(item);
      if (!tool) return tool.error();
      answer.tools.push_back(std::move(*tool));
    }
  }
  if (json.find("summary") != nullptr) {
    JsonFields summary(fields.object("summary"), "summary of an answer");
    answer.summary = SummaryResult{summary.text("text"), summary.integer("messages_before"),
                                   summary.integer("messages_after")};
    if (summary.fault()) return *summary.fault();
  }
  answer.payload = fields.optional_text("payload").value_or("");
  if (fields.fault()) return *fields.fault();
  return answer;
}

}  // namespace varve
