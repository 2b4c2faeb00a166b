#include "cli/fork.h"

#include <poll.h>

#include <algorithm>
#include <iostream>

#include "cli/commands.h"
#include "runtime/real_env.h"

namespace varve {
namespace {

constexpr std::chrono::seconds kForkSeconds{720};  // The server gives a fork ten minutes.
constexpr std::chrono::milliseconds kPauseFirst{200};
constexpr std::chrono::milliseconds kPauseMax{2000};

bool may_pass(const Result<ServerAnswer>& answer) {
  if (!answer) return true;
  const auto retry = answer->headers.find("x-should-retry");
  const bool never = retry != answer->headers.end() && retry->second == "false";
  return (answer->status == 429 || answer->status == 503) && !never;
}

// Sends it again and again while what went wrong may pass, until `give_up`.
Result<ServerAnswer> ask_until(RealEnv& env, const ServerPlace& place, const ServerQuestion& question,
                               MonoTime give_up) {
  std::chrono::milliseconds pause = kPauseFirst;
  for (;;) {
    auto answer = ask_server(place, question);
    if (!may_pass(answer) || env.now() >= give_up) return answer;
    ::poll(nullptr, 0, static_cast<int>(pause.count()));
    pause = std::min(pause * 2, kPauseMax);
  }
}

// The cut that a time or a position means now.
Result<std::string> cut_of(RealEnv& env, const ForkCommand& options, MonoTime give_up) {
  if (options.as_of.find(',') != std::string::npos) return options.as_of;
  ServerQuestion question;
  question.path = "/v1/agents/" + path_segment(options.agent) + "?as_of=" + path_segment(options.as_of);
  const auto answer = ask_until(env, options.place, question, give_up);
  if (!answer) return answer.error();
  if (answer->status != 200) return Error{Errc::not_found, said_by(*answer)};
  const auto cut = answer->headers.find("varve-as-of");
  if (cut != answer->headers.end()) return cut->second;
  return Error{Errc::unavailable, "the server does not say which cut '" + options.as_of + "' means"};
}

int fail(const std::string& why) {
  std::cerr << "varve fork: " << why << "\n";
  return kExitFailed;
}

std::string text_in(const Json& json, std::string_view key) {
  const Json* found = json.find(key);
  return found != nullptr && found->is_string() ? found->as_string() : "";
}

}  // namespace

int run_fork(const ForkCommand& options) {
  RealEnv env;
  const MonoTime give_up = env.now() + std::chrono::seconds{options.retry_seconds};
  const auto cut = cut_of(env, options, give_up);
  if (!cut) return fail(cut.error().message);
  const std::string key = options.key.empty() ? uuid4(env.rng()) : options.key;
  std::cerr << "key: " << key << ", as of " << *cut << std::endl;
  ServerQuestion question;
  question.method = "POST";
  question.path = "/v1/varve/agents/" + path_segment(options.agent) + "/fork";
  question.headers["Idempotency-Key"] = key;
  question.time = kForkSeconds;
  JsonWriter body;
  body.begin_object().field("as_of", *cut);
  if (!options.name.empty()) body.field("name", options.name);
  question.body = body.end_object().take();
  const auto answer = ask_until(env, options.place, question, give_up);
  const auto json = body_of(answer);
  if (!json) {
    const int code = fail(json.error().message);
    if (may_pass(answer)) {
      std::cerr << "varve fork: go on later with --as-of " << *cut << " --key " << key << "\n";
    }
    return code;
  }
  std::cout << (options.json ? json->dump() : text_in(*json, "id")) << std::endl;
  return kExitDone;
}

}  // namespace varve
