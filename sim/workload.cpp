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
  stream_steps,
  stream_tokens,
  send_async,
  cancel,
  import,
  export_agent,
  reset,
  edit_core,
};

constexpr int kConnectionsMax = 6;  // Of one streamed turn.
constexpr std::uint64_t kStallUs = 5'000'000;
constexpr std::chrono::seconds kPatience{15};
constexpr const char* kSharedLabel = "shared";

std::string quoted(const std::string& text) {
  return "\"" + text + "\"";
}

CommandId command_of(const std::string& route, const std::string& key) {
  return command_id_from_text("key " + route + "\n" + key);
}

}  // namespace

struct Workload::Client {
  Client(Scheduler& scheduler, Network& network, std::size_t number, std::uint64_t seed)
      : id(static_cast<ClientId>(number)),
        env(scheduler, "client-" + std::to_string(number + 1), seed),
        http(env, network, "client-" + std::to_string(number + 1)) {
    http.on_attempt([this](const Attempt& attempt) { attempts = attempt.number; });
  }
  ~Client() { env.kill(); }
  Track track() const { return {Domain::workload, id + 1}; }
  ClientId id;
  SimEnv env;
  SimClient http;
  std::size_t done = 0;
  int attempts = 0;  // Of the operation under way.
};

Workload::Workload(Site site, History& history, Options options, Acknowledged acknowledged)
    : site_(std::move(site)),
      history_(history),
      options_(std::move(options)),
      acknowledged_(std::move(acknowledged)) {
  CHECK(options_.kinds.size() == kKinds);
  for (std::size_t i = 0; i < options_.clients; ++i) {
    clients_.push_back(
        std::make_unique<Client>(site_.scheduler, site_.network, i, site_.seed ^ (0xc11e47ULL + i)));
  }
}

Workload::~Workload() = default;

void Workload::start() {
  for (const auto& client : clients_) {
    ++running_;
    client->env.spawn("work", work(this, client.get()));
  }
}

// ---- asking

Task<> Workload::work(Workload* workload, Client* client) {
  Workload& self = *workload;
  while (client->done < self.options_.operations) {
    const auto longest = static_cast<std::uint64_t>(self.options_.pause.count() / 1000);
    const std::uint64_t pause_us = self.site_.scheduler.choices().spread(client->track(), longest);
    co_await sleep_for(client->env, std::chrono::microseconds{pause_us});
    Planned planned = self.plan(*client);
    const OpId id = self.history_.begin(client->id, planned.op);
    const auto* import = std::get_if<op::CreateAgent>(&planned.op);
    if (import != nullptr && !import->history.empty()) {
      self.evidence_.imports.push_back({id, import->name, import->history.size(), {}, import->agent});
    }
    if (const auto* erasure = std::get_if<op::EraseAgent>(&planned.op))
      self.may_end_blocks(*client, *erasure);
    std::string talks_to;
    if (const auto* sent = std::get_if<op::SendMessage>(&planned.op)) talks_to = sent->agent;
    if (!talks_to.empty()) self.talking_.push_back(talks_to);
    const bool plain = planned.way == Planned::Way::plain;
    auto asking =
        plain ? ask(workload, client, std::move(planned), id) : stream(workload, client, std::move(planned));
    auto outcome = co_await std::move(asking);
    CHECK(outcome.has_value());
    if (!talks_to.empty()) {
      self.talking_.erase(std::find(self.talking_.begin(), self.talking_.end(), talks_to));
    }
    if (outcome->answer == Answer::ok) ++self.answered_;
    self.history_.end(id, std::move(*outcome));
    ++client->done;
  }
  --self.running_;
  co_return ok();
}

// Blocks that were born with an agent may end with it, at any later time.
void Workload::may_end_blocks(const Client& client, const op::EraseAgent& op) {
  for (const Block& block : blocks_) {
    if (block.agent == op.agent) history_.add_consequence(client.id, op::DeleteBlock{block.id});
  }
}

void Workload::think_as(const Client& client) {
  track_ = client.track();
}

RetryPolicy Workload::policy_of(const Planned& planned) const {
  RetryPolicy policy;
  policy.attempts = planned.attempts;
  policy.patience = kPatience;
  policy.keyed = false;
  policy.careful = planned.keyless;
  return policy;
}

