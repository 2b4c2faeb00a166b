#include "sim/sim_client.h"

#include <algorithm>
#include <charconv>

#include "runtime/suspend.h"

namespace varve::sim {

namespace {

constexpr std::uint64_t kJitterMax = 251;  // Thousandths of the wait.
constexpr std::int64_t kRetryAfterSecondsMax = 60;

std::optional<std::int64_t> whole_number(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  std::int64_t number = 0;
  const char* end = text->data() + text->size();
  const auto parsed = std::from_chars(text->data(), end, number);
  if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
  return number;
}

// What the server asks for, if it is a sensible time.
std::optional<Duration> asked_wait(const Exchange& came) {
  constexpr std::int64_t kMillisMax = kRetryAfterSecondsMax * 1000;
  if (const auto ms = whole_number(came.header("retry-after-ms")); ms && *ms > 0 && *ms <= kMillisMax) {
    return std::chrono::milliseconds{*ms};
  }
  const auto seconds = whole_number(came.header("retry-after"));
  if (seconds && *seconds > 0 && *seconds <= kRetryAfterSecondsMax) return std::chrono::seconds{*seconds};
  return std::nullopt;
}

}  // namespace

const char* to_string(Exchange::End end) {
  switch (end) {
    case Exchange::End::whole:
      return "whole";
    case Exchange::End::cut:
      return "cut";
    case Exchange::End::refused:
      return "refused";
    case Exchange::End::timed_out:
      return "timed out";
    case Exchange::End::left:
      return "left";
  }
  return "";
}

std::optional<std::string> Exchange::header(std::string_view name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? std::nullopt : std::optional<std::string>{found->second};
}

bool should_retry(const Exchange& came) {
  // Once an answer has begun, what breaks it off is the caller's to handle.
  if (came.status == 0) return came.end != Exchange::End::left;
  const auto told = came.header("x-should-retry");
  if (told == "true") return true;
  if (told == "false") return false;
  return came.status == 408 || came.status == 409 || came.status == 429 || came.status >= 500;
}

bool may_repeat(const Exchange& came) {
  if (came.end == Exchange::End::refused) return true;
  return came.end == Exchange::End::whole && should_retry(came);
}

Duration retry_wait(const Exchange& came, int number, const RetryPolicy& policy, std::uint64_t calmer) {
  if (const auto asked = asked_wait(came)) return *asked;
  Duration wait = policy.first_wait;
  for (int i = 1; i < number && wait < policy.longest_wait; ++i) wait *= 2;
  wait = std::min(wait, policy.longest_wait);
  return wait - wait / 1000 * static_cast<std::int64_t>(calmer);
}

SimClient::SimClient(SimEnv& env, Network& network, std::string place)
    : env_(env), network_(network), place_(std::move(place)) {}

Task<Exchange> SimClient::exchange(std::string url, Request request, Duration patience) {
  return exchange(std::move(url), std::move(request), patience, Reading{});
}

Task<Exchange> SimClient::exchange(std::string url, Request request, Duration patience, Reading reading) {
  Attempt only;
  only.call = ++calls_;
  only.url = std::move(url);
  only.asked = std::make_shared<const Request>(std::move(request));
  return attempt(std::move(only), patience, reading);
}

Task<Exchange> SimClient::attempt(Attempt attempt, Duration patience, Reading reading) {
  attempt.client = place_;
  attempt.invoked = network_.now();
  if (hook_) hook_(attempt);
  const MonoTime deadline = env_.now() + patience;
  Request request = *attempt.asked;
  auto caller = network_.open(env_, place_, attempt.url, std::move(request), /*repeatable=*/false);
  auto came = co_await read(std::move(caller), deadline, reading);
  if (!came) co_return came.error();
  attempt.ended = network_.now();
  attempt.came = *came;
  if (hook_) hook_(attempt);
  co_return came;
}

Task<Exchange> SimClient::read(std::shared_ptr<Network::Caller> caller, MonoTime deadline, Reading reading) {
  using Kind = Network::Arrival::Kind;
  Exchange came;
  for (;;) {
    auto next = co_await caller->next(deadline);
    if (!next) {
      came.end = caller->sent() ? Exchange::End::timed_out : Exchange::End::refused;
      co_return came;
    }
    Response& said = next->response;
    if (next->kind == Kind::whole || next->kind == Kind::head) {
      came.status = said.status;
      came.headers = std::move(said.headers);
    }
    if (next->kind == Kind::whole || next->kind == Kind::piece) came.body += said.body;
    if (next->kind == Kind::whole || next->kind == Kind::end) {
      came.end = Exchange::End::whole;
      co_return came;
    }
    if (next->kind == Kind::reset || next->kind == Kind::refused) {
      came.end = next->kind == Kind::reset ? Exchange::End::cut : Exchange::End::refused;
      co_return came;
    }
    if (next->kind != Kind::piece) continue;
    ++came.pieces;
    if (came.pieces == reading.leave_after) {
      came.end = Exchange::End::left;
      co_return came;
    }
    if (came.pieces == reading.stall_after) co_await sleep_for(env_, reading.stall);
  }
}

Task<Exchange> SimClient::insist(std::vector<std::string> urls, Request request, RetryPolicy policy) {
  return insist(std::move(urls), std::move(request), policy, Reading{});
}

Task<Exchange> SimClient::insist(std::vector<std::string> urls, Request request, RetryPolicy policy,
                                 Reading reading) {
  CHECK(!urls.empty());
  const bool write = request.method != "GET" && request.method != "HEAD";
  if (write && policy.keyed && !request.header("idempotency-key")) {
    request.headers.emplace("idempotency-key", uuid4(env_.rng()));
  }
  const auto asked = std::make_shared<const Request>(std::move(request));
  const std::uint64_t call = ++calls_;
  const Track track{Domain::workload, number_in(place_)};
  std::size_t at = network_.choices().choose(track, urls.size());
  for (int number = 1;; ++number) {
    Attempt next;
    next.call = call;
    next.number = number;
    next.url = urls[at];
    next.asked = asked;
    auto came = co_await attempt(std::move(next), policy.patience, reading);
    const bool again = came && (policy.careful ? may_repeat(*came) : should_retry(*came));
    if (!again || number >= policy.attempts) co_return came;
    const std::uint64_t calmer = network_.choices().choose(track, kJitterMax);
    const Duration wait = retry_wait(*came, number, policy, calmer);
    co_await sleep_for(env_, wait);
    at = (at + 1) % urls.size();
  }
}

}  // namespace varve::sim
