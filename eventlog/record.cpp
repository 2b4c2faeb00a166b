#include "eventlog/record.h"

#include <algorithm>

#include "runtime/json_fields.h"
#include "runtime/stored_json.h"

namespace varve {
namespace {

std::int64_t as_signed(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}

void write_stored_event(JsonWriter& out, const StoredEvent& stored) {
  if (const auto* event = std::get_if<Event>(&stored)) return write_event(out, *event);
  const auto& unreadable = std::get<UnreadableEvent>(stored);
  out.begin_object().field("type", unreadable.type).field_integer("v", unreadable.version);
  out.field_raw("data", unreadable.data).end_object();
}

struct Encoder {
  JsonWriter& out;

  void begin(const char* kind) const {
    out.begin_object().field_integer("v", kRecordVersion).field("kind", kind);
  }

  void operator()(const Commit& commit) const {
    begin("commit");
    out.field_integer("epoch", as_signed(commit.epoch.value()))
        .field_integer("n", as_signed(commit.n.value()));
    out.field("node", commit.node).field_integer("at", commit.at.value());
    out.key("cmd")
        .begin_object()
        .field("id", to_hex(commit.command.id))
        .field("hash", to_hex(commit.command.hash));
    if (commit.command.client) out.field_boolean("client", true);
    if (!commit.command.request_id.empty()) out.field("request", commit.command.request_id);
    out.end_object().key("parts").begin_array();
    for (const Part& part : commit.parts) {
      out.begin_object().field("stream", part.stream.value());
      out.field_integer("seq", as_signed(part.first.value())).key("events").begin_array();
      for (const StoredEvent& event : part.events) write_stored_event(out, event);
      out.end_array().end_object();
    }
    out.end_array().end_object();
  }

  void operator()(const Claim& claim) const {
    begin("claim");
    out.field_integer("epoch", as_signed(claim.epoch.value())).field("id", to_hex(claim.id));
    out.field("cluster", claim.cluster).field("node", claim.node).field("url", claim.url);
    out.field_integer("partitions", claim.partitions).field_integer("at", claim.at.value()).end_object();
  }

  void operator()(const Ruling& ruling) const {
    begin("ruling");
    out.field_integer("epoch", as_signed(ruling.epoch.value()))
        .field_integer("n", as_signed(ruling.n.value()));
    out.field("node", ruling.node)
        .field_integer("at", ruling.at.value())
        .field("stream", ruling.stream.value());
    out.field_integer("offset", as_signed(ruling.offset.value()))
        .field_integer("event", ruling.event)
        .end_object();
  }

