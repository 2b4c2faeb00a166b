#include "api/api.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "actors/actor_state.h"
#include "api/http_status.h"
#include "projections/cut_reader.h"
#include "projections/fold.h"
#include "projections/memory_view_store.h"
#include "runtime/mutant.h"

namespace varve {
namespace {

std::vector<std::string_view> segments_of(std::string_view path) {
  std::vector<std::string_view> segments;
  while (!path.empty()) {
    path.remove_prefix(1);  // The slash.
    const std::size_t slash = std::min(path.find('/'), path.size());
    segments.push_back(path.substr(0, slash));
    path.remove_prefix(slash);
  }
  return segments;
}

bool is_variable(std::string_view segment) {
  return segment.starts_with("{");
}

// The variable segments, if the path matches the pattern.
std::optional<std::vector<std::string>> match(std::string_view pattern, std::string_view path) {
  const auto wanted = segments_of(pattern);
  const auto got = segments_of(path);
  if (wanted.size() != got.size()) return std::nullopt;
  std::vector<std::string> ids;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (!is_variable(wanted[i])) {
      if (wanted[i] != got[i]) return std::nullopt;
      continue;
    }
    auto decoded = percent_decode(got[i], false);
    if (!decoded || decoded->empty()) return std::nullopt;
    ids.push_back(std::move(*decoded));
  }
  return ids;
}

// A malformed id in the path is a 422 that names it.
std::optional<Response> check_ids(std::string_view pattern, const std::vector<std::string>& ids) {
  std::size_t place = 0;
  for (const std::string_view segment : segments_of(pattern)) {
    if (!is_variable(segment)) continue;
    const std::string& id = ids[place++];
    for (const std::string_view prefix : {"agent", "block", "tool", "run", "step", "message"}) {
      if (segment != "{" + std::string(prefix) + "_id}") continue;
      const std::string start = std::string(prefix) + "-";
      if (!id.starts_with(start) || !is_uuid4(std::string_view(id).substr(start.size()))) {
        return malformed_id(segment.substr(1, segment.size() - 2), prefix, id);
      }
    }
  }
  return std::nullopt;
}

std::string toggled_slash(std::string_view path) {
  if (path.ends_with('/')) return std::string(path.substr(0, path.size() - 1));
  return std::string(path) + "/";
}

// The client's own deadline, in seconds, where the SDKs send it.
std::optional<Duration> timeout_of(const Request& request) {
  const auto header = request.header("x-stainless-timeout");
  if (!header) return std::nullopt;
  std::int64_t seconds = 0;
  const auto [rest, error] = std::from_chars(header->data(), header->data() + header->size(), seconds);
  if (error != std::errc{} || seconds <= 0 || seconds > 86'400) return std::nullopt;
  return std::chrono::seconds{seconds};
}

// The id of a command: from its key, else from the otids of its messages if every one has one.
std::optional<CommandId> id_from_otids(const Json& body, std::string_view path) {
  const Json* messages = body.find("messages");
  if (messages == nullptr || messages->items().empty()) return std::nullopt;
  std::string text{"otid "};
  text += path;
  for (const Json& message : messages->items()) {
    const Json* otid = message.find("otid");
    if (otid == nullptr || !otid->is_string() || otid->as_string().empty()) return std::nullopt;
    text += '\n' + otid->as_string();
  }
  return command_id_from_text(text);
}

// An agent's own routes.
bool names_agent(std::string_view pattern) {
  return pattern.find("/{agent_id}") != std::string_view::npos;
}

std::string_view class_of(int status) {
  constexpr std::array<std::string_view, 5> kClasses{"1xx", "2xx", "3xx", "4xx", "5xx"};
  return kClasses[static_cast<std::size_t>(std::clamp(status / 100, 1, 5) - 1)];
}

}  // namespace

bool is_sdk_client(const Request& request) {
  if (request.header("x-stainless-package-version")) return true;
  const auto agent = request.header("user-agent");
  return !agent || agent->find("letta-client/1.") != std::string::npos;
}

Api::Api(Env& env, Ports ports, ApiOptions options)
    : env_(env), ports_(ports), options_(std::move(options)) {}

const std::vector<Api::Route>& Api::routes() {  // NOLINT(readability-function-size): a table.
  static const std::vector<Route> kRoutes{
      {"GET", "/v1/health/", &Api::health},
      {"GET", "/v1/ready/", &Api::ready},
      {"GET", "/v1/models/", &Api::list_models},
      {"GET", "/v1/models/embedding", &Api::list_embeddings},
      {"GET", "/v1/tags/", &Api::list_tags},
      {"GET", "/v1/agents/count", &Api::count_agents},
      {"GET", "/v1/blocks/count", &Api::count_blocks},
      {"POST", "/v1/agents/", &Api::create_agent},
      {"GET", "/v1/agents/", &Api::list_agents_route},
      {"POST", "/v1/agents/import", &Api::import_agents},
      {"GET", "/v1/agents/{agent_id}/export", &Api::export_agent},
      {"POST", "/v1/varve/agents/{agent_id}/fork", &Api::fork_agent},
      {"GET", "/v1/agents/{agent_id}", &Api::get_agent},
      {"PATCH", "/v1/agents/{agent_id}", &Api::update_agent},
      {"DELETE", "/v1/agents/{agent_id}", &Api::delete_agent},
      {"GET", "/v1/agents/{agent_id}/core-memory/blocks", &Api::list_core_blocks},
      {"GET", "/v1/agents/{agent_id}/core-memory/blocks/{label}", &Api::get_core_block},
      {"PATCH", "/v1/agents/{agent_id}/core-memory/blocks/{label}", &Api::update_core_block},
      {"PATCH", "/v1/agents/{agent_id}/core-memory/blocks/attach/{block_id}", &Api::attach_block},
      {"PATCH", "/v1/agents/{agent_id}/core-memory/blocks/detach/{block_id}", &Api::detach_block},
      {"GET", "/v1/agents/{agent_id}/core-memory", &Api::get_core_memory},
      {"GET", "/v1/agents/{agent_id}/context", &Api::get_context},
      {"GET", "/v1/agents/{agent_id}/tools", &Api::list_agent_tools},
      {"PATCH", "/v1/agents/{agent_id}/tools/attach/{tool_id}", &Api::attach_tool},
      {"PATCH", "/v1/agents/{agent_id}/tools/detach/{tool_id}", &Api::detach_tool},
      {"PATCH", "/v1/agents/{agent_id}/reset-messages", &Api::reset_messages},
      {"POST", "/v1/agents/{agent_id}/summarize", &Api::summarize},
      {"POST", "/v1/agents/{agent_id}/messages", &Api::create_messages},
      {"GET", "/v1/agents/{agent_id}/messages", &Api::list_messages_route},
      {"POST", "/v1/agents/{agent_id}/messages/stream", &Api::stream_messages},
      {"POST", "/v1/agents/{agent_id}/messages/async", &Api::create_messages_async},
      {"POST", "/v1/agents/{agent_id}/messages/cancel", &Api::cancel_messages},
      {"POST", "/v1/agents/{agent_id}/messages/preview-raw-payload", &Api::preview_turn},
      {"PATCH", "/v1/agents/{agent_id}/messages/{message_id}", &Api::refuse_message_change},
      {"GET", "/v1/agents/{agent_id}/archival-memory", &Api::not_yet},
      {"POST", "/v1/agents/{agent_id}/archival-memory", &Api::not_yet},
      {"DELETE", "/v1/agents/{agent_id}/archival-memory/{passage_id}", &Api::not_yet},
      {"GET", "/v1/messages/", &Api::list_all_messages},
      {"POST", "/v1/messages/search", &Api::search_messages},
      {"GET", "/v1/messages/{message_id}", &Api::get_message},
      {"GET", "/v1/runs/", &Api::list_runs},
      {"GET", "/v1/runs/{run_id}", &Api::get_run},
      {"GET", "/v1/runs/{run_id}/messages", &Api::list_run_messages},
      {"GET", "/v1/runs/{run_id}/steps", &Api::list_run_steps},
      {"GET", "/v1/runs/{run_id}/usage", &Api::get_run_usage},
      {"POST", "/v1/runs/{run_id}/stream", &Api::stream_run},
      {"GET", "/v1/steps/", &Api::list_steps},
      {"GET", "/v1/steps/{step_id}", &Api::get_step},
      {"GET", "/v1/tools/", &Api::list_tools},
      {"GET", "/v1/tools/count", &Api::count_tools},
      {"POST", "/v1/tools/", &Api::put_tool},
      {"PUT", "/v1/tools/", &Api::put_tool},
      {"POST", "/v1/tools/search", &Api::search_tools},
      {"GET", "/v1/tools/{tool_id}", &Api::get_tool},
      {"PATCH", "/v1/tools/{tool_id}", &Api::update_tool},
      {"DELETE", "/v1/tools/{tool_id}", &Api::delete_tool},
      {"GET", "/v1/conversations/{conversation_id}", &Api::conversation_not_found},
      {"PATCH", "/v1/conversations/{conversation_id}", &Api::conversation_not_found},
      {"DELETE", "/v1/conversations/{conversation_id}", &Api::conversation_not_found},
      {"GET", "/v1/conversations/{conversation_id}/messages", &Api::list_conversation_messages},
      {"POST", "/v1/conversations/{conversation_id}/messages", &Api::send_to_conversation},
      {"POST", "/v1/blocks/", &Api::create_block},
      {"GET", "/v1/blocks/", &Api::list_blocks_route},
      {"GET", "/v1/blocks/{block_id}", &Api::get_block},
      {"GET", "/v1/blocks/{block_id}/agents", &Api::list_block_agents},
      {"PATCH", "/v1/blocks/{block_id}", &Api::update_block},
      {"DELETE", "/v1/blocks/{block_id}", &Api::delete_block},
  };
  return kRoutes;
}

boost::asio::awaitable<Response> Api::handle(Request request) {
  env_.count("http_requests");
  const MonoTime begun = env_.now();
  const Route* route = nullptr;
  Response response;
  if (auto target = parse_target(request.target)) {
    Target taken = std::move(*target);
    response = co_await dispatch(std::move(request), std::move(taken), &route);
  } else {
    response = detail_response(400, "the request target is not a well-formed path");
  }
  TimingName name{"http", "none", "none", class_of(response.status)};
  if (route != nullptr) name = {"http", route->method, route->pattern, class_of(response.status)};
  env_.observe(name, env_.now() - begun);
  co_return response;
}

Api::Answer Api::dispatch(Request request, Target target, const Route** route_of) {
  const Route*& chosen = *route_of;
  std::vector<std::string> ids;
  std::string allowed;
  for (const Route& route : routes()) {
    auto matched = match(route.pattern, target.path);
    if (!matched) continue;
    if (route.method == request.method) {
      chosen = &route;
      ids = std::move(*matched);
      break;
    }
    allowed += (allowed.empty() ? "" : ", ") + std::string(route.method);
  }
  const bool unknown_path = chosen == nullptr && allowed.empty();
  const std::string toggled = unknown_path ? toggled_slash(target.path) : "";
  const auto fits = [&toggled](const Route& route) { return match(route.pattern, toggled).has_value(); };
  if (unknown_path && std::any_of(routes().begin(), routes().end(), fits)) {
    Response redirect;
    redirect.status = 307;
    const std::size_t query = request.target.find('?');
    const std::string rest = query == std::string::npos ? "" : request.target.substr(query);
    redirect.headers.emplace("location",
                             "http://" + request.header("host").value_or("localhost") + toggled + rest);
    co_return redirect;
  }
  if (unknown_path) {
    Response unknown = detail_response(404, "Not Found");
    co_return unknown;
  }
  if (chosen == nullptr) {
    Response wrong = detail_response(405, "Method Not Allowed");
    wrong.headers.emplace("allow", allowed);
    co_return wrong;
  }
  if (auto malformed = check_ids(chosen->pattern, ids)) co_return std::move(*malformed);
  Call call{std::move(request), std::move(target), std::move(ids), true, {}, {}};
  Response response = co_await run_route(*chosen, std::move(call));
  co_return response;
}

Api::Answer Api::run_route(const Route& route, Call call) {
  const bool write = route.method != "GET";
  if (auto refused = prepare(call, write)) co_return std::move(*refused);
  if (write && !call.target.path.ends_with("/search") && query_value(call.target, "as_of")) {
    co_return unprocessable("query.as_of: only reads take it; the past cannot be written to");
  }
  if (const auto header = call.request.header("varve-wait-for"); header && !write) {
    auto positions = parse_positions(*header);
    if (!positions) {
      Response malformed = unprocessable("header.Varve-Wait-For: " + positions.error().message);
      co_return malformed;
    }
    const MonoTime until = std::min(call.deadline, env_.now() + options_.view_wait);
    if (!co_await ports_.progress.wait_for(std::move(*positions), until)) {
      const Error behind{Errc::unavailable,
                         "the views have not reached the position of Varve-Wait-For in time"};
      Response response = error_response(behind, false);
      response.headers.emplace("varve-view", "behind");
      co_return response;
    }
  }
  const RouteFunction function = route.function;
  const std::string agent = names_agent(route.pattern) ? call.ids.front() : "";
  Response response = co_await (this->*function)(std::move(call));
  if (response.status == 404 && !agent.empty()) co_return co_await answer_gone(agent, std::move(response));
  co_return response;
}

std::optional<Response> Api::prepare(Call& call, bool write) {
  const std::string_view path = call.target.path;
  const bool turn = write && (path.ends_with("/messages") || path.ends_with("/messages/stream") ||
                              path.ends_with("/messages/async") || path.ends_with("/summarize"));
  const Duration otherwise = turn ? options_.turn_time : options_.request_time;
  call.deadline = env_.now() + timeout_of(call.request).value_or(otherwise);
  if (!write) return std::nullopt;
  const std::string route = call.request.method + " " + call.target.path;
  std::string canonical;
  std::optional<CommandId> from_otids;
  if (auto body = Json::parse(call.request.body); body && body->is_object()) {
    canonical = body->canonical();
    if (turn) from_otids = id_from_otids(*body, call.target.path);
  }
  call.command.hash = command_hash(route, canonical);
  call.command.client = true;
  if (auto id = call.request.header("x-request-id"); id && is_request_id(*id)) {
    call.command.request_id = std::move(*id);
  }
  if (const auto key = call.request.header("idempotency-key")) {
    if (key->empty() || key->size() > 255) {
      return unprocessable("header.Idempotency-Key: expected 1 to 255 characters");
    }
    // With the route: a command id always leads to the same stream, and ids of what commands create derive
    // from it.
    call.command.id = command_id_from_text("key " + route + "\n" + *key);
    call.keyless = false;
  } else if (from_otids) {
    call.command.id = *from_otids;
    call.keyless = false;
  } else {
    call.command.id = command_id_from_text("random " + uuid4(env_.rng()));
  }
  return std::nullopt;
}

// Not a coroutine itself: it takes from the call what the sender needs.
Task<CommandAnswer> Api::send(const Call& call, StreamId stream, Command command) {
  CommandEnvelope envelope{call.command, std::move(stream), std::move(command)};
  const CallLimits limits{call.deadline};
  return write(call, std::move(envelope), limits);
}

Task<CommandAnswer> Api::write(const Call& call, CommandEnvelope envelope, CallLimits limits) {
  const bool ack_log = query_value(call.target, "ack") == "log";
  return ack_log ? write_if_views_follow(std::move(envelope), limits)
                 : ports_.sender.send(std::move(envelope), limits);
}

// Who waits for the views is slowed down by them; nothing else slows down who does not.
Task<CommandAnswer> Api::write_if_views_follow(CommandEnvelope envelope, CallLimits limits) {
  const Partition partition = partition_of(envelope.stream, options_.partitions);
  Status follow = co_await ports_.lag.check(partition, options_.ack_log_lag_records);
  if (!follow) co_return follow.error();
  co_return co_await ports_.sender.send(std::move(envelope), limits);
}

boost::asio::awaitable<Headers> Api::settle(const CommandAnswer& answer, const Call& call) {
  return settle_at(answer.stream, answer.positions, query_value(call.target, "ack") == "log", call.deadline);
}

boost::asio::awaitable<Headers> Api::settle_at(StreamId stream, std::vector<LogPosition> positions,
                                               bool ack_log, MonoTime deadline) {
  Headers headers;
  headers.emplace("varve-position", to_string(positions));
  for (const LogPosition& position : positions) {
    ports_.lag.saw_end(position.partition, next(position.offset));
  }
  if (ack_log) {
    headers.emplace("varve-view", "not-awaited");
    co_return headers;
  }
  const MonoTime until = std::min(deadline, env_.now() + options_.view_wait);
  const bool passed =
      mutant(Mutant::answers_before_views) || co_await ports_.progress.wait_for(std::move(positions), until);
  if (ports_.progress.is_parked(stream)) {
    headers.emplace("varve-view", "parked");
  } else if (!passed) {
    headers.emplace("varve-view", "behind");
  }
  co_return headers;
}

Task<std::optional<std::string>> Api::read_views(Render render) {
  auto rendered = std::make_shared<std::optional<std::string>>();
  std::function<Status(ViewReader&)> work = [render = std::move(render),
                                             rendered](ViewReader& reader) -> Status {
    auto text = render(reader);
    if (!text) return text.error();
    *rendered = std::move(*text);
    return ok();
  };
  if (Status read = co_await read_opened(ports_.keys, ports_.views, std::move(work)); !read)
    co_return read.error();
  co_return std::move(*rendered);
}

// Everything that is read for an answer, as of one cut.
static std::function<Result<std::optional<std::string>>(ViewReader&)> at_cut(
    Cut cut, std::function<Result<std::optional<std::string>>(ViewReader&)> render) {
  return [cut = std::move(cut), render = std::move(render)](ViewReader& reader) {
    CutReader past(reader, cut);
    return render(past);
  };
}

Task<ResolvedCut> Api::resolve(std::string as_of, MonoTime deadline) {
  const std::string field = "query.as_of: ";
  auto asked = parse_as_of(as_of);
  if (!asked) co_return Error{asked.error().code, field + asked.error().message};
  const AsOfSources sources{env_, ports_.log, ports_.views, ports_.progress};
  const MonoTime until = std::min(deadline, env_.now() + options_.view_wait);
  auto resolved = co_await resolve_as_of(sources, std::move(*asked), until);
  if (!resolved) co_return Error{resolved.error().code, field + resolved.error().message};
  co_return std::move(*resolved);
}

// In the place of "not found", if the agent was here: where it is.
Api::Answer Api::answer_gone(std::string agent, Response not_found) {
  Render render = [agent](ViewReader& reader) { return find_gone(reader, agent); };
  if (const auto past = not_found.header("varve-as-of")) {
    if (auto cut = parse_cut(*past)) render = at_cut(std::move(*cut), std::move(render));
  }
  auto gone = co_await read_views(std::move(render));
  if (gone && !*gone && not_found.header("varve-as-of")) {
    // Who has moved was here then. Who is erased is not even there.
    Render now = [agent](ViewReader& reader) { return find_gone(reader, agent); };
    gone = co_await read_views(std::move(now));
    if (gone && *gone && **gone != kGoneErased) gone = std::optional<std::string>{};
  }
  if (!gone && !mutant(Mutant::moved_is_unknown)) co_return error_response(gone.error(), false);
  if (!gone || !*gone) co_return not_found;
  Response response = gone_response(**gone);
  for (const auto& [name, value] : not_found.headers) {
    if (name.starts_with("varve-")) response.headers.emplace(name, value);
  }
  co_return response;
}

Api::Answer Api::answer_read(Call call, Render render, std::string not_found) {
  Headers past;
  if (auto asked = query_value(call.target, "as_of")) {
    auto resolved = co_await resolve(std::move(*asked), call.deadline);
    if (!resolved) co_return error_response(resolved.error(), call.keyless);
    past.emplace("varve-as-of", to_string(resolved->cut));
    if (resolved->behind) past.emplace("varve-view", "behind");
    render = at_cut(std::move(resolved->cut), std::move(render));
  }
  auto text = co_await read_views(std::move(render));
  Response response;
  if (!text) {
    response = error_response(text.error(), call.keyless);
  } else if (!*text) {
    response = detail_response(404, not_found);
  } else {
    response = json_response(std::move(**text));
  }
  response.headers.merge(past);
  co_return response;
}

// The rows that a commit's own events make, for an answer while the views are behind.
static MemoryViewStorage rows_of(const Commit& commit, LogPosition position) {
  std::set<StreamId> parked;
  FoldOutput folded;
  fold_record(Record{commit}, position, parked, folded);
  std::erase_if(folded.changes,
                [](const RowChange& change) { return std::holds_alternative<RowClose>(change); });
  Batch batch;
  batch.partition = position.partition;
  batch.checkpoint.version = 1;
  batch.checkpoint.next = next(position.offset);
  batch.changes = std::move(folded.changes);
  MemoryViewStorage storage;
  ignore_error(apply_batch(storage, batch), "what does not fit is not printed");
  return storage;
}

static Task<> read_storage(std::shared_ptr<const MemoryViewStorage> storage, ViewWork work) {
  MemoryViewReader reader(*storage);
  co_return work(reader);
}

Task<std::optional<std::string>> Api::render_commit(std::shared_ptr<const Commit> commit,
                                                    LogPosition position, Render render) {
  const auto storage = std::make_shared<const MemoryViewStorage>(rows_of(*commit, position));
  const auto rendered = std::make_shared<Result<std::optional<std::string>>>();
  ReadViews read = [storage](ViewWork work) { return read_storage(storage, std::move(work)); };
  ViewWork work = [render = std::move(render), rendered](ViewReader& reader) {
    *rendered = render(reader);
    return ok();
  };
  if (Status done = co_await read_opened(ports_.keys, std::move(read), std::move(work)); !done)
    co_return done.error();
  co_return std::move(*rendered);
}

// The command's own value: what later commands have made of it meanwhile is not in the answer.
Api::Answer Api::answer_write(Call call, CommandAnswer answer, Render render, OwnRows own) {
  Headers headers = co_await settle(answer, call);
  const bool behind = headers.contains("varve-view");
  const bool printable = answer.commit && own == OwnRows::are_all;
  const LogPosition position{partition_of(answer.stream, options_.partitions), answer.offset};
  Result<std::optional<std::string>> text{std::optional<std::string>{}};
  if (!behind || !printable) {
    text = co_await read_views(answer.commit ? at_cut(Cut::of_partition(position), render) : render);
  }
  if ((!text || !*text) && printable) {
    text = co_await render_commit(answer.commit, position, render);
  }
  Response response;
  if (text && *text) {
    response = json_response(std::move(**text));
  } else if ((!text || behind) && !printable) {
    // A retry whose first answer was lost: the views do not show yet what it made, and null is no answer.
    response = error_response(
        {Errc::outcome_unknown, "the command has taken effect, and what it made cannot be shown yet"},
        call.keyless);
  } else {
    // It has taken effect, and what it made has changed or gone since.
    response = json_response("null");
  }
  response.headers.merge(headers);
  co_return response;
}

Api::Answer Api::ready(Call /*call*/) {
  Response response;
  if (options_.ready) {
    response = co_await options_.ready();
  } else {
    response = json_response("{}");
  }
  co_return response;
}

Api::Answer Api::health(Call /*call*/) {
  if (const auto failed = options_.failure ? options_.failure() : std::nullopt) {
    Response broken = error_response({Errc::unavailable, failed->message}, false);
    co_return broken;
  }
  JsonWriter out;
  out.begin_object().field("version", "0.16.8").field("status", "ok").field("server", "varve").end_object();
  Response response = json_response(out.take());
  co_return response;
}

}  // namespace varve
