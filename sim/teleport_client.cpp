#include "sim/teleport_client.h"

#include <algorithm>

#include "actors/agent_teleport.h"
#include "api/teleport_routes.h"
#include "runtime/json.h"
#include "sim/log_oracle.h"

namespace varve::sim {
namespace {

Request make(std::string method, std::string target, std::string body) {
  Request request;
  request.method = std::move(method);
  request.target = std::move(target);
  request.body = std::move(body);
  request.headers.emplace("content-type", "application/json");
  return request;
}

Status status_of(const Exchange& came) {
  if (came.end != Exchange::End::whole) return Error{Errc::unavailable, "nobody has answered"};
  if (came.status == 200) return ok();
  const std::string what = std::to_string(came.status) + " " + came.body;
  if (came.status == 404 || came.status == 410) return Error{Errc::not_found, what};
  if (came.status == 409) return Error{Errc::conflict, what};
  if (came.status == 429 || came.status >= 500) return Error{Errc::unavailable, what};
  return Error{Errc::invalid_argument, what};
}

Result<FetchedArchive> read_archive(std::string_view bytes) {
  ArchiveReader reader;
  FetchedArchive archive;
  ArchiveCheck check{Renaming{}};
  reader.feed(bytes);
  for (;;) {
    auto frame = reader.next();
    if (!frame) return frame.error();
    if (!*frame) break;
    if (Status fits = check.take(**frame); !fits) return fits.error();
    archive.frames.push_back(std::move(**frame));
  }
  if (Status whole = reader.end(); !whole) return whole.error();
  archive.hash = reader.hash();
  archive.header = check.header();
  archive.streams = check.streams();
  return archive;
}

Status check_frames(const FetchedArchive& archive, ArchiveCheck& check) {
  for (const ArchiveFrame& frame : archive.frames) {
    if (Status fits = check.take(frame); !fits) return fits;
  }
  return ok();
}

// The bodies of the requests that carry what is not there yet.
class Cutter {
 public:
  Cutter(const TeleportPlan& plan, std::size_t bytes) : plan_(plan), bytes_(bytes) {}

  Result<std::vector<std::string>> cut() {
    for (const ArchiveFrame& frame : plan_.archive->frames) {
      const auto* record = std::get_if<ArchiveRecord>(&frame);
      if (record == nullptr || plan_.kept.contains(plan_.renaming.stream(record->stream))) continue;
      if (Status taken = take(*record); !taken) return taken.error();
    }
    flush();
    return std::move(pieces_);
  }

 private:
  Status take(const ArchiveRecord& record) {
    const StreamId stream = plan_.renaming.stream(record.stream);
    if (stream != stream_) {
      flush();
      stream_ = stream;
      chain_.clear();
      sequence_ = 0;
    }
    const std::string& source = plan_.archive->header.source;
    auto events = carried_events(plan_.renaming.record(record), source, record.stream);
    if (!events) return events.error();
    const auto there = plan_.there.find(stream);
    const std::uint64_t carried = there != plan_.there.end() ? there->second.carried : 0;
    for (const EventTeleported& event : *events) {
      ++sequence_;
      if (sequence_ > carried) add(event);
      chain_ = next_chain(chain_, event);
    }
    return ok();
  }
  void add(const EventTeleported& event) {
    JsonWriter out;
    write_event(out, Event{event});
    if (count_ > 0 && events_.size() + out.text().size() > bytes_) flush();
    if (count_ == 0) {
      first_ = sequence_;
      chain_before_ = chain_;
    }
    events_ += (count_ == 0 ? "" : ",") + out.text();
    ++count_;
  }
  void flush() {
    if (count_ == 0) return;
    JsonWriter body;
    body.begin_object().field("stream", stream_.value()).key("append").begin_object();
    body.field_integer("first", static_cast<std::int64_t>(first_)).field("chain", chain_before_);
    body.field_raw("events", "[" + events_ + "]").end_object().end_object();
    pieces_.push_back(body.take());
    count_ = 0;
    events_.clear();
  }

