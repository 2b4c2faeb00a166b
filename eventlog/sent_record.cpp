#include "eventlog/sent_record.h"

#include <algorithm>

#include "runtime/utf8.h"

namespace varve {
namespace {

bool is_plain(char c) {
  return static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\';
}

// Whether the parser, which has read `json`, would print it like this. Bytes of text are looked at elsewhere.
bool is_as_printed(std::string_view json) {
  if (json == "{}" || json == "[]" || json == "null") return true;
  if (json.size() >= 2 && json.front() == '"' && json.back() == '"' &&
      std::all_of(json.begin() + 1, json.end() - 1, is_plain)) {
    return true;
  }
  // The limit of a body, not that of a record: it lies some levels deeper there.
  const auto parsed = Json::parse(json);
  return parsed && parsed->dump() == json;
}

bool is_absent_or_as_printed(std::string_view json) {
  return json.empty() || is_as_printed(json);
}

// Whether reading gives back the same value: so, if its opaque JSON is as the parser prints it. What is not
// named here is decoded.
struct ReadsBack {
  template <class E>
  bool operator()(const E& /*event*/) const {
    return false;  // Of a teleport, say: only reading makes the inner event.
  }

  bool operator()(const AgentCreated& event) const { return same(event.settings) && same(event.messages); }
  bool operator()(const AgentUpdated& event) const { return same(event.settings); }
  bool operator()(const UserMessageReceived& event) const {
    return same(event.messages) && is_as_printed(event.request);
  }
  bool operator()(const AssistantReplied& event) const { return same(event.message); }
  bool operator()(const ToolReturned& event) const { return same(event.message); }
  bool operator()(const TurnFinished& event) const { return is_as_printed(event.request); }
  bool operator()(const TurnFailed& event) const { return is_as_printed(event.request); }
  bool operator()(const TurnCancelled& event) const { return is_as_printed(event.request); }
  bool operator()(const ContextSummarized& event) const { return same(event.summary); }
  bool operator()(const MessagesImported& event) const { return same(event.messages); }
  bool operator()(const BlockCreated& event) const { return same(event.block); }
  bool operator()(const BlockUpdated& event) const { return same(event.block); }
  bool operator()(const ToolCreated& event) const { return same(event.tool); }
  bool operator()(const ToolUpdated& event) const { return same(event.tool); }
  // Without any opaque JSON.
  bool operator()(const AgentDeleted& /*event*/) const { return true; }
  bool operator()(const BlockAttached& /*event*/) const { return true; }
  bool operator()(const BlockDetached& /*event*/) const { return true; }
  bool operator()(const ContextTrimmed& /*event*/) const { return true; }
  bool operator()(const TurnResumed& /*event*/) const { return true; }
  bool operator()(const TurnHandedOver& /*event*/) const { return true; }
  bool operator()(const ImportBegun& /*event*/) const { return true; }
  bool operator()(const ImportSealed& /*event*/) const { return true; }
  bool operator()(const BlockDeleted& /*event*/) const { return true; }
  bool operator()(const ToolDeleted& /*event*/) const { return true; }
  bool operator()(const AgentForked& /*event*/) const { return true; }
  bool operator()(const AgentMoved& /*event*/) const { return true; }
  bool operator()(const AgentErased& /*event*/) const { return true; }

 private:
  static bool same(const AgentSettings& settings) {
    return is_as_printed(settings.metadata) && is_as_printed(settings.extra);
  }
  static bool same(const BlockValue& block) {
    return is_as_printed(block.metadata) && is_as_printed(block.extra);
  }
  static bool same(const ToolValue& tool) {
    return is_as_printed(tool.json_schema) && is_as_printed(tool.extra);
  }
  static bool same(const Message& message) {
    return is_as_printed(message.content) && is_absent_or_as_printed(message.stdout_lines) &&
           is_absent_or_as_printed(message.stderr_lines) && is_absent_or_as_printed(message.extra);
  }
  static bool same(const std::vector<Message>& messages) {
    return std::all_of(messages.begin(), messages.end(), [](const Message& each) { return same(each); });
  }
};

bool reads_back(const Part& part) {
  if (part.events.empty() || part.first == Sequence{}) return false;
  return std::all_of(part.events.begin(), part.events.end(), [](const StoredEvent& stored) {
    const auto* event = std::get_if<Event>(&stored);
    return event != nullptr && std::visit(ReadsBack{}, *event);
  });
}

bool reads_back(const Commit& commit, std::string_view bytes) {
  if (!commit.command.request_id.empty() && !is_request_id(commit.command.request_id)) return false;
  if (commit.parts.empty() || !std::all_of(commit.parts.begin(), commit.parts.end(),
                                           [](const Part& part) { return reads_back(part); })) {
    return false;
  }
  // U+0000 can only stand there escaped.
  return is_text(bytes) && bytes.find("\\u0000") == std::string_view::npos;
}

}  // namespace

Result<SentRecord> SentRecord::of(Commit commit) {
  auto record = std::make_shared<const Record>(std::move(commit));
  auto bytes = encode_record(*record);
  if (!bytes) return bytes.error();
  return SentRecord{std::move(record), std::make_shared<const std::string>(std::move(*bytes))};
}

std::shared_ptr<const Record> SentRecord::as(std::string_view bytes) const {
  if (bytes != *bytes_ || !reads_back(std::get<Commit>(*record_), bytes)) return nullptr;
  return record_;
}

Result<std::shared_ptr<const Record>> decoded_as(const LogRecord& record, const SentRecord& sent) {
  auto value = sent.as(*record.bytes);
  if (!value) return decoded(record);
  if (record.decode && record.decode->keep && !record.decode->result) record.decode->result = value;
  return value;
}

}  // namespace varve
