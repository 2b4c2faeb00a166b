// Errors as the API's clients know them: {"detail": ".."}, for a malformed request
// {"trace_id":"","detail":".."}.
#pragma once

#include "api/http.h"
#include "runtime/result.h"

namespace varve {

// The one table from Errc to HTTP. Adds Retry-After to what may pass, x-should-retry: false to what never
// will. `keyless`: the request had no idempotency key, so a client must not repeat it when its outcome is
// unknown.
Response error_response(const Error& error, bool keyless);

Response detail_response(int status, std::string_view detail);
// 410 of an agent that is not here any more; `gone` as ActorState::gone and gone_of() have it.
Response gone_response(std::string_view gone);
// 422: which field, what was expected.
Response unprocessable(std::string_view detail);
// 422 for an id in the path, with an example.
Response malformed_id(std::string_view parameter, std::string_view prefix, std::string_view got);
Response json_response(std::string body);
// A body or a parameter that does not fit.
struct BodyError;
Response refusal(const BodyError& error);

// Seconds that a client should wait before it repeats a request.
inline constexpr const char* kRetryAfterSeconds = "1";

}  // namespace varve
