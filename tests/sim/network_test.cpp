// The simulated network: what arrives, what does not, and what is said of it; and the transports of nodes on
// top of it.
#include "sim/network.h"

#include <algorithm>
#include <set>

#include "sim/sim_transport.h"
#include "tests/sim/network_fixture.h"

namespace varve::sim {
namespace {

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

TEST_F(NetworkTest, ACutTakesWhatIsOnTheWire) {
  boot();
  bool sent = false;
  client_.on_attempt([&sent](const Attempt& /*attempt*/) { sent = true; });
  const auto pending = begin(client_env_, client_.exchange(kUrl, post("x"), 100 * kMs));
  while (!sent) scheduler_.step();
  network_.cut("client-1", "node-1");
  EXPECT_EQ(show(finish(pending)), "timed out 0 ");
  EXPECT_TRUE(node_->heard.empty());
}

TEST_F(NetworkTest, ACutWhileAServerThinksTakesItsAnswer) {
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
    EXPECT_TRUE(came->end != Exchange::End::whole || came->body == all) << came->body;
    run_for(std::chrono::seconds{100});
  }
}

// A server that comes and goes while it is asked, and whose answers take a while.
class RestlessServer {
 public:
  RestlessServer(SimEnv& world, SimEnv& env, Network& network) : world_(world), env_(env), network_(network) {
    toggle();
  }
  std::multiset<std::string> heard;

 private:
  void toggle() {
    if (transport_ != nullptr) {
      transport_.reset();
    } else {
      transport_ = std::make_unique<SimTransport>(env_, network_, "http://node-9");
      transport_->serve([this](std::string request) { return answer(this, std::move(request)); });
    }
    world_.call_at(world_.now() + 37 * kMs, [this] { toggle(); });
  }
  static Task<std::string> answer(RestlessServer* server, std::string request) {
    server->heard.insert(request);
    co_await sleep_for(server->env_, 10 * kMs);
    co_return "yes " + request;
  }

  SimEnv& world_;
  SimEnv& env_;
  Network& network_;
  std::unique_ptr<SimTransport> transport_;
};

TEST_P(NetworkSeeds, ATransportSaysUnavailableOnlyOfWhatIsNeverDelivered) {
  SimEnv server_env(scheduler_, "node-9", 5);
  RestlessServer server(world_, server_env, network_);
  SimTransport caller(client_env_, network_, "http://client-1");
  std::set<std::string> refused;
  std::size_t answered = 0;
  std::size_t unknown = 0;
  for (int i = 0; i < 200; ++i) {
    if (i % 11 == 0) network_.cut("client-1", "node-9");
    if (i % 13 == 0) network_.cut("node-9", "client-1");
    if (i % 4 == 0) network_.heal();
    const std::string name = "request " + std::to_string(i);
    const auto said = run(caller.call("http://node-9", name, client_env_.now() + 500 * kMs));
    if (said) {
      EXPECT_EQ(*said, "yes " + name);
      EXPECT_GE(server.heard.count(name), 1U);
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
  for (const std::string& name : refused) EXPECT_EQ(server.heard.count(name), 0U) << name;
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

}  // namespace
}  // namespace varve::sim
