// POST /v1/varve/agents/{agent_id}/fork: a new agent of what one was at a moment of the log.
//
//   {"as_of":"2026-01-31T12:00:00Z" | "1:88" | "0:17,1:88","name":".."}
//   -> {"id":"agent-..","name":"..","forked_from":{"agent_id":"agent-..","as_of":"0:17,1:88"}}
//
// It is an import (agent_file_routes.cpp): the same key goes on with one that was cut, nobody sees it before
// it is whole, and a day later nobody will. Its first event names the agent and the cut that it was made
// from. A key belongs to one cut: of a time that means another moment when it is asked again, that is a 409.
#include "api/agent_fork.h"
#include "api/api.h"
#include "api/http_status.h"
#include "projections/as_of.h"
#include "projections/cut_reader.h"
#include "runtime/mutant.h"

namespace varve {
namespace {

constexpr Duration kForkTime{std::chrono::minutes{10}};
constexpr Duration kForkCutWait{std::chrono::seconds{5}};
constexpr Duration kForkViewWait{std::chrono::minutes{2}};

struct ForkBody {
  AsOf as_of;
  std::optional<std::string> name;
};

Parsed<ForkBody> parse_fork(const Request& request, const KnownModels& models) {
  const auto json = parse_object(request);
  if (!json.value) return {std::nullopt, json.error};
  const Json* as_of = json.value->find("as_of");
  if (as_of == nullptr || !as_of->is_string()) {
    return {std::nullopt, {422, "body.as_of: expected a time, a position or a cut, as a string"}};
  }
  auto parsed = parse_as_of(as_of->as_string());
  if (!parsed) return {std::nullopt, {422, "body.as_of: " + parsed.error().message}};
  ForkBody body{std::move(*parsed), std::nullopt};
  const Json* name = json.value->find("name");
  if (name == nullptr || name->is_null()) return {std::move(body), {}};
  if (!name->is_string() || name->as_string().empty()) {
    return {std::nullopt, {422, "body.name: expected a string that is not empty"}};
  }
  // What an agent may be called.
  Json change = Json::object();
  change.set("name", *name);
  const auto update = parse_update_agent(change, models, {});
  if (!update.value) return {std::nullopt, update.error};
  body.name = name->as_string();
  return {std::move(body), {}};
}

Response forked(const ImportedAgent& agent, const std::string& id) {
  JsonWriter out;
  out.begin_object().field("id", id).field("name", agent.settings.name);
  out.key("forked_from").begin_object().field("agent_id", agent.origin.value());
  out.field("as_of", agent.origin_cut).end_object().end_object();
  return json_response(out.take());
}

}  // namespace

// The agent as it was then, under the name that was asked for.
Task<ImportedAgent> Api::read_fork(StreamId origin, Cut cut) {
  bool erasable = false;
  if (ports_.keys != nullptr) {
    // Only an erasable agent has one, and without it nothing of the agent is read below.
    std::vector<StreamId> asked{origin};
    auto key = co_await ports_.keys->read(std::move(asked));
    if (!key) co_return key.error();
    erasable = !key->empty();
  }
  const auto found = std::make_shared<std::optional<ImportedAgent>>();
  std::function<Status(ViewReader&)> work = [origin, cut, found](ViewReader& reader) -> Status {
    CutReader then(reader, cut);
    ViewReader& seen = mutant(Mutant::fork_of_now) ? reader : then;
    auto agent = agent_to_fork(seen, origin.value());
    if (!agent) return agent.error();
    *found = std::move(*agent);
    return ok();
  };
  if (Status read = co_await read_opened(ports_.keys, ports_.views, std::move(work)); !read)
    co_return read.error();
  if (!*found) {
    co_return Error{Errc::not_found,
                    "there was no agent with ID " + origin.value() + " as of " + to_string(cut)};
  }
  (*found)->origin = origin;
  (*found)->origin_cut = to_string(cut);
  (*found)->erasable = erasable;
  co_return std::move(**found);
}

Api::Answer Api::fork_agent(Call call) {
  if (!call.request.header("x-stainless-timeout")) call.deadline = env_.now() + kForkTime;
  if (mutant(Mutant::fork_with_new_key)) call.command.id = command_id_from_text(uuid4(env_.rng()));
  auto body = parse_fork(call.request, options_.models);
  if (!body.value) co_return refusal(body.error);
  const bool ack_log = query_value(call.target, "ack") == "log";
  const StreamId fork{"agent-" + derived_uuid(call.command.id, "agent", 0)};
  if (ack_log) {
    // Before anything is written, so that no fork stops half way for it.
    const Partition partition = partition_of(fork, options_.partitions);
    Status follow = co_await ports_.lag.check(partition, options_.ack_log_lag_records);
    if (!follow) co_return error_response(follow.error(), call.keyless);
  }
  const AsOfSources sources{env_, ports_.log, ports_.views, ports_.progress};
  const MonoTime patience = std::min(call.deadline, env_.now() + kForkCutWait);
  auto resolved = co_await resolve_as_of(sources, body.value->as_of, patience);
  if (!resolved) co_return error_response(resolved.error(), call.keyless);
  if (resolved->behind) {
    const Error behind{Errc::unavailable, "the views have not got to that moment in time"};
    co_return error_response(behind, call.keyless);
  }
  const Cut cut = resolved->cut;
  const StreamId origin{call.ids[0]};
  auto agent = co_await read_fork(origin, cut);
  if (!agent) co_return error_response(agent.error(), call.keyless);
  agent->settings.name = body.value->name.value_or(agent->settings.name + "_fork");
  call.command.hash = fork_hash(origin.value(), cut, agent->settings.name);
  Response response = forked(*agent, fork.value());
  auto positions = co_await import_agent(call.command, 0, std::move(*agent), call.deadline);
  if (!positions) co_return error_response(positions.error(), call.keyless);
  // Much was written at once: the views may need longer than after one command. settle_at() says the outcome.
  const MonoTime view_patience = std::min(call.deadline, env_.now() + kForkViewWait);
  if (!ack_log) co_await ports_.progress.wait_for(*positions, view_patience);
  Headers headers = co_await settle_at(fork, std::move(*positions), ack_log, call.deadline);
  headers.emplace("varve-as-of", to_string(cut));
  response.headers.merge(headers);
  co_return response;
}

}  // namespace varve
