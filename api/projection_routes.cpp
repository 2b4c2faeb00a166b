#include "api/projection_routes.h"

#include "api/http_status.h"
#include "projections/status.h"
#include "runtime/json.h"

namespace varve {
namespace {

constexpr std::chrono::seconds kStopTime{60};

std::int64_t number(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}

Response wrong_method(const char* allowed) {
  Response wrong = detail_response(405, "Method Not Allowed");
  wrong.headers.emplace("allow", allowed);
  return wrong;
}

// The member as a number in its bounds; nothing: it does not fit.
std::optional<std::int64_t> bounded(const Json& body, std::string_view key, std::int64_t least,
                                    std::int64_t most, std::int64_t otherwise) {
  const Json* value = body.find(key);
  if (value == nullptr) return otherwise;
  const auto found = value->is_number() ? value->as_integer() : std::nullopt;
  return found && *found >= least && *found <= most ? found : std::nullopt;
}

}  // namespace

bool ProjectionRoutes::serves(std::string_view path) {
  return path == kProjectionsPath || path == kRebuildPath;
}

boost::asio::awaitable<Response> ProjectionRoutes::handle(Request request) {
  const auto target = parse_target(request.target);
  const bool rebuild = target && target->path == kRebuildPath;
  if (request.method == "GET") {
    if (rebuild) co_return progress();
    Response told = co_await status();
    co_return told;
  }
  if (!rebuild) co_return wrong_method("GET");
  if (request.method == "POST") co_return begin(request.body);
  if (request.method != "DELETE") co_return wrong_method("GET, POST, DELETE");
  Response done = co_await abort();
  co_return done;
}

ProjectionRoutes::Answer ProjectionRoutes::status() {
  auto status = co_await projection_status(env_, ports_.log, ports_.views, ports_.generations);
  Response response =
      status ? json_response(projection_json(*status)) : error_response(status.error(), false);
  co_return response;
}

Response ProjectionRoutes::begin(const std::string& body) {
  const auto json = Json::parse(body.empty() ? "{}" : body);
  if (!json || !json->is_object()) return unprocessable("the body must be a JSON object");
  const auto jobs = bounded(*json, "jobs", 1, kJobsMax, 2);
  if (!jobs) return unprocessable("jobs: expected an integer from 1 to " + std::to_string(kJobsMax));
  const auto grace = bounded(*json, "grace_seconds", 0, kGraceMax, 30);
  if (!grace)
    return unprocessable("grace_seconds: expected an integer from 0 to " + std::to_string(kGraceMax));
  if (rebuild_ && !outcome_) {
    return error_response({Errc::conflict, "this server rebuilds its views already"}, false);
  }
  RebuildOptions options;
  options.jobs = static_cast<std::size_t>(*jobs);
  options.grace = std::chrono::seconds{*grace};
  options.batch_changes = ports_.batch_changes;
  rebuild_ = std::make_shared<Rebuild>(env_, ports_.log, ports_.generations, std::move(options));
  outcome_.reset();
  env_.spawn("rebuild of the views", run(rebuild_));
  return progress();
}

Task<> ProjectionRoutes::run(std::shared_ptr<Rebuild> rebuild) {
  env_.log(LogLevel::info, "rebuilding the views");
  const Status done = co_await rebuild->run();
  outcome_ = done;
  ended_ = env_.now();
  end_.notify_all();
  if (done) {
    env_.log(LogLevel::info,
             "the views are generation " + std::to_string(rebuild->progress().generation) + " now");
  } else {
    env_.log(LogLevel::warning, "the rebuild of the views ended: " + done.error().message);
  }
  co_return ok();
}

Response ProjectionRoutes::progress() const {
  JsonWriter out;
  if (!rebuild_) return json_response(out.begin_object().field("state", "none").end_object().take());
  const RebuildProgress& progress = rebuild_->progress();
  const char* state = !outcome_ ? "running" : *outcome_ ? "done" : "failed";
  const MonoTime until = outcome_ ? ended_ : env_.now();
  const auto time = std::chrono::duration_cast<std::chrono::milliseconds>(until - progress.begun);
  out.begin_object().field("state", state).field("phase", to_string(progress.phase));
  out.field_integer("generation", number(progress.generation));
  out.field_integer("folded", number(progress.folded)).field_integer("end", number(progress.end));
  out.field_integer("resumed_at", number(progress.resumed_at)).field_integer("rows", number(progress.rows));
  out.field_integer("milliseconds", progress.begun == MonoTime{} ? 0 : time.count());
  if (outcome_ && !*outcome_) {
    out.field("error", outcome_->error().message);
  } else {
    out.field_null("error");
  }
  return json_response(out.end_object().take());
}

ProjectionRoutes::Answer ProjectionRoutes::abort() {
  if (rebuild_ && !outcome_) {
    rebuild_->stop();
    const MonoTime deadline = env_.now() + kStopTime;
    while (!outcome_ && env_.now() < deadline) co_await end_.wait(env_, deadline);
    if (!outcome_) {
      co_return error_response({Errc::unavailable, "the rebuild does not stop at the moment; ask again"},
                               false);
    }
  }
  auto removed = co_await ports_.generations.abort();
  if (!removed) co_return error_response(removed.error(), false);
  JsonWriter out;
  out.begin_object().field_boolean("removed", *removed).end_object();
  co_return json_response(out.take());
}

}  // namespace varve
