#include "actors/echo_model.h"

#include <algorithm>

namespace varve {

bool EchoModel::serves(std::string_view handle) const {
  const auto all = handles();
  return std::find(all.begin(), all.end(), handle) != all.end();
}

std::vector<std::string> EchoModel::handles() const {
  if (!with_openai_name_) return {"varve/echo"};
  return {"varve/echo", "openai/gpt-4o-mini"};
}

Task<ModelOutcome> EchoModel::complete(ModelRequest request, MonoTime /*deadline*/) {
  ModelReply reply;
  reply.text = "You said: " + last_user_text(request);
  reply.prompt_tokens = request.messages_tokens;
  reply.completion_tokens = static_cast<std::int64_t>(reply.text.size() / 4 + 1);
  if (request.on_delta) request.on_delta({ModelDelta::Kind::text, reply.text, 0, "", ""});
  co_return ModelOutcome{std::move(reply)};
}

std::string last_user_text(const ModelRequest& request) {
  for (auto message = request.messages.rbegin(); message != request.messages.rend(); ++message) {
    if ((*message)->role == Role::user) return text_of(**message);
  }
  return {};
}

}  // namespace varve