Task<Outcome> Workload::ask(Workload* workload, Client* client, Planned planned, OpId id) {
  Workload& self = *workload;
  const RetryPolicy policy = self.policy_of(planned);
  auto came = co_await client->http.insist(self.rotated_urls(*client), std::move(planned.request), policy);
  if (!came) co_return came.error();
  Outcome outcome = outcome_of(planned.op, *came);
  if (planned.keyless) {
    // Whoever says that it may be tried again says that nothing was done.
    if (may_repeat(*came)) outcome.answer = Answer::refused;
    self.site_.counters.add("sometimes.keyless.asked");
    if (client->attempts > 1) self.site_.counters.add("sometimes.keyless.sent_again");
  } else if (client->attempts > 1 && outcome.answer != Answer::ok) {
    // An earlier attempt may have taken effect, before what the last one was refused for.
    outcome.answer = Answer::unknown;
  }
  if (planned.by_label && outcome.answer == Answer::not_found) outcome.answer = Answer::refused;
  if (outcome.answer != Answer::ok) co_return outcome;
  if (!self.options_.compare_values) {
    outcome.seen.value.reset();
    outcome.seen.blocks.reset();
  }
  if (const auto header = came->header("varve-position")) {
    if (auto positions = parse_positions(*header)) self.acknowledged_(*positions);
  }
  if (std::holds_alternative<op::SendMessage>(planned.op)) {
    TurnTold told = turn_told(*came);
    if (!told.stop_reason.empty()) self.evidence_.ends.push_back(std::move(told));
  }
  if (std::holds_alternative<op::CancelTurn>(planned.op)) {
    for (std::string& run : runs_cancelled(*came)) self.evidence_.cancelled.push_back(std::move(run));
  }
  if (std::holds_alternative<op::CreateAgent>(planned.op)) self.take_import(id, *came);
  if (const auto* erased = std::get_if<op::EraseAgent>(&planned.op)) {
    self.site_.counters.add("sometimes.erase.told");
    if (self.told_erased_) self.told_erased_(erased->agent);
  }
  co_return outcome;
}

// A turn over as many connections as it takes: the client may stall, leave, come back to the run, or send the
// same request again.
Task<Outcome> Workload::stream(Workload* workload, Client* client, Planned planned) {
  Workload& self = *workload;
  const bool tokens = planned.way == Planned::Way::tokens;
  RetryPolicy policy = self.policy_of(planned);
  policy.attempts = 6;
  Outcome outcome;
  std::string run;         // To which the next connection goes; empty: the request is sent again.
  std::int64_t after = 0;  // Messages that are known whole.
  for (int connection = 0; connection < kConnectionsMax; ++connection) {
    if (run.empty()) after = 0;
    Request request = planned.request;
    if (!run.empty()) {
      request = self.write("POST", "/v1/runs/" + run + "/stream",
                           R"({"starting_after":)" + std::to_string(after) + "}", "");
      self.site_.counters.add("sometimes.stream.re_attached");
      policy.careful = false;  // It changes nothing.
    }
    const Reading reading = self.draw_reading(*client);
    auto came = co_await client->http.insist(self.rotated_urls(*client), std::move(request), policy, reading);
    if (!came) co_return came.error();
    if (came->status != 200) {
      if (planned.keyless && !run.empty()) co_return outcome;
      if (planned.keyless) {
        outcome = outcome_of(planned.op, *came);
        if (may_repeat(*came)) outcome.answer = Answer::refused;
        co_return outcome;
      }
      const bool certain = connection == 0 && client->attempts == 1;
      if (certain) co_return outcome_of(planned.op, *came);
      run.clear();
      continue;
    }
    Evidence::Streamed seen{after, tokens || !run.empty(), read_stream(came->body)};
    self.evidence_.streams.push_back(seen);
    if (!seen.read.stop_reason.empty()) {
      self.evidence_.ends.push_back({seen.read.run, seen.read.stop_reason});
      if (connection > 0) self.site_.counters.add("sometimes.stream.ended_after_coming_back");
      if (!seen.read.error.empty()) co_return outcome;  // It failed: how far it came is not modelled.
      outcome.answer = Answer::ok;
      outcome.settled = self.options_.streams_settle;
      if (!tokens && connection == 0) {
        const std::string& text = std::get<op::SendMessage>(planned.op).text;
        outcome.seen.turns = {TurnSeen{text, replies_of(seen.read.messages)}};
      }
      co_return outcome;
    }
    if (came->end == Exchange::End::left) self.site_.counters.add("sometimes.stream.client_left");
    if (!seen.read.error.empty()) self.site_.counters.add("sometimes.stream.was_interrupted");
    self.think_as(*client);
    if (came->end == Exchange::End::left && self.chance(1, 4)) co_return outcome;
    after = std::max(after, seen.read.newest);
    run = self.choose(3) == 2 && !planned.keyless ? std::string{} : seen.read.run;
    // What was asked without a key is not asked again.
    if (planned.keyless && run.empty()) co_return outcome;
  }
  co_return outcome;
}

