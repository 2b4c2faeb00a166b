#include "sim/workload.h"

#include <algorithm>

#include "runtime/json.h"

namespace varve::sim {
namespace {

enum class Kind : unsigned char {
  create_agent,
  create_block,
  update_agent,
  delete_agent,
  attach,
  detach,
  send,
  update_block,
  delete_block,
  read_agent,
  read_messages,
  read_block,
  list_agents,
};

std::string text_of(const Json& object, std::string_view key) {
  const Json* found = object.find(key);
  return found != nullptr && found->is_string() ? found->as_string() : "";
}

// One listed message as it is compared: a tool's return names when it ran, so only its outcome counts.
std::string reply_text(const Json& message) {
  const std::string type = text_of(message, "message_type");
  if (type == "tool_call_message") {
    const Json* call = message.find("tool_call");
    return type + ":" + (call != nullptr ? text_of(*call, "tool_call_id") : "");
  }
  if (type == "tool_return_message") return type + ":" + text_of(message, "status");
  const Json* content = message.find(type == "reasoning_message" ? "reasoning" : "content");
  return type + ":" + (content != nullptr ? content->dump() : "");
}

std::vector<TurnSeen> turns_of(const Json& messages) {
  std::vector<TurnSeen> turns;
  for (const Json& message : messages.items()) {
    const std::string type = text_of(message, "message_type");
    if (type == "system_message") continue;
    if (type == "user_message") {
      turns.push_back({text_of(message, "content"), {}});
    } else if (!turns.empty()) {
      turns.back().replies.push_back(reply_text(message));
    }
  }
  return turns;
}

std::string quoted(const std::string& text) {
  return "\"" + text + "\"";
}

CommandId command_of(const std::string& route, const std::string& key) {
  return command_id_from_text("key " + route + "\n" + key);
}

}  // namespace

struct Workload::Client {
  Client(ClusterWorld& world, std::size_t number, std::uint64_t seed)
      : id(static_cast<ClientId>(number)),
        env(world.scheduler(), "client-" + std::to_string(number + 1), seed),
        http(env, world.network(), "client-" + std::to_string(number + 1)) {
    http.on_attempt([this](const Attempt& attempt) { attempts = attempt.number; });
  }
  ~Client() { env.kill(); }
  ClientId id;
  SimEnv env;
  SimClient http;
  std::size_t done = 0;
  int attempts = 0;  // Of the operation under way.
};

Workload::Workload(ClusterWorld& world, History& history, Options options, Acknowledged acknowledged)
    : world_(world), history_(history), options_(std::move(options)), acknowledged_(std::move(acknowledged)) {
  CHECK(options_.kinds.size() == kKinds);
  for (std::size_t node = 0; node < world.nodes(); ++node) urls_.push_back(world.url(node));
  for (std::size_t i = 0; i < options_.clients; ++i) {
    clients_.push_back(std::make_unique<Client>(world, i, world.options().seed ^ (0xc11e47ULL + i)));
  }
}

Workload::~Workload() = default;

void Workload::start() {
  for (const auto& client : clients_) {
    ++running_;
    client->env.spawn("work", work(this, client.get()));
  }
}

Task<> Workload::work(Workload* workload, Client* client) {
  Workload& self = *workload;
  Choices& choices = self.world_.scheduler().choices();
  while (client->done < self.options_.operations) {
    const auto longest = static_cast<std::uint64_t>(self.options_.pause.count() / 1000);
    co_await sleep_for(client->env, std::chrono::microseconds{choices.spread(Domain::workload, longest)});
    Planned planned = self.plan(*client);
    const OpId id = self.history_.begin(client->id, planned.op);
    RetryPolicy policy;
    policy.attempts = 12;
    policy.patience = std::chrono::seconds{15};
    std::vector<std::string> urls = self.urls_;
    const std::uint64_t first = choices.choose(Domain::workload, urls.size());
    std::rotate(urls.begin(), urls.begin() + static_cast<std::ptrdiff_t>(first), urls.end());
    auto came = co_await client->http.insist(std::move(urls), std::move(planned.request), policy);
    CHECK(came.has_value());
    Outcome outcome = self.outcome_of(planned.op, *came);
    // An earlier attempt may have taken effect, before what the last one was refused for.
    if (client->attempts > 1 && outcome.answer != Answer::ok) outcome.answer = Answer::unknown;
    if (outcome.answer == Answer::ok) {
      ++self.answered_;
      if (const auto header = came->header("varve-position")) {
        if (auto positions = parse_positions(*header)) self.acknowledged_(*positions);
      }
    }
    self.history_.end(id, std::move(outcome));
    ++client->done;
  }
  --self.running_;
  co_return ok();
}

const std::string& Workload::one_of(const std::vector<std::string>& all) {
  return all[world_.scheduler().choices().choose(Domain::workload, all.size())];
}

Request Workload::write(std::string method, std::string target, std::string body, std::string key) const {
  Request request;
  request.method = std::move(method);
  request.target = std::move(target);
  request.body = std::move(body);
  request.headers.emplace("content-type", "application/json");
  if (!key.empty()) request.headers.emplace("idempotency-key", std::move(key));
  return request;
}

Workload::Planned Workload::create_agent(Client& client) {
  const std::string key = fresh("key") + "-of-" + std::to_string(client.id);
  const CommandId command = command_of("POST /v1/agents/", key);
  const StreamId agent{"agent-" + derived_uuid(command, "agent", 0)};
  const std::uint32_t partitions = world_.options().partitions;
  const StreamId block = derived_stream_in(command, "block", 0, partition_of(agent, partitions), partitions);
  const std::string name = fresh("name");
  const std::string tag = fresh("tag");
  const std::string label = fresh("label");
  const std::string value = fresh("value");
  agents_.push_back(agent.value());
  std::string body = R"({"name":")" + name + R"(","tags":[")" + tag + R"("],"include_base_tools":)" +
                     (options_.tools ? "true" : "false") + R"(,"memory_blocks":[{"label":")" + label +
                     R"(","value":")" + value + R"("}]})";
  op::CreateAgent op{agent.value(), name, {tag}, {{block.value(), label, value}}};
  return {std::move(op), write("POST", "/v1/agents/", std::move(body), key)};
}