  void operator()(const ForeignRecord& /*record*/) const {
    check_failed("a foreign record is never written", __FILE__, __LINE__);
  }
};

StoredEvent read_stored_event(const Json& json, JsonFields& record) {
  JsonFields fields(json, "event");
  const std::string type = fields.text("type");
  const std::int64_t version = fields.integer("v");
  const Json& data = fields.object("data");
  if (fields.fault()) {
    record.set_fault(fields.fault()->message);
    return UnreadableEvent{};
  }
  auto event = read_event(type, version, data);
  if (event) return std::move(*event);
  return UnreadableEvent{type, version, event.error().message, data.dump()};
}

std::vector<Part> read_parts(JsonFields& record) {
  std::vector<Part> parts;
  for (const Json& item : record.list("parts")) {
    JsonFields fields(item, "part");
    Part part{StreamId{fields.text("stream")}, Sequence{fields.unsigned_integer("seq")}, {}};
    for (const Json& event : fields.list("events")) part.events.push_back(read_stored_event(event, record));
    if (part.events.empty()) fields.set_fault("\"events\" must not be empty");
    if (part.first == Sequence{}) fields.set_fault("\"seq\" counts from 1");
    if (fields.fault()) record.set_fault(fields.fault()->message);
    parts.push_back(std::move(part));
  }
  if (parts.empty()) record.set_fault("\"parts\" must not be empty");
  return parts;
}

CommandId command_id_in(JsonFields& fields, std::string_view key, JsonFields& record) {
  const auto id = parse_command_id(fields.text(key));
  if (id) return *id;
  record.set_fault("\"" + std::string(key) + "\": " + id.error().message);
  return {};
}

Result<Record> read_commit(JsonFields& fields) {
  Commit commit;
  commit.epoch = Epoch{fields.unsigned_integer("epoch")};
  commit.n = Index{fields.unsigned_integer("n")};
  commit.node = fields.text("node");
  commit.at = WallTime{fields.integer("at")};
  JsonFields command(fields.object("cmd"), "cmd");
  commit.command.id = command_id_in(command, "id", fields);
  const auto hash = parse_command_hash(command.text("hash"));
  if (hash) {
    commit.command.hash = *hash;
  } else {
    fields.set_fault("\"hash\": " + hash.error().message);
  }
  commit.command.client = command.boolean_or("client", false);
  // Of no weight, so what is malformed stops nobody.
  commit.command.request_id = command.optional_text("request").value_or("");
  if (!is_request_id(commit.command.request_id)) commit.command.request_id.clear();
  commit.parts = read_parts(fields);
  if (fields.fault()) return *fields.fault();
  return Record{std::move(commit)};
}

Result<Record> read_claim(JsonFields& fields) {
  Claim claim;
  claim.epoch = Epoch{fields.unsigned_integer("epoch")};
  claim.id = command_id_in(fields, "id", fields);
  claim.cluster = fields.text("cluster");
  claim.node = fields.text("node");
  claim.url = fields.text("url");
  const std::uint64_t partitions = fields.unsigned_integer("partitions");
  if (partitions == 0 || partitions > kPartitionsMax) fields.set_fault("\"partitions\" must be 1 to 1024");
  claim.partitions = static_cast<std::uint32_t>(partitions);
  claim.at = WallTime{fields.integer("at")};
  if (fields.fault()) return *fields.fault();
  return Record{std::move(claim)};
}

Result<Record> read_ruling(JsonFields& fields) {
  Ruling ruling;
  ruling.epoch = Epoch{fields.unsigned_integer("epoch")};
  ruling.n = Index{fields.unsigned_integer("n")};
  ruling.node = fields.text("node");
  ruling.at = WallTime{fields.integer("at")};
  ruling.stream = StreamId{fields.text("stream")};
  ruling.offset = Offset{fields.unsigned_integer("offset")};
  ruling.event = fields.integer("event");
  if (fields.fault()) return *fields.fault();
  return Record{std::move(ruling)};
}

}  // namespace

bool is_request_id(std::string_view text) {
  if (text.empty() || text.size() > kRequestIdBytesMax) return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

Result<std::string> encode_record(const Record& record) {
  JsonWriter out;
  std::visit(Encoder{out}, record);
  if (out.text().size() > kRecordBytesMax) {
    return Error{Errc::resource_exhausted, "a record of " + std::to_string(out.text().size()) +
                                               " bytes is over the limit of " +
                                               std::to_string(kRecordBytesMax)};
  }
  return out.take();
}

Result<Record> decode_record(std::string_view bytes) {
  if (!bytes.starts_with(kRecordMagic)) return Record{ForeignRecord{}};
  if (bytes.size() > kRecordBytesMax)
    return Error{Errc::corrupt, "a record is larger than any that is ever written"};
  auto json = parse_stored_json(bytes);
  if (!json) return Error{Errc::corrupt, "record: " + json.error().message};
  JsonFields fields(*json, "record", Errc::corrupt);
  const std::int64_t version = fields.integer("v");
  if (!fields.fault() && version > kRecordVersion) {
    return Error{Errc::corrupt, "the record has format version " + std::to_string(version) +
                                    ", this program reads up to " + std::to_string(kRecordVersion) +
                                    "; upgrade first"};
  }
  const std::string kind = fields.text("kind");
  if (fields.fault()) return *fields.fault();
  if (kind == "commit") return read_commit(fields);
  if (kind == "claim") return read_claim(fields);
  if (kind == "ruling") return read_ruling(fields);
  return Error{Errc::corrupt, "record: \"kind\" must be commit, claim or ruling, not '" + kind + "'"};
}

WallTime time_of(const Record& record) {
  if (const auto* commit = std::get_if<Commit>(&record)) return commit->at;
  if (const auto* claim = std::get_if<Claim>(&record)) return claim->at;
  if (const auto* ruling = std::get_if<Ruling>(&record)) return ruling->at;
  return WallTime{};
}

}  // namespace varve