Reading Workload::draw_reading(const Client& client) {
  think_as(client);
  Reading reading;
  if (!options_.restless) return reading;
  if (chance(1, 3)) {
    reading.leave_after = 1 + choose(6);
  }
  if (chance(1, 4)) {
    reading.stall_after = 1 + choose(4);
    reading.stall = std::chrono::microseconds{site_.scheduler.choices().spread(track_, kStallUs)};
  }
  return reading;
}

void Workload::take_import(OpId id, const Exchange& came) {
  for (Evidence::Import& import : evidence_.imports) {
    if (import.operation != id) continue;
    import.answered = agents_imported(came);
    if (!import.agent.empty() || import.answered.empty()) return;
    auto op = std::get<op::CreateAgent>(history_.entries()[id].op);
    op.agent = import.answered.front();
    agents_.push_back(op.agent);
    history_.resolve(id, std::move(op));
  }
}

std::vector<std::string> Workload::rotated_urls(const Client& client) {
  think_as(client);
  std::vector<std::string> urls = site_.urls;
  const std::uint64_t first = choose(urls.size());
  std::rotate(urls.begin(), urls.begin() + static_cast<std::ptrdiff_t>(first), urls.end());
  return urls;
}

std::string Workload::one_of(const std::vector<std::string>& all) {
  return all[choose(all.size())];
}

Request Workload::write(std::string method, std::string target, std::string body, std::string key) {
  Request request;
  request.method = std::move(method);
  request.target = std::move(target);
  request.body = std::move(body);
  const bool form = request.body.starts_with("--sim");
  request.headers.emplace("content-type", form ? "multipart/form-data; boundary=sim" : "application/json");
  if (key.empty()) return request;
  commands_.insert(command_of(request.method + " " + request.target, key));
  request.headers.emplace("idempotency-key", std::move(key));
  return request;
}

// ---- what is asked

Workload::Planned Workload::create_agent(const std::string& key) {
  const CommandId command = command_of("POST /v1/agents/", key);
  const StreamId agent{"agent-" + derived_uuid(command, "agent", 0)};
  const Partition home = partition_of(agent, site_.partitions);
  const StreamId block = derived_stream_in(command, "block", 0, home, site_.partitions);
  const bool erasable = options_.erasable && chance(1, 2);
  if (erasable) erasable_.insert(agent.value());
  const std::string name = fresh_of(agent.value(), "name");
  const std::string tag = fresh("tag");
  const std::string label = fresh("label");
  const std::string value = fresh_of(agent.value(), "value");
  agents_.push_back(agent.value());
  blocks_.push_back({block.value(), label, agent.value()});
  std::string body = std::string(erasable ? R"({"erasable":true,)" : "{") + R"("name":")" + name +
                     R"(","tags":[")" + tag + R"("],"include_base_tools":)" +
                     (options_.tools ? "true" : "false") + R"(,"memory_blocks":[{"label":")" + label +
                     R"(","value":")" + value + R"("}]})";
  op::CreateAgent op{agent.value(), name, {tag}, {{block.value(), label, value}}, {}};
  return {std::move(op), write("POST", "/v1/agents/", std::move(body), key)};
}

Workload::Planned Workload::create_block(const std::string& key) {
  const std::string block = "block-" + derived_uuid(command_of("POST /v1/blocks/", key), "block", 0);
  const bool shared = options_.shared_labels && chance(1, 2);
  const std::string label = shared ? kSharedLabel : fresh("label");
  const std::string value = fresh("value");
  blocks_.push_back({block, label, ""});
  std::string body = R"({"label":)" + quoted(label) + R"(,"value":)" + quoted(value) + "}";
  return {op::CreateBlock{block, label, value}, write("POST", "/v1/blocks/", std::move(body), key)};
}

