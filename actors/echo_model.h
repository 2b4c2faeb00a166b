// EchoModel: answers with the user's own words. Deterministic, offline, the default; it also answers to
// openai/gpt-4o-mini while no key is set, because that is what clients ask for.
#pragma once

#include "actors/model_client.h"

namespace varve {

class EchoModel final : public ModelClient {
 public:
  // Not with the name of OpenAI where OpenAI, or another provider, is configured.
  explicit EchoModel(bool with_openai_name = true) : with_openai_name_(with_openai_name) {}

  bool serves(std::string_view handle) const override;
  std::vector<std::string> handles() const override;
  bool summarizes(std::string_view /*handle*/) const override { return false; }
  Task<ModelOutcome> complete(ModelRequest request, MonoTime deadline) override;

 private:
  bool with_openai_name_;
};

// The text of the newest user message, empty if there is none.
std::string last_user_text(const ModelRequest& request);

}  // namespace varve
