// OpenAiModel: any number of OpenAI-compatible providers behind the port: OpenAI, vLLM, Ollama, LM Studio,
// llama.cpp, OpenRouter. It asks again where that can help and where nothing has been handed out yet, always
// within the deadline; it never blocks its thread and never prints a key.
#pragma once

#include "actors/model_client.h"

namespace varve {

class RealEnv;

// A reply that says "later" for longer is asked again after this.
inline constexpr Duration kRetryAfterMax = std::chrono::seconds{20};
inline constexpr Duration kRetryPauseMax = std::chrono::seconds{8};

struct OpenAiProvider {
  std::string name;      // The first part of its handles.
  std::string base_url;  // With its version: https://api.openai.com/v1
  std::string api_key;   // Empty = none is sent.
  std::string provider_type = "openai";
  // As the provider names them; empty = it is asked by refresh().
  std::vector<std::string> models;
  // Servers that know only the older field want "max_tokens"; empty = no limit is sent.
  std::string max_tokens_field = "max_completion_tokens";
  std::int64_t context_window = 128'000;  // Of models for which the provider does not say it.
  Duration connect_time = std::chrono::seconds{10};
  // Of a stream without a byte: a slow model thinks before its first. Answers in one piece have the deadline.
  Duration idle_time = std::chrono::seconds{300};
  int retries_max = 2;
};

class OpenAiModel final : public ModelClient {
 public:
  struct Options {
    std::vector<OpenAiProvider> providers;
    std::string ca_file;                                    // Empty = the certificates of the system.
    std::string proxy;                                      // URL; empty = none.
    Duration retry_pause = std::chrono::milliseconds{500};  // Before the first retry; doubles.
    Duration refresh_time = std::chrono::seconds{10};       // For all lists of one refresh().
  };

  // Errc::invalid_argument says which option does not fit.
  static Result<std::unique_ptr<OpenAiModel>> make(RealEnv& env, Options options);
  // Ends every call. The Env must still be there; it may have been shut down.
  ~OpenAiModel() override;

  // True for what a provider lists, and for any name at a provider that has never been reached.
  bool serves(std::string_view handle) const override;
  std::vector<std::string> handles() const override;
  std::vector<ModelInfo> models() const override;
  std::string payload(const ModelRequest& request) const override;
  Task<ModelOutcome> complete(ModelRequest request, MonoTime deadline) override;

  // Asks every provider without a list of its own what it has. One that is down keeps the list that it had,
  // and is warned about once until it is back.
  Task<> refresh();

  struct Impl;

 private:
  explicit OpenAiModel(std::shared_ptr<Impl> impl);

  std::shared_ptr<Impl> impl_;
};

}  // namespace varve
