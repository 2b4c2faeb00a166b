// Access: what stands before the routes. Who may ask at all (a password), which web pages may (CORS), and an
// id for every request, by which its answer and its line in the log are found.
//
// Promises: with a password, nothing but GET /v1/health/ and the preflights of allowed origins is answered
// without it; the comparison takes the same time for every wrong one. Answers pass through untouched but for
// their headers, so those that stream do too. Never: a password in the log.
#pragma once

#include <string>
#include <vector>

#include "api/http.h"
#include "runtime/env.h"

namespace varve {

struct AccessPolicy {
  std::string password;                   // Empty = nobody is asked.
  std::vector<std::string> cors_origins;  // "https://chat.example", or "*" for all; empty = no CORS.
};

// A client's own x-request-id is kept if it is this long at most, and printable ASCII without spaces.
inline constexpr std::size_t kRequestIdBytesMax = 128;

// `inner` behind the policy. The Env must outlive the handler.
Handler with_access(Env& env, const AccessPolicy& policy, Handler inner);

}  // namespace varve
