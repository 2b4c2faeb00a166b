#include "inspect/teleport_plan.h"

#include <algorithm>

#include "actors/agent_teleport.h"

namespace varve {
namespace {

constexpr std::string_view kAgentPrefix = "agent-";
constexpr std::string_view kBlockPrefix = "block-";

}  // namespace

// ---- the plan

bool ImportPlan::nothing_to_do() const {
  return std::all_of(streams.begin(), streams.end(), [this](const ArchiveStream& one) {
    if (kept.contains(one.stream)) return true;
    const auto known = there.find(one.stream);
    return known != there.end() && known->second.sealed && known->second.carried == one.events;
  });
}

bool ImportPlan::has_begun() const {
  return std::any_of(there.begin(), there.end(), [](const auto& one) { return one.second.carried > 0; });
}

std::vector<std::string> ImportPlan::agents() const {
  std::vector<std::string> agents;
  for (const ArchiveStream& one : streams) {
    if (one.stream.value().starts_with(kAgentPrefix)) agents.push_back(one.stream.value());
  }
  return agents;
}

Status ImportPlan::settle(bool left) {
  for (const ArchiveStream& one : streams) {
    const auto known = there.find(one.stream);
    if (known == there.end() || !known->second.sealed || known->second.carried == one.events) continue;
    if (!left || !one.stream.value().starts_with(kBlockPrefix)) {
      return Error{Errc::conflict, "'" + one.stream.value() + "' was imported from an earlier archive, and " +
                                       "has lived on at the target since; an archive can be imported under " +
                                       "new ids (--fork)"};
    }
    kept.insert(one.stream);
  }
  return ok();
}

std::vector<std::string> ImportPlan::seals() const {
  std::vector<std::string> seals;
  for (const std::string_view kind : {kBlockPrefix, kAgentPrefix}) {
    for (const ArchiveStream& one : streams) {
      if (!one.stream.value().starts_with(kind) || kept.contains(one.stream)) continue;
      JsonWriter body;
      body.begin_object().field("stream", one.stream.value()).key("seal").begin_object();
      body.field_integer("events", static_cast<std::int64_t>(one.events)).field("chain", one.chain);
      body.end_object().end_object();
      seals.push_back(body.take());
    }
  }
  return seals;
}

// ---- questions

std::string question_about(const StreamId& stream) {
  JsonWriter body;
  body.begin_object().field("stream", stream.value()).end_object();
  return body.take();
}

Result<CarriedSoFar> answer_about(const StreamId& stream, const Json& answer) {
  const Json* carried = answer.find("carried");
  const Json* chain = answer.find("chain");
  const Json* sealed = answer.find("sealed");
  if (carried == nullptr || !carried->is_number() || chain == nullptr || !chain->is_string() ||
      sealed == nullptr || !sealed->is_boolean()) {
    return Error{Errc::corrupt, "the server's answer about '" + stream.value() + "' is not understood"};
  }
  return CarriedSoFar{static_cast<std::uint64_t>(carried->as_integer().value_or(0)), chain->as_string(),
                      sealed->as_boolean()};
}

std::string request_of_tool(const ToolValue& tool, bool look) {
  JsonWriter body;
  body.begin_object().key("tool");
  write_tool(body, tool);
  if (look) body.field_boolean("look", true);
  body.end_object();
  return body.take();
}

Status note_equal_tool(const ToolValue& tool, const Json& answer, Renaming& renaming) {
  const Json* id = answer.find("id");
  if (id == nullptr || !id->is_string()) return Error{Errc::corrupt, "the server's answer has no id"};
  if (!id->as_string().empty() && id->as_string() != tool.id) renaming.tool(tool.id, id->as_string());
  return ok();
}

// ---- pieces

ImportPieces::ImportPieces(const ImportPlan& plan, std::size_t bytes_max, Send send)
    : plan_(plan), bytes_max_(bytes_max), send_(std::move(send)) {}

Status ImportPieces::take(const ArchiveRecord& record) {
  const StreamId stream = plan_.renaming.stream(record.stream);
  if (plan_.kept.contains(stream)) return ok();
  if (stream != stream_) {
    if (Status sent = flush(); !sent) return sent;
    stream_ = stream;
    chain_.clear();
    sequence_ = 0;
  }
  auto events = carried_events(plan_.renaming.record(record), plan_.header.source, record.stream);
  if (!events) return events.error();
  const auto there = plan_.there.find(stream);
  const std::uint64_t carried = there != plan_.there.end() ? there->second.carried : 0;
  for (EventTeleported& event : *events) {
    std::string after = next_chain(chain_, event);
    ++sequence_;
    if (sequence_ > carried) {
      if (Status added = add(event); !added) return added;
    }
    chain_ = std::move(after);
  }
  return ok();
}

Status ImportPieces::add(const EventTeleported& event) {
  JsonWriter out;
  write_event(out, Event{event});
  if (count_ > 0 && events_.size() + out.text().size() > bytes_max_) {
    if (Status sent = flush(); !sent) return sent;
  }
  if (count_ == 0) {
    first_ = sequence_;
    chain_before_ = chain_;
  }
  events_ += (count_ == 0 ? "" : ",") + out.text();
  ++count_;
  return ok();
}

Status ImportPieces::flush() {
  if (count_ == 0) return ok();
  JsonWriter body;
  body.begin_object().field("stream", stream_.value()).key("append").begin_object();
  body.field_integer("first", static_cast<std::int64_t>(first_)).field("chain", chain_before_);
  body.field_raw("events", "[" + events_ + "]").end_object().end_object();
  count_ = 0;
  events_.clear();
  return send_(body.take());
}

}  // namespace varve
