// The chat completions format of OpenAI as its many imitators speak it: requests are printed, lists of models
// read, failures named. Replies are read by chat_reply.h. Pure; what is opaque passes as its own JSON text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "actors/model_client.h"
#include "runtime/json.h"

namespace varve {

// No more of a provider's own words gets into a message.
inline constexpr std::size_t kProviderWordsMax = 1000;
// Of a provider's list of models; the rest is left out.
inline constexpr std::size_t kListedModelsMax = 10'000;
inline constexpr std::size_t kModelNameMax = 256;

// In what providers differ.
struct ChatDialect {
  std::string model;                                       // As the provider names it.
  std::string max_tokens_field = "max_completion_tokens";  // Or max_tokens; empty = no limit is sent.
};

// The body of POST {base}/chat/completions. The context may have been trimmed anywhere, but a provider takes
// a tool's result only right behind its call: results are put there, one without a call is left out, and a
// call without a result gets one that says so.
std::string chat_request_body(const ModelRequest& request, const ChatDialect& dialect);

// A failure as the turn reports it. `body` is the provider's answer, if there was one.
ModelFailure failure_of_status(std::string_view provider, int status, std::string_view body);
ModelFailure llm_error(std::string_view provider, std::string_view what);
ModelFailure llm_timeout(std::string_view provider, std::string_view what);
// What the provider says went wrong; empty if it does not in a form that we know.
std::string provider_words(const Json& body);

struct ListedModel {
  std::string name;
  std::int64_t context_window = 0;  // 0 = the provider does not say.
  friend bool operator==(const ListedModel&, const ListedModel&) = default;
};
// The answer to GET {base}/models. Errc::invalid_argument if it is none.
Result<std::vector<ListedModel>> parse_model_list(std::string_view body);
bool is_embedding_model(std::string_view name);
std::int64_t embedding_dim_of(std::string_view name);

// Json::parse for what models and providers print: bytes and escapes that are no text become U+FFFD.
Result<Json> parse_mended_json(std::string_view text);

}  // namespace varve
