#include "sim/teleport_client.h"

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
Result<std::vector<std::string>> cut(const TeleportPlan& plan, std::size_t bytes) {
  std::vector<std::string> bodies;
  ImportPieces pieces(plan, bytes, [&bodies](std::string body) {
    bodies.push_back(std::move(body));
    return ok();
  });
  for (const ArchiveFrame& frame : plan.archive->frames) {
    const auto* record = std::get_if<ArchiveRecord>(&frame);
    if (record == nullptr) continue;
    if (Status taken = pieces.take(*record); !taken) return taken.error();
  }
  if (Status rest = pieces.flush(); !rest) return rest.error();
  return bodies;
}

}  // namespace

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

Task<> TeleportClient::look_for_tools(TeleportPlan* plan) {
  for (const ToolValue& tool : plan->tools) {
    auto json = co_await post(request_of_tool(tool, true));
    if (!json) co_return json.error();
    if (Status noted = note_equal_tool(tool, *json, plan->renaming); !noted) co_return noted.error();
  }
  co_return ok();
}

Task<TeleportPlan> TeleportClient::check(ArchivePtr archive, std::string fork_key, bool left) {
  TeleportPlan plan;
  plan.archive = archive;
  plan.hash = archive->hash;
  plan.header = archive->header;
  if (!fork_key.empty()) plan.renaming = Renaming::fork(archive->hash + " " + fork_key);
  ArchiveCheck whole{Renaming{}};
  if (Status fits = check_frames(*archive, whole); !fits) co_return fits.error();
  plan.tools = whole.tools();
  if (Status looked = co_await look_for_tools(&plan); !looked) co_return looked.error();
  ArchiveCheck renamed{plan.renaming};
  if (Status fits = check_frames(*archive, renamed); !fits) co_return fits.error();
  plan.streams = renamed.streams();
  for (const ArchiveStream& one : plan.streams) {
    auto json = co_await post(question_about(one.stream));
    if (!json) co_return json.error();
    auto there = answer_about(one.stream, *json);
    if (!there) co_return there.error();
    plan.there[one.stream] = std::move(*there);
  }
  ArchiveCheck compared{plan.renaming};
  compared.compare_with(plan.there);
  if (Status fits = check_frames(*archive, compared); !fits) co_return fits.error();
  if (Status settled = plan.settle(left); !settled) co_return settled.error();
  co_return plan;
}

Task<> TeleportClient::send(TeleportPlan plan) {
  for (const ToolValue& tool : plan.tools) {
    auto taken = co_await post(request_of_tool(tool, false));
    if (!taken) co_return taken.error();
  }
  auto pieces = cut(plan, options_.piece_bytes);
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
  for (std::string& seal : plan.seals()) {
    if (options_.dies()) co_return Error{Errc::cancelled, "killed between two seals"};
    auto sealed = co_await post(std::move(seal));
    if (!sealed) co_return sealed.error();
  }
  co_return ok();
}

}  // namespace varve::sim
