#include "api/http_status.h"

#include "actors/agent_teleport.h"
#include "api/body.h"
#include "runtime/json.h"
#include "runtime/mutant.h"

namespace varve {
namespace {

struct StatusRule {
  int status = 500;
  bool retry_after = false;  // It may pass.
  bool never_retry = false;  // The same request can never succeed.
};

StatusRule rule_of(Errc code) {
  switch (code) {
    case Errc::invalid_argument:
      return {422, false, false};
    case Errc::not_found:
      return {404, false, false};
    case Errc::conflict:
      return {409, false, true};
    case Errc::unavailable:
      return {503, true, false};
    case Errc::outcome_unknown:
      return {503, true, false};
    case Errc::corrupt:
      return {503, true, false};
    case Errc::resource_exhausted:
      return {429, true, false};
    case Errc::cancelled:
      return {503, true, false};
  }
  return {};
}

}  // namespace

Response error_response(const Error& error, bool keyless) {
  if (error.code == Errc::not_found && error.message.starts_with(kGone)) {
    return gone_response(std::string_view(error.message).substr(kGone.size()));
  }
  if (error.code == Errc::invalid_argument) return unprocessable(error.message);
  const StatusRule rule = rule_of(error.code);
  Response response = detail_response(rule.status, error.message);
  if (rule.retry_after) response.headers.emplace("retry-after", kRetryAfterSeconds);
  const bool doubtful =
      error.code == Errc::outcome_unknown && keyless && !mutant(Mutant::doubt_may_be_repeated);
  if (rule.never_retry || doubtful) response.headers.emplace("x-should-retry", "false");
  return response;
}

Response gone_response(std::string_view gone) {
  JsonWriter out;
  out.begin_object();
  Response response;
  if (gone.starts_with(kGoneMoved)) {
    const std::string place(gone.substr(std::string_view(kGoneMoved).size()));
    out.field("detail", "the agent has moved to " + place).field("moved_to", place).end_object();
    response = json_response(out.take());
    response.headers.emplace("varve-moved-to", place);
  } else {
    out.field("detail", "the agent has been erased").end_object();
    response = json_response(out.take());
  }
  response.status = 410;
  response.headers.emplace("x-should-retry", "false");
  return response;
}

Response detail_response(int status, std::string_view detail) {
  JsonWriter out;
  out.begin_object().field("detail", detail).end_object();
  Response response = json_response(out.take());
  response.status = status;
  return response;
}

Response unprocessable(std::string_view detail) {
  JsonWriter out;
  out.begin_object().field("trace_id", "").field("detail", detail).end_object();
  Response response = json_response(out.take());
  response.status = 422;
  return response;
}

Response malformed_id(std::string_view parameter, std::string_view prefix, std::string_view got) {
  JsonWriter out;
  out.begin_object().field("trace_id", "");
  out.field("detail", "path." + std::string(parameter) + ": expected " + std::string(prefix) +
                          "-<uuid4 in lower case>, got '" + std::string(got) + "'");
  out.key("examples").begin_array().string(std::string(prefix) + "-123e4567-e89b-42d3-8456-426614174000");
  out.end_array().end_object();
  Response response = json_response(out.take());
  response.status = 422;
  return response;
}

Response refusal(const BodyError& error) {
  return error.status == 422 && !error.plain ? unprocessable(error.detail)
                                             : detail_response(error.status, error.detail);
}

Response json_response(std::string body) {
  Response response;
  response.headers.emplace("content-type", "application/json");
  response.body = std::move(body);
  return response;
}

}  // namespace varve