// A small file with some history, and a block if its id is known beforehand.
Workload::Planned Workload::import_agent(const std::string& key, bool keyed) {
  op::CreateAgent op;
  op.name = fresh("name");
  op.tags = {fresh("tag")};
  const std::uint64_t count = 1 + choose(4);
  std::string messages;
  for (std::uint64_t i = 0; i < count; ++i) {
    op.history.push_back(fresh("imported"));
    messages += std::string(i == 0 ? "" : ",") + R"({"type":"message","role":"user","id":"message-)" +
                std::to_string(i) + R"(","content":[{"type":"text","text":)" + quoted(op.history.back()) +
                "}]}";
  }
  std::string blocks;
  if (keyed) {
    const CommandId request = command_of("POST /v1/agents/import", key);
    const StreamId agent{"agent-" + derived_uuid(request, "agent", 0)};
    const CommandId begin = command_id_from_text("import " + to_hex(request) + " agent 0");
    const Partition home = partition_of(agent, site_.partitions);
    const StreamId block = derived_stream_in(begin, "block", 0, home, site_.partitions);
    op.agent = agent.value();
    op.blocks = {{block.value(), fresh("label"), fresh("value")}};
    agents_.push_back(op.agent);
    blocks_.push_back({block.value(), op.blocks.front().label, op.agent});
    blocks = R"({"id":"block-0","label":)" + quoted(op.blocks.front().label) + R"(,"value":)" +
             quoted(op.blocks.front().value) + "}";
  }
  std::string body =
      "--sim\r\ncontent-disposition: form-data; name=\"append_copy_suffix\"\r\n\r\nfalse\r\n--sim\r\n"
      "content-disposition: form-data; name=\"file\"; filename=\"a.af\"\r\n\r\n"
      R"({"agents":[{"id":"agent-0","name":)" +
      quoted(op.name) + R"(,"system":"S","tags":[)" + quoted(op.tags.front()) + R"(],"messages":[)" +
      messages + R"(],"in_context_message_ids":["message-0"],"block_ids":[)" + (keyed ? R"("block-0")" : "") +
      R"(]}],"blocks":[)" + blocks +
      R"(],"tools":[],"files":[],"sources":[],"groups":[],"mcp_servers":[],"metadata":{}})" +
      "\r\n--sim--\r\n";
  Planned planned{std::move(op), write("POST", "/v1/agents/import", std::move(body), keyed ? key : "")};
  // Without a key every attempt is another agent.
  if (!keyed) planned.attempts = 1;
  return planned;
}

Workload::Planned Workload::plan(Client& client) {
  think_as(client);
  const std::string key = fresh("key") + "-of-" + std::to_string(client.id);
  const bool keyless = options_.keyless && client.id % 2 == 0;
  Planned planned = plan(key, keyless ? "" : key);
  const bool write = planned.request.method != "GET";
  const bool creates = std::holds_alternative<op::CreateAgent>(planned.op);
  planned.keyless = write && !creates && !planned.request.header("idempotency-key");
  const auto* update = std::get_if<op::UpdateBlock>(&planned.op);
  if (planned.keyless && update != nullptr && update->value) evidence_.keyless.insert(*update->value);
  // Some say how long they wait, and are told so in time.
  if (planned.keyless && chance(1, 3)) {
    planned.request.headers.emplace("x-stainless-timeout", std::to_string(1 + choose(6)));
  }
  return planned;
}

// What is created has a key always: its id follows from it.
Workload::Planned Workload::plan(const std::string& creating, const std::string& key) {
  std::size_t kind = 0;
  if (!agents_.empty()) {
    kind = choose(kKinds);
    if (!options_.kinds[kind]) kind = static_cast<std::size_t>(Kind::send);
    if (options_.erasable && chance(1, 10)) kind = static_cast<std::size_t>(Kind::delete_agent);
  }
  switch (static_cast<Kind>(kind)) {
    case Kind::create_agent:
      return create_agent(creating);
    case Kind::create_block:
      return create_block(creating);
    case Kind::import:
      return import_agent(creating, choose(3) != 2);
    case Kind::attach:
    case Kind::detach:
    case Kind::update_block:
    case Kind::delete_block:
    case Kind::read_block:
      return blocks_.empty() ? create_block(creating) : of_block(kind, key);
    case Kind::edit_core:
      return blocks_.empty() ? create_block(creating) : edit_core(key);
    case Kind::send:
    case Kind::stream_steps:
    case Kind::stream_tokens:
    case Kind::send_async:
      return send(kind, key);
    default:
      return of_agent(kind, key);
  }
}

