#include "inspect/teleport_check.h"

#include <algorithm>
#include <array>

#include "actors/agent_teleport.h"
#include "runtime/stored_json.h"

namespace varve {
namespace {

constexpr std::size_t kUuidBytes = 36;

// The kind of an id ("message-"), if it is one that a fork gives anew.
std::string_view renamed_kind(std::string_view id) {
  for (const std::string_view kind : {"message-", "run-", "step-", "block-", "agent-"}) {
    if (id.size() == kind.size() + kUuidBytes && id.starts_with(kind)) return kind;
  }
  return {};
}

// Members that hold what people or models have written, or JSON that is opaque to the server.
bool is_opaque(std::string_view key) {
  constexpr std::array<std::string_view, 19> kOpaque{
      "content", "reasoning",  "arguments",    "metadata",  "extra",   "request", "value",
      "system",  "stdout",     "stderr",       "otid",      "name",    "label",   "description",
      "tags",    "tags_added", "tags_removed", "sender_id", "group_id"};
  return std::find(kOpaque.begin(), kOpaque.end(), key) != kOpaque.end();
}

Error damaged(std::string what) {
  return {Errc::corrupt, std::move(what)};
}

bool is_agent(const StreamId& stream) {
  return stream.value().starts_with("agent-");
}

}  // namespace

// ---- names ----

Renaming Renaming::fork(std::string seed) {
  Renaming renaming;
  renaming.seed_ = std::move(seed);
  return renaming;
}

std::string Renaming::id(const std::string& old_id) const {
  if (const auto tool = tools_.find(old_id); tool != tools_.end()) return tool->second;
  const std::string_view kind = seed_.empty() ? std::string_view{} : renamed_kind(old_id);
  if (kind.empty()) return old_id;
  return std::string(kind) + derived_uuid(command_id_from_text("fork " + seed_), old_id, 0);
}

StreamId Renaming::stream(const StreamId& old_id) const {
  return StreamId{id(old_id.value())};
}

Json Renaming::renamed(const Json& json, std::string_view key) const {
  if (is_opaque(key)) return json;
  if (json.is_string()) return Json::string(id(json.as_string()));
  if (json.is_array()) {
    Json list = Json::array();
    for (const Json& item : json.items()) list.push_back(renamed(item, key));
    return list;
  }
  if (!json.is_object()) return json;
  Json object = Json::object();
  // What the agent was forked from is where it was.
  for (const auto& [name, value] : json.members()) {
    object.set(name, name == "origin" ? value : renamed(value, name));
  }
  return object;
}

ArchiveRecord Renaming::record(ArchiveRecord record) const {
  if (changes_nothing()) return record;
  record.stream = stream(record.stream);
  for (ArchiveEvent& event : record.events) {
    const auto data = parse_stored_json(event.data);
    if (event.type.empty() || !data) continue;
    event.data = renamed(*data, "").dump();
  }
  if (seed_.empty()) return record;
  // The commands of the source are not those of the fork: a client that repeats one finds the original.
  record.command.id = command_id_from_text("fork " + seed_ + " " + to_hex(record.command.id));
  record.command.client = false;
  return record;
}

Result<std::vector<EventTeleported>> carried_events(const ArchiveRecord& record, const std::string& source,
                                                    const StreamId& origin) {
  std::vector<EventTeleported> events;
  for (std::size_t i = 0; i < record.events.size(); ++i) {
    const ArchiveEvent& event = record.events[i];
    EventTeleported carried;
    carried.at = record.at;
    carried.command = to_hex(record.command.id);
    carried.command_hash = to_hex(record.command.hash);
    carried.client = record.command.client && i == 0;
    carried.request_id = record.command.request_id;
    carried.type = event.type;
    carried.version = event.version;
    if (!event.type.empty()) carried.data = event.data;
    if (record.first.value() + i == 1) {
      carried.source = source;
      if (origin != record.stream) carried.origin = origin;
    }
    if (const Status read = read_inner(carried); !read) {
      return damaged("event " + std::to_string(record.first.value() + i) + " of " + record.stream.value() +
                     ": " + read.error().message);
    }
    events.push_back(std::move(carried));
  }
  return events;
}

// ---- the check ----

Status ArchiveCheck::take(const ArchiveFrame& frame) {
  if (const auto* header = std::get_if<ArchiveHeader>(&frame)) {
    header_ = *header;
    return ok();
  }
  if (const auto* tool = std::get_if<ArchiveTool>(&frame)) {
    if (!state_.stream.value().empty()) return damaged("a tool comes behind the first stream");
    tools_.push_back(tool->tool);
    return ok();
  }
  if (const auto* record = std::get_if<ArchiveRecord>(&frame)) return take_record(*record);
  if (const auto* seal = std::get_if<ArchiveSeal>(&frame)) {
    if (Status ended = end_stream(); !ended) return ended;
    return check_counts(*seal);
  }
  return ok();
}

Status ArchiveCheck::take_record(const ArchiveRecord& taken) {
  const StreamId stream = renaming_.stream(taken.stream);
  const bool known = is_agent(stream) || stream.value().starts_with("block-");
  if (!known) return damaged("'" + stream.value() + "' is neither an agent nor a block");
  if (stream != state_.stream) {
    if (Status ended = end_stream(); !ended) return ended;
    if (!begun_.insert(stream).second) {
      return damaged("records of " + stream.value() + " come again, behind those of another stream");
    }
    state_ = ActorState{};
    state_.stream = stream;
  }
  if (taken.first != next(state_.sequence)) {
    return damaged("the next event of " + stream.value() + " is its event " +
                   std::to_string(taken.first.value()) + ", expected " +
                   std::to_string(state_.sequence.value() + 1));
  }
  auto events = carried_events(renaming_.record(taken), header_.source, taken.stream);
  if (!events) return events.error();
  for (EventTeleported& event : *events) {
    if (Status fits = check_carried(state_, event); !fits) {
      return damaged("event " + std::to_string(state_.sequence.value() + 1) + " of " + stream.value() + ": " +
                     fits.error().message);
    }
    apply_carried(state_, std::move(event));
    if (state_.corrupt) return damaged(stream.value() + ": " + state_.why_corrupt);
    if (Status same = compare(state_.sequence.value(), state_.teleport->chain); !same) return same;
  }
  return ok();
}

// What the target has of a stream must be what comes here.
Status ArchiveCheck::compare(std::uint64_t carried, const std::string& chain) {
  const auto there = there_.find(state_.stream);
  if (there == there_.end() || there->second.carried != carried || there->second.chain == chain) return ok();
  return Error{Errc::conflict, "'" + state_.stream.value() +
                                   "' is at the target already and has another history; an archive can be "
                                   "imported under new ids (--fork)"};
}

Status ArchiveCheck::end_stream() {
  if (state_.stream.value().empty()) return ok();
  if (Status whole = check_sealable(state_); !whole) return damaged(whole.error().message);
  const std::uint64_t events = state_.sequence.value();
  const auto there = there_.find(state_.stream);
  if (there != there_.end() && there->second.carried > events) {
    return Error{Errc::conflict, "'" + state_.stream.value() + "' has " +
                                     std::to_string(there->second.carried) +
                                     " events of its source at the target already, and only " +
                                     std::to_string(events) + " in this archive: it is of an earlier time"};
  }
  streams_.push_back({state_.stream, events, state_.teleport->chain});
  return ok();
}

Status ArchiveCheck::check_counts(const ArchiveSeal& seal) const {
  const auto agents = static_cast<std::int64_t>(
      std::count_if(streams_.begin(), streams_.end(), [](const auto& one) { return is_agent(one.stream); }));
  const auto all = static_cast<std::int64_t>(streams_.size());
  const auto tools = static_cast<std::int64_t>(tools_.size());
  if (header_.agents == agents && header_.blocks == all - agents && header_.tools == tools &&
      header_.records == seal.records && header_.events == seal.events) {
    return ok();
  }
  return damaged("the header counts " + std::to_string(header_.tools) + " tools, " +
                 std::to_string(header_.agents) + " agents, " + std::to_string(header_.blocks) + " blocks, " +
                 std::to_string(header_.records) + " records and " + std::to_string(header_.events) +
                 " events; there are " + std::to_string(tools) + ", " + std::to_string(agents) + ", " +
                 std::to_string(all - agents) + ", " + std::to_string(seal.records) + " and " +
                 std::to_string(seal.events));
}

}  // namespace varve
