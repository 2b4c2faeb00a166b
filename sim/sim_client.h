// SimClient: a client of the HTTP API on the simulated network, and the retries of the official clients:
// after refused connections, time-outs, 408, 409, 429 and everything from 500 on, unless x-should-retry says
// otherwise; Retry-After is honoured; the key stays the same, the node may change.
//
// Every attempt is told to a hook twice, at its beginning and at its end: an attempt whose client died has no
// end. Thread: its Env's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/network.h"

namespace varve::sim {

// How a client reads a stream. What has no pieces is read whole.
struct Reading {
  std::size_t leave_after = 0;  // Goes away after so many pieces; 0 = stays to the end.
  std::size_t stall_after = 0;  // Stops reading for `stall` after so many pieces; 0 = never.
  Duration stall{};
};

// What came of one attempt.
struct Exchange {
  enum class End : unsigned char {
    whole,      // The answer is complete.
    cut,        // The connection broke. The request may have been delivered.
    refused,    // Certainly not delivered.
    timed_out,  // The patience has ended. The request may have been delivered, and may be yet.
    left,       // The client went away in the middle, as its Reading says.
  };
  End end = End::timed_out;
  // As far as it came: status 0 = nothing.
  int status = 0;
  Headers headers;
  std::string body;
  std::size_t pieces = 0;  // Of a stream.

  std::optional<std::string> header(std::string_view name) const;
};
const char* to_string(Exchange::End end);

struct RetryPolicy {
  int attempts = 3;                              // At most, the first included.
  Duration patience = std::chrono::seconds{60};  // Of each attempt.
  Duration first_wait = std::chrono::milliseconds{500};
  Duration longest_wait = std::chrono::seconds{8};
  bool keyed = true;  // A write without Idempotency-Key gets one.
  // As somebody who must not send a write twice: only what was certainly not delivered, or was answered with
  // leave to try again, is sent again.
  bool careful = false;
};

// One attempt, for histories. Times are the world's.
struct Attempt {
  std::string client;
  std::uint64_t call = 0;  // Attempts of one insist() share it.
  int number = 1;          // Within the call.
  std::string url;
  std::shared_ptr<const Request> asked;
  MonoTime invoked;
  // At its end only.
  MonoTime ended;
  std::optional<Exchange> came;
};

// Whether the official clients would try again.
bool should_retry(const Exchange& came);
// Whether a careful one would.
bool may_repeat(const Exchange& came);
// How long they wait before attempt `number` + 1. `calmer` takes up to a quarter off, in thousandths.
Duration retry_wait(const Exchange& came, int number, const RetryPolicy& policy, std::uint64_t calmer);

class SimClient {
 public:
  // `place` is its name on the network. `env` and `network` outlive it.
  SimClient(SimEnv& env, Network& network, std::string place);

  void on_attempt(std::function<void(const Attempt&)> hook) { hook_ = std::move(hook); }

  // One attempt. Never an Error.
  Task<Exchange> exchange(std::string url, Request request, Duration patience, Reading reading);
  Task<Exchange> exchange(std::string url, Request request, Duration patience);
  // Up to policy.attempts, each at the next of `urls`; what came of the last one.
  Task<Exchange> insist(std::vector<std::string> urls, Request request, RetryPolicy policy);
  Task<Exchange> insist(std::vector<std::string> urls, Request request, RetryPolicy policy, Reading reading);

 private:
  Task<Exchange> attempt(Attempt attempt, Duration patience, Reading reading);
  Task<Exchange> read(std::shared_ptr<Network::Caller> caller, MonoTime deadline, Reading reading);

  SimEnv& env_;
  Network& network_;
  std::string place_;
  std::function<void(const Attempt&)> hook_;
  std::uint64_t calls_ = 0;
};

}  // namespace varve::sim
