// Access: what stands before the routes. Who may ask at all (a password), which web pages may (CORS), and an
// id for every request, by which its answer and its line in the log are found.
//
// Promises: with a password, nothing but GET /v1/health/, GET /v1/ready/, the preflights of allowed origins
// and (if open_metrics) GET /metrics is answered without it; the comparison takes the same time for every
// wrong one. Answers pass through untouched but for their headers, so those that stream do too. Never: a
// password in the log.
#pragma once

#include <string>
#include <vector>

#include "api/http.h"
#include "eventlog/record.h"
#include "runtime/env.h"

namespace varve {

struct AccessPolicy {
  std::string password;                   // Empty = nobody is asked.
  std::vector<std::string> cors_origins;  // "https://chat.example", or "*" for all; empty = no CORS.
  bool open_metrics = false;              // GET /metrics needs no password.
};

// `inner` behind the policy. A client's own x-request-id is kept if is_request_id() likes it; else a new one
// takes its place, also for `inner`. The Env must outlive the handler.
Handler with_access(Env& env, const AccessPolicy& policy, Handler inner);

}  // namespace varve
