#include "sim/story.h"

namespace varve::sim {
namespace {

constexpr int kConflictsMax = 3;  // After so many 409 a client believes it.

Outcome outcome_of(const Op& op, const Exchange& came, int attempts) {
  Outcome outcome;
  if (came.end != Exchange::End::whole) return outcome;
  if (came.status == 200) {
    outcome.answer = Answer::ok;
    outcome.settled = !came.header("varve-view").has_value();
    const auto body = Json::parse(came.body);
    if (body && std::holds_alternative<op::ReadBlock>(op)) {
      outcome.seen.label = text_of(*body, "label");
      outcome.seen.value = text_of(*body, "value");
    }
    return outcome;
  }
  // An earlier attempt may have taken effect, before what the last one was refused for.
  if (attempts > 1) return outcome;
  if (came.status == 404) outcome.answer = Answer::not_found;
  if (came.status == 409) outcome.answer = Answer::conflict;
  if (came.status == 400 || came.status == 422) outcome.answer = Answer::refused;
  return outcome;
}

}  // namespace

void Story::start(SimEnv& client) {
  client.spawn("story", run(this));
}

Task<> Story::run(Story* self) {
  Status status = co_await self->play();
  if (!status) self->failure_ = "client: " + status.error().message;
  self->done_ = true;
  co_return ok();
}

std::string text_of(const Json& object, std::string_view key) {
  const Json* found = object.find(key);
  return found != nullptr && found->is_string() ? found->as_string() : "";
}

std::string body_of(std::string_view key, std::string_view text) {
  JsonWriter out;
  out.begin_object().field(key, text).end_object();
  return out.take();
}

StoryClient::Options StoryClient::persistent(std::string name, ClientId id) {
  Options options;
  options.name = std::move(name);
  options.id = id;
  options.policy.attempts = 60;
  options.policy.patience = std::chrono::seconds{10};
  return options;
}

StoryClient::StoryClient(Stage& stage, Options options, Ears ears)
    : stage_(stage), options_(std::move(options)), ears_(std::move(ears)) {}

Request StoryClient::make(std::string method, std::string target, std::string body,
                          const std::string& key) const {
  Request request;
  request.method = std::move(method);
  request.target = std::move(target);
  request.body = std::move(body);
  const bool form = request.body.starts_with("--sim");
  request.headers.emplace("content-type", form ? "multipart/form-data; boundary=sim" : "application/json");
  if (!key.empty()) request.headers.emplace("idempotency-key", full(key));
  if (request.method == "GET" && !written_.empty()) {
    std::vector<LogPosition> positions;
    for (const auto& [partition, offset] : written_) positions.push_back({partition, offset});
    request.headers.emplace("varve-wait-for", to_string(positions));
  }
  return request;
}

void StoryClient::wait_for_writes_of(const StoryClient& other) {
  for (const auto& [partition, offset] : other.written_) {
    Offset& newest = written_[partition];
    newest = std::max(newest, offset);
  }
}

void StoryClient::learn(const Exchange& came) {
  const auto header = came.header("varve-position");
  if (!header) return;
  const auto positions = parse_positions(*header);
  if (!positions) return;
  for (const LogPosition& position : *positions) {
    Offset& newest = written_[position.partition];
    newest = std::max(newest, position.offset);
  }
  if (ears_.acknowledged) ears_.acknowledged(*positions);
}

Task<StoryClient::Told> StoryClient::persist(std::string method, std::string target, std::string body,
                                             std::string key) {
  std::size_t node = options_.first_node;
  int conflicts = 0;
  std::string last;
  for (int attempt = 1; attempt <= options_.policy.attempts; ++attempt) {
    Request request = make(method, target, body, key);
    auto came = co_await stage_.exchange(node, std::move(request), options_.policy.patience);
    CHECK(came.has_value());
    // A stream that breaks off, or is handed over in the middle, is read again from its beginning.
    const bool broken = came->end != Exchange::End::whole ||
                        (came->status == 200 && came->body.find("event: error") != std::string::npos);
    if (came->status == 409) ++conflicts;
    if (!broken && (!should_retry(*came) || conflicts >= kConflictsMax)) {
      if (came->status == 200) learn(*came);
      Told told{std::move(*came), attempt};
      co_return told;
    }
    last = came->status == 0 ? to_string(came->end) : came->body;
    node = (node + 1) % stage_.nodes();
    const Duration wait = retry_wait(*came, attempt, options_.policy, 0);
    co_await sleep_for(env(), wait);
  }
  std::string what = method;
  what.append(" ").append(target).append(" was never answered; last: ").append(last);
  co_return unexpected(std::move(what));
}

Task<Exchange> StoryClient::insist(std::string method, std::string target, std::string body,
                                   std::string key) {
  auto told = co_await persist(std::move(method), std::move(target), std::move(body), std::move(key));
  if (!told) co_return told.error();
  co_return std::move(told->came);
}

Task<Exchange> StoryClient::once(std::string method, std::string target, std::string body, std::string key) {
  Request request = make(std::move(method), std::move(target), std::move(body), key);
  return stage_.exchange(options_.first_node, std::move(request), options_.policy.patience);
}

Task<Json> StoryClient::ask(std::string method, std::string target, std::string body, std::string key) {
  auto came = co_await insist(method, target, std::move(body), std::move(key));
  if (!came) co_return came.error();
  if (came->status == 404) co_return Error{Errc::not_found, came->body};
  auto json = Json::parse(came->body);
  if (json && came->status == 200) co_return std::move(*json);
  std::string what = method;
  what.append(" ").append(target).append(" -> ").append(std::to_string(came->status));
  co_return unexpected(what.append(" ").append(came->body));
}

Task<Json> StoryClient::get(std::string target) {
  return ask("GET", std::move(target), "", "");
}

Task<Json> StoryClient::ask_for(Op op, std::string method, std::string target, std::string body,
                                std::string key) {
  CHECK(ears_.history != nullptr);
  const OpId id = ears_.history->begin(options_.id, op);
  auto told = co_await persist(std::move(method), std::move(target), std::move(body), std::move(key));
  if (!told) co_return told.error();
  const Exchange& came = told->came;
  ears_.history->end(id, outcome_of(op, came, told->attempts));
  if (came.status == 404) co_return Error{Errc::not_found, came.body};
  auto json = Json::parse(came.body);
  if (json && came.status == 200) co_return std::move(*json);
  co_return unexpected(describe(op) + " -> " + std::to_string(came.status) + " " + came.body);
}

Task<> StoryClient::send(Stage* stage, std::size_t node, Request request, Duration patience) {
  const auto came = co_await stage->exchange(node, std::move(request), patience);
  co_return came ? ok() : Status{came.error()};
}

void StoryClient::fire(std::string method, std::string target, std::string body, std::string key) {
  Request request = make(std::move(method), std::move(target), std::move(body), key);
  env().spawn("fire", send(&stage_, options_.first_node, std::move(request), options_.policy.patience));
}

Task<std::string> StoryClient::messages(std::string agent_path) {
  auto listed = co_await get(agent_path + "/messages?order=asc&limit=1000");
  if (!listed) co_return listed.error();
  std::string got;
  for (const Json& message : listed->items()) {
    const std::string type = text_of(message, "message_type");
    if (type == "system_message") continue;
    got += type + ":" + text_of(message, type == "tool_return_message" ? "status" : "content") + ";";
  }
  co_return got;
}

std::string StoryClient::agent_of(const std::string& key) const {
  return "agent-" + derived_uuid(command_id_from_text("key POST /v1/agents/\n" + full(key)), "agent", 0);
}

std::string StoryClient::block_of(const std::string& key) const {
  return "block-" + derived_uuid(command_id_from_text("key POST /v1/blocks/\n" + full(key)), "block", 0);
}

}  // namespace varve::sim
