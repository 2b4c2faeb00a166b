// The simulated network: what arrives, what does not, and what is said of it; transports between nodes and
// clients that retry on top of it.
#include "sim/network.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "runtime/suspend.h"
#include "sim/sim_client.h"
#include "sim/sim_transport.h"

namespace varve::sim {
namespace {

constexpr std::chrono::milliseconds kMs{1};
const std::string kUrl = "http://node-1:8283";

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

TEST(PlaceOf, IsTheHostOfAUrl) {
  EXPECT_EQ(place_of("http://node-1:8283/v1"), "node-1");
  EXPECT_EQ(place_of("node-2"), "node-2");
  EXPECT_EQ(place_of("http://node-3#nodes"), "node-3");
}

TEST_F(NetworkTest, ACalmNetworkBringsRequestAndAnswer) {
  boot();
  EXPECT_EQ(ask(get("/v1/health")), "whole 200 GET /v1/health ");
  node_->pieces = 20;
  EXPECT_EQ(ask(get("/stream")), "whole 200 0;1;2;3;4;5;6;7;8;9;10;11;12;13;14;15;16;17;18;19;");
  for (const auto& [name, count] : counters_.all()) EXPECT_FALSE(name.starts_with("fault.")) << name;
}

TEST_F(NetworkTest, WhereNobodyListensAConnectionIsRefused) {
  EXPECT_EQ(ask(get("/")), "refused 0 ");
  boot();
  EXPECT_EQ(ask(get("/")), "whole 200 GET / ");
  node_.reset();
  EXPECT_EQ(ask(get("/")), "refused 0 ");
}

TEST_F(NetworkTest, ACutIsOfOneDirection) {
  boot();
  network_.cut("node-1", "client-1");
  std::set<std::string> seen;
  for (int i = 0; i < 40; ++i) seen.insert(ask(post(std::to_string(i)), 100 * kMs));
  // Over a connection that was open before, the request comes and the answer does not.
  EXPECT_EQ(seen, (std::set<std::string>{"refused 0 ", "timed out 0 "}));
  EXPECT_GT(node_->heard.size(), 5U);
  const std::size_t heard = node_->heard.size();
  network_.mend("node-1", "client-1");
  network_.cut("client-1", "node-1");
  for (int i = 0; i < 40; ++i) ask(post(std::to_string(i)), 100 * kMs);
  EXPECT_EQ(node_->heard.size(), heard);
  network_.heal();
  EXPECT_EQ(ask(post("x")), "whole 200 POST / x");
}

TEST_F(NetworkTest, ACutCanNameEverybody) {
  boot();
  network_.cut(kEverybody, "node-1");
  ask(post("x"), 100 * kMs);
  EXPECT_TRUE(node_->heard.empty());
  EXPECT_TRUE(network_.is_cut("node-7", "node-1"));
  EXPECT_FALSE(network_.is_cut("node-1", "node-7"));
  EXPECT_FALSE(network_.is_cut("node-1", "node-1"));  // Nobody is cut off from itself.
}

TEST_F(NetworkTest, ACutUnderWayTakesWhatIsOnTheWire) {
  boot();
  node_->think = 10 * kMs;
  const auto pending = begin(client_env_, client_.exchange(kUrl, post("x"), 100 * kMs));
  while (node_->heard.empty()) scheduler_.step();
  network_.cut("node-1", "client-1");
  EXPECT_EQ(show(finish(pending)), "timed out 0 ");
}

TEST_F(NetworkTest, AClogHoldsBackAndLosesNothing) {
  boot();
  network_.clog("client-1", "node-1");
  const auto pending = begin(client_env_, client_.exchange(kUrl, post("x"), std::chrono::seconds{60}));
  run_for(1000 * kMs);
  EXPECT_TRUE(node_->heard.empty());
  network_.unclog("client-1", "node-1");
  EXPECT_EQ(show(finish(pending)), "whole 200 POST / x");
}

TEST_F(NetworkTest, ARequestMayComeLongAfterItsCallerHasGone) {
  boot();
  network_.clog("client-1", "node-1");
  EXPECT_EQ(ask(post("late"), 10 * kMs), "timed out 0 ");
  node_.reset();
  boot();  // The next incarnation hears what was meant for the one before.
  network_.heal();
  run_for(10 * kMs);
  EXPECT_EQ(node_->heard, std::vector<std::string>{"late"});
}

TEST_F(NetworkTest, TheEndOfAServerBreaksItsConnections) {
  boot();
  node_->think = 1000 * kMs;
  auto pending = begin(client_env_, client_.exchange(kUrl, post("x"), std::chrono::seconds{5}));
  while (node_->heard.empty()) scheduler_.step();
  const MonoTime before = scheduler_.now();
  node_.reset();
  EXPECT_EQ(show(finish(pending)), "cut 0 ");
  EXPECT_LT(scheduler_.now() - before, Duration{100 * kMs});

  // With its machine, there is nobody to say so.
  network_.set_faults({.silent_ppm = 1'000'000});
  boot();
  node_->think = 1000 * kMs;
  pending = begin(client_env_, client_.exchange(kUrl, post("x"), std::chrono::seconds{5}));
  while (node_->heard.empty()) scheduler_.step();
  node_.reset();
  EXPECT_EQ(show(finish(pending)), "timed out 0 ");
}

TEST_F(NetworkTest, ADeadIncarnationReceivesNothing) {
  boot();
  node_->think = 5 * kMs;
  const auto pending = begin(client_env_, client_.exchange(kUrl, post("x"), std::chrono::seconds{5}));
  while (node_->heard.empty()) scheduler_.step();
  client_env_.kill();
  run_for(1000 * kMs);
  EXPECT_FALSE(pending->has_value());
  EXPECT_EQ(counters_.of("sometimes.network.answer_to_nobody"), 1U);

  // A dead server that still has its ear on the network hears nothing either.
  SimEnv other(scheduler_, "client-2", 9);
  SimClient client(other, network_, "client-2");
  node_->env.kill();
  const auto refused = begin(other, client.exchange(kUrl, post("y"), std::chrono::seconds{5}));
  EXPECT_EQ(show(finish(refused)), "refused 0 ");
  EXPECT_EQ(node_->heard, std::vector<std::string>{"x"});
}

TEST_F(NetworkTest, APausedServerIsNoDeadOne) {
  boot();
  node_->env.pause();
  const auto pending = begin(client_env_, client_.exchange(kUrl, post("x"), std::chrono::seconds{60}));
  run_for(1000 * kMs);
  EXPECT_TRUE(node_->heard.empty());
  node_->env.resume();
  EXPECT_EQ(show(finish(pending)), "whole 200 POST / x");
}

TEST_F(NetworkTest, TheNewestOfTwoListenersIsHeardAndTheOtherOneStays) {
  boot();
  auto second = std::make_unique<Life>(*this, 4);
  ask(post("one"));
  EXPECT_EQ(second->heard, std::vector<std::string>{"one"});
  second.reset();
  ask(post("two"));
  EXPECT_EQ(node_->heard, std::vector<std::string>{"two"});
}

TEST_F(NetworkTest, AReaderMayLeaveInTheMiddleOfAStream) {
  boot();
  node_->pieces = 1000;
  EXPECT_EQ(ask(get("/"), std::chrono::seconds{5}, {.leave_after = 3}), "left 200 0;1;2;");
  run_for(1000 * kMs);
  EXPECT_LT(*node_->given, 30U);
  EXPECT_EQ(counters_.of("sometimes.network.reader_left"), 1U);
}

TEST_F(NetworkTest, AReaderThatStallsHoldsUpItsSender) {
  boot();
  node_->pieces = 100;
  const Reading reading{.stall_after = 2, .stall = std::chrono::seconds{30}};
  const auto pending =
      begin(client_env_, client_.exchange(kUrl, get("/"), std::chrono::seconds{600}, reading));
  run_for(std::chrono::seconds{20});
  EXPECT_LT(*node_->given, 20U);
  const auto came = finish(pending);
  ASSERT_TRUE(came);
  EXPECT_EQ(came->end, Exchange::End::whole);
  EXPECT_EQ(came->pieces, 100U);
}

TEST_F(NetworkTest, ASenderGivesUpAReaderThatStallsTooLong) {
  boot();
  node_->pieces = 100;
  const Reading reading{.stall_after = 2, .stall = std::chrono::seconds{300}};
  const auto came = run(client_.exchange(kUrl, get("/"), std::chrono::seconds{600}, reading));
  ASSERT_TRUE(came);
  EXPECT_EQ(came->end, Exchange::End::cut);
  EXPECT_LT(came->pieces, 20U);
  EXPECT_EQ(counters_.of("sometimes.network.reader_stalled"), 1U);
}

// ---- properties over seeds ----

class NetworkSeeds : public NetworkTest, public ::testing::WithParamInterface<std::uint64_t> {
 protected:
  NetworkSeeds() : NetworkTest(GetParam()) {
    network_.set_faults({.lost_ppm = 100'000,
                         .late_ppm = 200'000,
                         .duplicate_ppm = 200'000,
                         .reset_ppm = 300'000,
                         .silent_ppm = 500'000,
                         .delay_us = 5'000,
                         .late_us = 1'000'000});
  }
};

TEST_P(NetworkSeeds, WhatArrivesIsAPrefixInOrder) {
  boot();
  node_->pieces = 30;
  std::string all;
  for (int i = 0; i < 30; ++i) all += std::to_string(i) + ";";
  for (int i = 0; i < 20; ++i) {
    *node_->given = 0;
    const auto came = run(client_.exchange(kUrl, get("/"), std::chrono::seconds{10}));
    ASSERT_TRUE(came);
    EXPECT_TRUE(all.starts_with(came->body)) << came->body;
    EXPECT_EQ(came->end == Exchange::End::whole, came->body == all) << came->body;
    run_for(std::chrono::seconds{100});
  }
}

TEST_P(NetworkSeeds, ATransportSaysUnavailableOnlyOfWhatIsNeverDelivered) {
  SimEnv server_env(scheduler_, "node-9", 5);
  SimTransport caller(client_env_, network_, "http://client-1");
  std::multiset<std::string> heard;
  std::set<std::string> refused;
  std::size_t answered = 0;
  std::size_t unknown = 0;
  std::unique_ptr<SimTransport> server;
  struct Server {
    static Task<std::string> answer(std::multiset<std::string>* to, std::string request) {
      to->insert(request);
      co_return "yes " + request;
    }
  };
  for (int i = 0; i < 200; ++i) {
    if (i % 7 == 0) server.reset();
    if (i % 7 == 2) {
      server = std::make_unique<SimTransport>(server_env, network_, "http://node-9");
      server->serve([to = &heard](std::string request) { return Server::answer(to, std::move(request)); });
    }
    if (i % 11 == 0) network_.cut("client-1", "node-9");
    if (i % 13 == 0) network_.cut("node-9", "client-1");
    if (i % 17 == 0) network_.heal();
    const std::string name = "request " + std::to_string(i);
    const auto said = run(caller.call("http://node-9", name, client_env_.now() + 500 * kMs));
    if (said) {
      EXPECT_EQ(*said, "yes " + name);
      EXPECT_GE(heard.count(name), 1U);
      ++answered;
    } else if (said.error().code == Errc::unavailable) {
      refused.insert(name);
    } else {
      EXPECT_EQ(said.error().code, Errc::outcome_unknown);
      ++unknown;
    }
  }
  network_.heal();
  run_for(std::chrono::seconds{10});
  for (const std::string& name : refused) EXPECT_EQ(heard.count(name), 0U) << name;
  EXPECT_GT(answered, 10U);
  EXPECT_GT(refused.size(), 10U);
  EXPECT_GT(unknown, 10U);
  server_env.kill();
}

TEST_P(NetworkSeeds, ARequestOfAClientIsDeliveredAtMostOnce) {
  boot();
  for (int i = 0; i < 100; ++i) {
    const auto came = run(client_.exchange(kUrl, post(std::to_string(i)), std::chrono::seconds{1}));
    ASSERT_TRUE(came);
    const auto times = std::count(node_->heard.begin(), node_->heard.end(), std::to_string(i));
    if (came->end == Exchange::End::whole) EXPECT_EQ(times, 1);
  }
  run_for(std::chrono::seconds{10});
  const std::set<std::string> once(node_->heard.begin(), node_->heard.end());
  EXPECT_EQ(once.size(), node_->heard.size());
}

INSTANTIATE_TEST_SUITE_P(Seeds, NetworkSeeds, ::testing::Range<std::uint64_t>(1, 21));

TEST_F(NetworkTest, EveryFaultCanBeProvoked) {
  const auto provoke = [this](const Network::Faults& faults, const std::string& counter) {
    network_.set_faults(faults);
    boot();
    for (int i = 0; i < 30; ++i) ask(post("x"), 100 * kMs);
    EXPECT_GT(counters_.of(counter), 0U) << counter;
    node_.reset();
  };
  provoke({.lost_ppm = 500'000}, "fault.network.lost");
  provoke({.late_ppm = 500'000, .late_us = 1000}, "fault.network.late");
  provoke({.reset_ppm = 500'000}, "fault.network.reset");
  network_.set_faults({.duplicate_ppm = 1'000'000});
  SimEnv other(scheduler_, "node-2", 5);
  SimTransport ours(client_env_, network_, "http://client-1");
  SimTransport theirs(other, network_, "http://node-2");
  int calls = 0;
  struct Server {
    static Task<std::string> answer(int* counted, std::string request) {
      ++*counted;
      co_return request;
    }
  };
  theirs.serve(
      [counted = &calls](std::string request) { return Server::answer(counted, std::move(request)); });
  const auto said = run(ours.call("http://node-2", "x", client_env_.now() + 1000 * kMs));
  ASSERT_TRUE(said);
  EXPECT_EQ(*said, "x");
  run_for(10 * kMs);
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(counters_.of("sometimes.network.delivered_twice"), 1U);
  other.kill();
}

// ---- transports ----

Task<std::string> fail(std::string request) {
  co_return Error{Errc::corrupt, "cannot " + request};
}

TEST_F(NetworkTest, ATransportTellsApartWhatDidNotHappenAndWhatIsUnknown) {
  SimEnv other(scheduler_, "node-2", 5);
  SimTransport ours(client_env_, network_, "http://client-1");
  const auto call = [&](Duration patience) {
    const auto said = run(ours.call("http://node-2", "x", client_env_.now() + patience));
    return said ? *said : to_string(said.error());
  };
  EXPECT_EQ(call(1000 * kMs), "unavailable: http://node-2 refused the connection");
  EXPECT_EQ(call(Duration{}), "unavailable: the deadline has passed");
  {
    SimTransport theirs(other, network_, "http://node-2");
    theirs.serve([](std::string request) { return fail(std::move(request)); });
    EXPECT_EQ(call(1000 * kMs), "outcome_unknown: http://node-2 failed: corrupt: cannot x");
    other.pause();
    EXPECT_EQ(call(10 * kMs), "outcome_unknown: http://node-2 gave no answer before the deadline");
    const auto pending = begin(client_env_, ours.call("http://node-2", "x", client_env_.now() + 1000 * kMs));
    run_for(10 * kMs);
    other.kill();
    EXPECT_FALSE(pending->has_value());
  }
  EXPECT_EQ(counters_.of("fault.network.silent"), 0U);
}

// ---- what the official clients do ----

struct RetryCase {
  std::string name;
  Exchange came;
  bool again;
  friend std::ostream& operator<<(std::ostream& out, const RetryCase& one) { return out << one.name; }
};

Exchange answered(int status, const Headers& headers = {}) {
  return {Exchange::End::whole, status, headers, "", 0};
}

class Retries : public ::testing::TestWithParam<RetryCase> {};

TEST_P(Retries, AsTheOfficialClientsDo) {
  EXPECT_EQ(should_retry(GetParam().came), GetParam().again);
}

INSTANTIATE_TEST_SUITE_P(
    Table, Retries,
    ::testing::Values(RetryCase{"refused", {Exchange::End::refused, 0, {}, "", 0}, true},
                      RetryCase{"timed_out", {Exchange::End::timed_out, 0, {}, "", 0}, true},
                      RetryCase{"cut_before_an_answer", {Exchange::End::cut, 0, {}, "", 0}, true},
                      RetryCase{"cut_in_a_stream", {Exchange::End::cut, 200, {}, "data", 1}, false},
                      RetryCase{"left", {Exchange::End::left, 200, {}, "data", 1}, false},
                      RetryCase{"fine", answered(200), false}, RetryCase{"not_found", answered(404), false},
                      RetryCase{"time_out_of_the_server", answered(408), true},
                      RetryCase{"conflict", answered(409), true}, RetryCase{"invalid", answered(422), false},
                      RetryCase{"too_many", answered(429), true}, RetryCase{"failure", answered(500), true},
                      RetryCase{"unavailable", answered(503), true},
                      RetryCase{"told_not_to", answered(503, {{"x-should-retry", "false"}}), false},
                      RetryCase{"told_not_to_at_a_conflict", answered(409, {{"X-Should-Retry", "false"}}),
                                false},
                      RetryCase{"told_to", answered(404, {{"x-should-retry", "true"}}), true},
                      RetryCase{"told_nonsense", answered(503, {{"x-should-retry", "maybe"}}), true}),
    [](const auto& info) { return info.param.name; });

std::int64_t wait_ms(const Exchange& came, int number, std::uint64_t calmer = 0) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(retry_wait(came, number, {}, calmer)).count();
}

TEST(RetryWait, DoublesUpToABoundUnlessTheServerSaysHowLong) {
  EXPECT_EQ(wait_ms(answered(503), 1), 500);
  EXPECT_EQ(wait_ms(answered(503), 2), 1000);
  EXPECT_EQ(wait_ms(answered(503), 5), 8000);
  EXPECT_EQ(wait_ms(answered(503), 50), 8000);
  EXPECT_EQ(wait_ms(answered(503), 1, 250), 375);
  EXPECT_EQ(wait_ms(answered(429, {{"retry-after", "7"}}), 1), 7000);
  EXPECT_EQ(wait_ms(answered(429, {{"retry-after-ms", "70"}, {"retry-after", "7"}}), 1), 70);
  EXPECT_EQ(wait_ms(answered(429, {{"retry-after", "soon"}}), 1), 500);
  EXPECT_EQ(wait_ms(answered(429, {{"retry-after", "3600"}}), 1), 500);
  EXPECT_EQ(wait_ms(answered(429, {{"retry-after", "-1"}}), 1), 500);
}

TEST_F(NetworkTest, AClientInsistsWithTheSameKeyAtChangingNodes) {
  boot();
  std::vector<std::string> told;
  std::set<std::string> keys;
  client_.on_attempt([&](const Attempt& attempt) {
    std::string line =
        std::to_string(attempt.call) + "." + std::to_string(attempt.number) + " " + attempt.url;
    if (attempt.came) {
      EXPECT_LT(attempt.invoked, attempt.ended);
      line += " " + show(*attempt.came);
    }
    told.push_back(line);
    keys.insert(attempt.asked->header("idempotency-key").value_or("none"));
  });
  const std::vector<std::string> urls{"http://node-0", kUrl};
  const auto came = run(client_.insist(urls, post("x"), {.attempts = 4}));
  ASSERT_TRUE(came);
  EXPECT_EQ(show(came), "whole 200 POST / x");
  ASSERT_FALSE(told.empty());
  EXPECT_EQ(told.back(), "1." + std::to_string(told.size() / 2) + " " + kUrl + " whole 200 POST / x");
  if (told.size() == 4) {
    EXPECT_EQ(told[1], "1.1 http://node-0 refused 0 ");
  }
  EXPECT_EQ(keys.size(), 1U);
  EXPECT_TRUE(is_uuid4(*keys.begin()));
}

TEST_F(NetworkTest, AClientGivesUpAfterItsAttemptsAndWaitsAsLongAsItIsTold) {
  boot();
  node_->status = 503;
  node_->headers = {{"retry-after", "3"}};
  const MonoTime before = scheduler_.now();
  EXPECT_EQ(show(run(client_.insist({kUrl}, post("x"), {}))), "whole 503 POST / x");
  EXPECT_EQ(node_->heard.size(), 3U);
  EXPECT_GE(scheduler_.now() - before, Duration{std::chrono::seconds{6}});
  node_->headers = {{"x-should-retry", "false"}};
  EXPECT_EQ(show(run(client_.insist({kUrl}, post("y"), {}))), "whole 503 POST / y");
  EXPECT_EQ(node_->heard.size(), 4U);
}

TEST_F(NetworkTest, AReadNeedsNoKeyAndAnUnkeyedClientSendsNone) {
  boot();
  std::set<std::string> keys;
  client_.on_attempt([&](const Attempt& attempt) {
    keys.insert(attempt.asked->header("idempotency-key").value_or("none"));
  });
  EXPECT_TRUE(run(client_.insist({kUrl}, get("/"), {})));
  EXPECT_TRUE(run(client_.insist({kUrl}, post("x"), {.keyed = false})));
  EXPECT_EQ(keys, std::set<std::string>{"none"});
}

}  // namespace
}  // namespace varve::sim
