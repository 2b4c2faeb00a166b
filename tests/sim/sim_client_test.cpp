// Simulated clients: how they read streams, when they try again and how long they wait, and what a history is
// told of it.
#include "sim/sim_client.h"

#include <set>

#include "tests/sim/network_fixture.h"

namespace varve::sim {
namespace {

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

// Without a key: what may have been done is not sent again, unless the server says that it was not.
TEST(Retries, ACarefulClientSendsAgainWhatWasCertainlyNotDone) {
  EXPECT_TRUE(may_repeat({Exchange::End::refused, 0, {}, "", 0}));
  EXPECT_TRUE(may_repeat(answered(503)));
  EXPECT_TRUE(may_repeat(answered(429)));
  EXPECT_FALSE(may_repeat(answered(503, {{"x-should-retry", "false"}})));
  EXPECT_FALSE(may_repeat(answered(200)));
  for (const auto end : {Exchange::End::timed_out, Exchange::End::cut, Exchange::End::left}) {
    EXPECT_FALSE(may_repeat({end, 0, {}, "", 0})) << to_string(end);
    EXPECT_FALSE(may_repeat({end, 503, {}, "", 0})) << to_string(end);
  }
}

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

TEST_F(NetworkTest, ACarefulClientDoesNotRepeatWhatMayHaveBeenDone) {
  boot();
  node_->status = 503;
  node_->headers = {{"retry-after", "1"}};
  const RetryPolicy policy{.attempts = 4, .keyed = false, .careful = true};
  EXPECT_EQ(show(run(client_.insist({kUrl}, post("x"), policy))), "whole 503 POST / x");
  EXPECT_EQ(node_->heard.size(), 4U);
  Network::Faults faults;
  faults.reset_ppm = 1'000'000;
  network_.set_faults(faults);
  const auto came = run(client_.insist({kUrl}, post("y"), policy));
  ASSERT_TRUE(came);
  EXPECT_EQ(came->end, Exchange::End::cut);
  EXPECT_LE(node_->heard.size(), 5U);
}

}  // namespace
}  // namespace varve::sim