Workload::Planned Workload::of_agent(std::size_t kind, const std::string& key) {
  std::string agent = one_of(agents_);
  const std::string path = "/v1/agents/" + agent;
  switch (static_cast<Kind>(kind)) {
    case Kind::update_agent: {
      const std::string name = fresh_of(agent, "name");
      return {op::UpdateAgent{agent, name, std::nullopt},
              write("PATCH", path, R"({"name":)" + quoted(name) + "}", key)};
    }
    case Kind::delete_agent:
      if (is_erasable(agent) && chance(2, 3)) {
        return {op::EraseAgent{agent}, write("DELETE", path + "?erase=true", "", key)};
      }
      return {op::DeleteAgent{agent}, write("DELETE", path, "", key)};
    case Kind::cancel: {
      // Rather one that has something to cancel.
      if (!talking_.empty()) agent = one_of(talking_);
      Planned planned{op::CancelTurn{agent},
                      write("POST", "/v1/agents/" + agent + "/messages/cancel", "{}", key)};
      planned.attempts = 3;
      return planned;
    }
    case Kind::reset: {
      Planned planned{op::ResetMessages{agent}, write("PATCH", path + "/reset-messages", "{}", key)};
      planned.attempts = 4;
      return planned;
    }
    case Kind::read_agent:
      return {op::ReadAgent{agent}, write("GET", path + "?include=agent.blocks", "", "")};
    case Kind::read_messages:
      return {op::ReadMessages{agent}, write("GET", path + "/messages?limit=1000&order=asc", "", "")};
    case Kind::export_agent:
      return {op::ReadMessages{agent}, write("GET", path + "/export", "", "")};
    default:
      return {op::ListAgents{}, write("GET", "/v1/agents/?limit=10000", "", "")};
  }
}

Workload::Planned Workload::of_block(std::size_t kind, const std::string& key) {
  const Block& chosen = blocks_[choose(blocks_.size())];
  const std::string block = chosen.id;
  const std::string owner = chosen.agent;
  const std::string path = "/v1/blocks/" + block;
  std::string agent = one_of(agents_);
  // What a plain agent's tools say of a block is in its own history.
  if (is_erasable(owner) && !is_erasable(agent)) agent = owner;
  const std::string blocks_path = "/v1/agents/" + agent + "/core-memory/blocks/";
  switch (static_cast<Kind>(kind)) {
    case Kind::attach:
      return {op::AttachBlock{agent, block}, write("PATCH", blocks_path + "attach/" + block, "", key)};
    case Kind::detach:
      return {op::DetachBlock{agent, block}, write("PATCH", blocks_path + "detach/" + block, "", key)};
    case Kind::update_block: {
      const std::string value = fresh_of(owner, "value");
      return {op::UpdateBlock{block, std::nullopt, value},
              write("PATCH", path, R"({"value":)" + quoted(value) + "}", key)};
    }
    case Kind::delete_block:
      return {op::DeleteBlock{block}, write("DELETE", path, "", key)};
    default:
      return {op::ReadBlock{block}, write("GET", path, "", "")};
  }
}

Workload::Planned Workload::send(std::size_t kind, const std::string& key) {
  const std::string agent = one_of(agents_);
  const std::string path = "/v1/agents/" + agent + "/messages";
  const std::string text = fresh_of(agent, "message");
  const std::string messages = R"("messages":[{"role":"user","content":)" + quoted(text) + "}]";
  const auto asked = static_cast<Kind>(kind);
  if (asked == Kind::send_async) {
    return {op::SendMessage{agent, text, false}, write("POST", path + "/async", "{" + messages + "}", key)};
  }
  op::SendMessage op{agent, text, true};
  if (asked == Kind::send) return {std::move(op), write("POST", path, "{" + messages + "}", key)};
  const bool tokens = asked == Kind::stream_tokens;
  std::string body = "{" + messages + R"(,"stream_tokens":)" + (tokens ? "true}" : "false}");
  return {std::move(op), write("POST", path + "/stream", std::move(body), key),
          tokens ? Planned::Way::tokens : Planned::Way::steps};
}

// Of a block by its label, as an agent has it.
Workload::Planned Workload::edit_core(const std::string& key) {
  const Block& block = blocks_[choose(blocks_.size())];
  // Which of several the agent has is not known here.
  if (block.label == kSharedLabel) return of_block(static_cast<std::size_t>(Kind::update_block), key);
  const std::string agent = block.agent.empty() ? one_of(agents_) : block.agent;
  const std::string value = fresh_of(block.agent, "value");
  Planned planned{op::UpdateBlock{block.id, std::nullopt, value},
                  write("PATCH", "/v1/agents/" + agent + "/core-memory/blocks/" + block.label,
                        R"({"value":)" + quoted(value) + "}", key)};
  planned.by_label = true;
  return planned;
}

}  // namespace varve::sim