  const TeleportPlan& plan_;
  std::size_t bytes_;
  std::vector<std::string> pieces_;
  StreamId stream_;
  std::string chain_;
  std::uint64_t sequence_ = 0;
  std::string events_;
  std::size_t count_ = 0;
  std::uint64_t first_ = 0;
  std::string chain_before_;
};

std::string tool_body(const ToolValue& tool, bool look) {
  JsonWriter body;
  body.begin_object().key("tool");
  write_tool(body, tool);
  if (look) body.field_boolean("look", true);
  body.end_object();
  return body.take();
}

}  // namespace

bool TeleportPlan::nothing_to_do() const {
  return std::all_of(streams.begin(), streams.end(), [this](const ArchiveStream& one) {
    if (kept.contains(one.stream)) return true;
    const auto known = there.find(one.stream);
    return known != there.end() && known->second.sealed && known->second.carried == one.events;
  });
}

bool TeleportPlan::goes_on() const {
  const auto begun = [](const auto& one) { return one.second.carried > 0; };
  return !nothing_to_do() && std::any_of(there.begin(), there.end(), begun);
}

std::vector<std::string> TeleportPlan::agents() const {
  std::vector<std::string> agents;
  for (const ArchiveStream& one : streams) {
    if (one.stream.value().starts_with("agent-")) agents.push_back(one.stream.value());
  }
  return agents;
}

TeleportClient::TeleportClient(Ask source, Ask target, Options options)
    : source_(std::move(source)), target_(std::move(target)), options_(std::move(options)) {}

// ---- the source

Task<ArchivePtr> TeleportClient::fetch(std::string query) {
  Request request = make("GET", std::string(kTeleportExportPath) + "?" + query, "");
  auto came = co_await source_(std::move(request));
  if (!came) co_return came.error();
  if (Status answered = status_of(*came); !answered) co_return answered.error();
  auto archive = read_archive(came->body);
  if (!archive) co_return archive.error();
  co_return std::make_shared<const FetchedArchive>(std::move(*archive));
}

Task<Exchange> TeleportClient::leave(std::string agent, std::string place, std::uint64_t events) {
  JsonWriter body;
  body.begin_object().field("agent", agent).field("place", place);
  body.field_integer("events", static_cast<std::int64_t>(events)).end_object();
  Request request = make("POST", std::string(kTeleportMovePath), body.take());
  co_return co_await source_(std::move(request));
}

// ---- the target

Task<Json> TeleportClient::post(std::string body) {
  Request request = make("POST", std::string(kTeleportImportPath), std::move(body));
  auto came = co_await target_(std::move(request));
  if (!came) co_return came.error();
  if (Status answered = status_of(*came); !answered) co_return answered.error();
  if (const auto header = came->header("varve-position")) {
    if (const auto positions = parse_positions(*header)) {
      for (const LogPosition& position : *positions) merge_position(written_, position);
    }
  }
  views_behind_ = came->header("varve-view").has_value();
  co_return Json::parse(came->body);
}

Task<CarriedSoFar> TeleportClient::ask_for(StreamId stream) {
  JsonWriter body;
  body.begin_object().field("stream", stream.value()).end_object();
  auto json = co_await post(body.take());
  if (!json) co_return json.error();
  const Json* carried = json->find("carried");
  const Json* chain = json->find("chain");
  const Json* sealed = json->find("sealed");
  if (carried == nullptr || chain == nullptr || sealed == nullptr) {
    co_return Error{Errc::corrupt, "how far " + stream.value() + " is: " + json->dump()};
  }
  co_return CarriedSoFar{static_cast<std::uint64_t>(carried->as_integer().value_or(0)), chain->as_string(),
                         sealed->as_boolean()};
}

Task<> TeleportClient::look_for_tools(TeleportPlan* plan, const std::vector<ToolValue>* tools) {
  for (const ToolValue& tool : *tools) {
    auto json = co_await post(tool_body(tool, true));
    if (!json) co_return json.error();
    const Json* id = json->find("id");
    if (id == nullptr) co_return Error{Errc::corrupt, "a tool's answer has no id"};
    if (!id->as_string().empty() && id->as_string() != tool.id) plan->renaming.tool(tool.id, id->as_string());
  }
  co_return ok();
}

Task<TeleportPlan> TeleportClient::check(ArchivePtr archive, std::string fork_key, bool left) {
  TeleportPlan plan;
  plan.archive = archive;
  if (!fork_key.empty()) plan.renaming = Renaming::fork(archive->hash + " " + fork_key);
  ArchiveCheck whole{Renaming{}};
  if (Status fits = check_frames(*archive, whole); !fits) co_return fits.error();
  if (Status looked = co_await look_for_tools(&plan, &whole.tools()); !looked) co_return looked.error();
  ArchiveCheck renamed{plan.renaming};
  if (Status fits = check_frames(*archive, renamed); !fits) co_return fits.error();
  plan.streams = renamed.streams();
  for (const ArchiveStream& one : plan.streams) {
    auto there = co_await ask_for(one.stream);
    if (!there) co_return there.error();
    plan.there[one.stream] = std::move(*there);
  }
  ArchiveCheck compared{plan.renaming};
  compared.compare_with(plan.there);
  if (Status fits = check_frames(*archive, compared); !fits) co_return fits.error();
  for (const ArchiveStream& one : plan.streams) {
    const CarriedSoFar& there = plan.there.at(one.stream);
    if (!there.sealed || there.carried == one.events) continue;
    if (left && one.stream.value().starts_with("block-")) {
      plan.kept.insert(one.stream);
      continue;
    }
    co_return Error{Errc::conflict, one.stream.value() + " was imported from an earlier archive"};
  }
  co_return plan;
}

Task<> TeleportClient::send(TeleportPlan plan) {
  for (const ArchiveFrame& frame : plan.archive->frames) {
    const auto* tool = std::get_if<ArchiveTool>(&frame);
    if (tool == nullptr) continue;
    auto taken = co_await post(tool_body(tool->tool, false));
    if (!taken) co_return taken.error();
  }
  auto pieces = Cutter(plan, options_.piece_bytes).cut();
  if (!pieces) co_return pieces.error();
  for (std::string& piece : *pieces) {
    if (options_.dies()) co_return Error{Errc::cancelled, "killed between two pieces"};
    auto sent = co_await post(std::move(piece));
    if (!sent) co_return sent.error();
  }
  co_return ok();
}

Task<> TeleportClient::send_blindly(TeleportPlan plan) {
  plan.there.clear();
  return send(std::move(plan));
}

Task<> TeleportClient::seal(TeleportPlan plan) {
  // Blocks first: who sees an agent sees its blocks.
  for (const char* kind : {"block-", "agent-"}) {
    for (const ArchiveStream& one : plan.streams) {
      if (!one.stream.value().starts_with(kind) || plan.kept.contains(one.stream)) continue;
      if (options_.dies()) co_return Error{Errc::cancelled, "killed between two seals"};
      JsonWriter body;
      body.begin_object().field("stream", one.stream.value()).key("seal").begin_object();
      body.field_integer("events", static_cast<std::int64_t>(one.events)).field("chain", one.chain);
      body.end_object().end_object();
      auto sealed = co_await post(body.take());
      if (!sealed) co_return sealed.error();
    }
  }
  co_return ok();
}

}  // namespace varve::sim