Workload::Planned Workload::create_block(Client& client) {
  const std::string key = fresh("key") + "-of-" + std::to_string(client.id);
  const std::string block = "block-" + derived_uuid(command_of("POST /v1/blocks/", key), "block", 0);
  const std::string label = fresh("label");
  const std::string value = fresh("value");
  blocks_.push_back(block);
  std::string body = R"({"label":)" + quoted(label) + R"(,"value":)" + quoted(value) + "}";
  return {op::CreateBlock{block, label, value}, write("POST", "/v1/blocks/", std::move(body), key)};
}

Workload::Planned Workload::plan(Client& client) {
  Choices& choices = world_.scheduler().choices();
  Kind kind = Kind::create_agent;
  if (!agents_.empty()) {
    kind = static_cast<Kind>(choices.choose(Domain::workload, kKinds));
    if (!options_.kinds[static_cast<std::size_t>(kind)]) kind = Kind::send;
  }
  const bool of_block = kind == Kind::attach || kind == Kind::detach || kind == Kind::update_block ||
                        kind == Kind::delete_block || kind == Kind::read_block;
  if (of_block && blocks_.empty()) kind = Kind::create_block;
  if (kind == Kind::create_agent) return create_agent(client);
  if (kind == Kind::create_block) return create_block(client);

  const std::string key = fresh("key") + "-of-" + std::to_string(client.id);
  const std::string& agent = one_of(agents_);
  const std::string block = blocks_.empty() ? std::string{} : one_of(blocks_);
  const std::string agent_path = "/v1/agents/" + agent;
  const std::string block_path = "/v1/blocks/" + block;
  switch (kind) {
    case Kind::update_agent: {
      const std::string name = fresh("name");
      return {op::UpdateAgent{agent, name, std::nullopt},
              write("PATCH", agent_path, R"({"name":)" + quoted(name) + "}", key)};
    }
    case Kind::delete_agent:
      return {op::DeleteAgent{agent}, write("DELETE", agent_path, "", key)};
    case Kind::attach:
      return {op::AttachBlock{agent, block},
              write("PATCH", agent_path + "/core-memory/blocks/attach/" + block, "", key)};
    case Kind::detach:
      return {op::DetachBlock{agent, block},
              write("PATCH", agent_path + "/core-memory/blocks/detach/" + block, "", key)};
    case Kind::update_block: {
      const std::string value = fresh("value");
      return {op::UpdateBlock{block, std::nullopt, value},
              write("PATCH", block_path, R"({"value":)" + quoted(value) + "}", key)};
    }
    case Kind::delete_block:
      return {op::DeleteBlock{block}, write("DELETE", block_path, "", key)};
    case Kind::read_agent:
      return {op::ReadAgent{agent}, write("GET", agent_path, "", "")};
    case Kind::read_messages:
      return {op::ReadMessages{agent}, write("GET", agent_path + "/messages?limit=1000&order=asc", "", "")};
    case Kind::read_block:
      return {op::ReadBlock{block}, write("GET", block_path, "", "")};
    case Kind::list_agents:
      return {op::ListAgents{}, write("GET", "/v1/agents/?limit=10000", "", "")};
    default:
      break;
  }
  const std::string text = fresh("message");
  return {op::SendMessage{agent, text, true},
          write("POST", agent_path + "/messages",
                R"({"messages":[{"role":"user","content":)" + quoted(text) + "}]}", key)};
}

Outcome Workload::outcome_of(const Op& op, const Exchange& came) const {
  Outcome outcome;
  if (came.end != Exchange::End::whole) return outcome;
  if (came.status >= 200 && came.status < 300) return read_seen(op, came);
  if (came.status == 404) outcome.answer = Answer::not_found;
  if (came.status == 409) outcome.answer = Answer::conflict;
  if (came.status == 400 || came.status == 422) outcome.answer = Answer::refused;
  return outcome;
}

// Of a success.
Outcome Workload::read_seen(const Op& op, const Exchange& came) const {
  Outcome outcome;
  outcome.answer = Answer::ok;
  outcome.settled = !came.header("varve-view").has_value();
  const auto body = Json::parse(came.body);
  if (!body) return outcome;
  if (const auto* sent = std::get_if<op::SendMessage>(&op)) {
    const Json* messages = body->find("messages");
    TurnSeen turn{sent->text, {}};
    if (messages != nullptr) {
      for (const Json& message : messages->items()) turn.replies.push_back(reply_text(message));
    }
    outcome.seen.turns = {std::move(turn)};
  } else if (std::holds_alternative<op::ReadMessages>(op)) {
    outcome.seen.turns = turns_of(*body);
  } else if (std::holds_alternative<op::ReadBlock>(op)) {
    outcome.seen.label = text_of(*body, "label");
    if (!options_.tools) outcome.seen.value = text_of(*body, "value");
  } else if (std::holds_alternative<op::ReadAgent>(op)) {
    outcome.seen.name = text_of(*body, "name");
  } else if (std::holds_alternative<op::ListAgents>(op)) {
    Texts ids;
    for (const Json& agent : body->items()) ids.push_back(text_of(agent, "id"));
    std::sort(ids.begin(), ids.end());
    outcome.seen.ids = std::move(ids);
  }
  return outcome;
}

}  // namespace varve::sim
