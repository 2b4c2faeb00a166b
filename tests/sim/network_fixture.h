// NetworkTest: a fixture with a simulated network, a server that may die, and a client.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/suspend.h"
#include "sim/network.h"
#include "sim/sim_client.h"

namespace varve::sim {

inline constexpr std::chrono::milliseconds kMs{1};
inline const std::string kUrl = "http://node-1:8283";

// Says "piece 0", "piece 1" .. and counts how many were asked for.
class Counting final : public EventSource {
 public:
  Counting(std::size_t pieces, std::shared_ptr<std::size_t> given)
      : pieces_(pieces), given_(std::move(given)) {}
  boost::asio::awaitable<std::optional<std::string>> next() override {
    if (*given_ == pieces_) co_return std::nullopt;
    co_return std::to_string((*given_)++) + ";";
  }

 private:
  std::size_t pieces_;
  std::shared_ptr<std::size_t> given_;
};

// A world with a network, two nodes that may die, and a client.
class NetworkTest : public ::testing::Test {
 protected:
  NetworkTest() : NetworkTest(1) {}
  explicit NetworkTest(std::uint64_t seed)
      : scheduler_(seed),
        world_(scheduler_, "network", 1),
        network_(scheduler_, world_, counters_),
        client_env_(scheduler_, "client-1", 2) {}
  ~NetworkTest() override {
    client_env_.kill();
    node_.reset();
  }

  // One life of a server that answers "METHOD TARGET BODY" and remembers what it was asked.
  struct Life {
    Life(NetworkTest& test, std::uint64_t seed)
        : env(test.scheduler_, "node-1", seed),
          listening(test.network_.listen(
              kUrl, env, [this](Request request) { return answer(this, std::move(request)); })) {}
    ~Life() { env.kill(); }

    static boost::asio::awaitable<Response> answer(Life* life, Request request) {
      life->heard.push_back(request.body);
      if (life->think.count() > 0) co_await sleep_for(life->env, life->think);
      Response response;
      response.status = life->status;
      response.headers = life->headers;
      response.body = request.method + " " + request.target + " " + request.body;
      if (life->pieces > 0) {
        response.events = std::make_shared<Counting>(life->pieces, life->given);
        response.body.clear();
      }
      co_return response;
    }

    SimEnv env;
    std::vector<std::string> heard;
    int status = 200;
    Headers headers;
    Duration think{};
    std::size_t pieces = 0;
    std::shared_ptr<std::size_t> given = std::make_shared<std::size_t>(0);
    std::unique_ptr<Network::Listening> listening;
  };

  void boot() { node_ = std::make_unique<Life>(*this, 3); }

  static Request get(std::string target) {
    Request request;
    request.method = "GET";
    request.target = std::move(target);
    return request;
  }
  static Request post(std::string body) {
    Request request;
    request.method = "POST";
    request.target = "/";
    request.body = std::move(body);
    return request;
  }

  template <class T>
  static Task<> keep(Task<T> task, std::shared_ptr<std::optional<Result<T>>> out) {
    *out = co_await std::move(task);
    co_return ok();
  }
  template <class T>
  std::shared_ptr<std::optional<Result<T>>> begin(SimEnv& env, Task<T> task) {
    auto out = std::make_shared<std::optional<Result<T>>>();
    env.spawn("test", keep(std::move(task), out));
    return out;
  }
  template <class T>
  Result<T> finish(const std::shared_ptr<std::optional<Result<T>>>& out) {
    while (!out->has_value() && scheduler_.step()) {
    }
    if (!out->has_value()) return Error{Errc::cancelled, "nothing happens any more"};
    return **out;
  }
  template <class T>
  Result<T> run(Task<T> task) {
    return finish(begin(client_env_, std::move(task)));
  }
  void run_for(Duration time) {
    const MonoTime end = scheduler_.now() + time;
    world_.call_at(end, [] {});
    while (scheduler_.now() < end && scheduler_.step()) {
    }
  }

  // "whole 200 GET / " or "refused 0 ".
  static std::string show(const Result<Exchange>& came) {
    if (!came) return to_string(came.error());
    return std::string(to_string(came->end)) + " " + std::to_string(came->status) + " " + came->body;
  }
  std::string ask(Request request, Duration patience = std::chrono::seconds{5}, Reading reading = {}) {
    return show(run(client_.exchange(kUrl, std::move(request), patience, reading)));
  }

  Scheduler scheduler_;
  Counters counters_;
  SimEnv world_;
  Network network_;
  SimEnv client_env_;
  SimClient client_{client_env_, network_, "client-1"};
  std::unique_ptr<Life> node_;
};

}  // namespace varve::sim
