// SimServer: a fixture with a whole simulated server (four partitions, memory log and stores, virtual time)
// and a client that calls its routes. Everything is deterministic; nothing sleeps.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sim/world_oracles.h"

namespace varve::test {

using Pending = std::shared_ptr<std::optional<Result<Response>>>;

class SimServer : public testing::Test {
 public:
  using HeaderList = std::vector<std::pair<std::string, std::string>>;

  void SetUp() override { start("{}"); }
  // Every test ends with the oracles of the simulation, when the server has come to rest.
  void TearDown() override {
    if (!world_) return;
    run_for(2000);
    oracles_->all().at_rest();
    for (const sim::Violation& violation : oracles_->all().violations()) {
      ADD_FAILURE() << violation.invariant << ": " << violation.what;
    }
  }

  void start(const std::string& model_script, std::uint64_t seed = 1) {
    oracles_.reset();
    world_.reset();
    sim::World::Options options;
    options.seed = seed;
    options.model_script = model_script;
    world_ = std::make_unique<sim::World>(options);
    oracles_ = std::make_unique<sim::WorldOracles>(*world_, nullptr, owners_);
    world_->boot();
    run_for(50);
  }
  void restart() {
    world_->crash();
    world_->boot();
    run_for(50);
  }

  bool step() { return oracles_->step(); }
  void run_for(int ms) {
    const MonoTime end = world_->scheduler().now() + std::chrono::milliseconds{ms};
    world_->client().call_at(end, [] {});
    while (world_->scheduler().now() < end && step()) {
    }
  }

  static Request make(std::string method, std::string target, std::string body, const HeaderList& headers) {
    Request request;
    request.method = std::move(method);
    request.target = std::move(target);
    request.body = std::move(body);
    for (const auto& [name, value] : headers) request.headers.emplace(name, value);
    if (!request.body.empty() && !request.header("content-type")) {
      request.headers.emplace("content-type", "application/json");
    }
    return request;
  }
  // Sends a request and goes on.
  Pending begin(std::string method, std::string target, std::string body = "",
                const HeaderList& headers = {}) {
    auto answer = std::make_shared<std::optional<Result<Response>>>();
    Request request = make(std::move(method), std::move(target), std::move(body), headers);
    world_->client().spawn("call", keep(*world_, std::move(request), answer));
    return answer;
  }
  Response finish(const Pending& answer) {
    while (!answer->has_value() && step()) {
    }
    if (!answer->has_value() || !**answer) {
      ADD_FAILURE() << "no answer: "
                    << (answer->has_value() ? (**answer).error().message : "nothing happens any more");
      return {};
    }
    return ***answer;
  }
  Response call(std::string method, std::string target, std::string body = "",
                const HeaderList& headers = {}) {
    return finish(begin(std::move(method), std::move(target), std::move(body), headers));
  }
  // The same, and the body must be JSON with this status.
  Json expect(int status, std::string method, std::string target, std::string body = "",
              const HeaderList& headers = {}) {
    const std::string what = method + " " + target + " " + body.substr(0, 200);
    const Response response = call(std::move(method), std::move(target), std::move(body), headers);
    EXPECT_EQ(status, response.status) << what << " -> " << response.body.substr(0, 500);
    auto json = Json::parse(response.body);
    if (!json) ADD_FAILURE() << what << " -> not JSON: " << response.body;
    return json ? std::move(*json) : Json{};
  }

  std::string create_agent(
      const std::string& body = R"({"name":"ann","memory_blocks":[{"label":"human","value":"Ann"}]})") {
    return text(expect(200, "POST", "/v1/agents/", body), "id");
  }
  // "user_message:hi;assistant_message:You said: hi;" without the system message.
  std::string history(const std::string& agent) {
    std::string lines;
    const Json listed = expect(200, "GET", "/v1/agents/" + agent + "/messages?limit=1000");
    for (const Json& message : listed.items()) {
      const std::string type = text(message, "message_type");
      if (type == "system_message") continue;
      lines += type + ":" + text(message, type == "tool_return_message" ? "tool_return" : "content") + ";";
    }
    return lines;
  }
  static std::string say(const std::string& text) {
    JsonWriter out;
    out.begin_object().field("input", text).end_object();
    return out.take();
  }
  static std::string text(const Json& object, std::string_view key) {
    const Json* found = object.find(key);
    return found != nullptr && found->is_string() ? found->as_string() : "";
  }
  std::size_t records() const {
    std::size_t count = 0;
    for (std::uint32_t i = 0; i < world_->options().partitions; ++i)
      count += world_->log().records(Partition{i}).size();
    return count;
  }

  std::unique_ptr<sim::World> world_;
  std::unique_ptr<sim::WorldOracles> oracles_;

 protected:
  // A test that writes records of other nodes sets it in its constructor.
  sim::WorldOracles::Owners owners_ = sim::WorldOracles::Owners::watched;

 private:
  static Task<> keep(sim::World& world, Request request, Pending answer) {
    *answer = co_await world.request(std::move(request), std::chrono::minutes{20});
    co_return ok();
  }
};

}  // namespace varve::test
