// ServerModels: the models of a server as its configuration names them: a script, or the providers and the
// echo model behind one port, with lists that are asked for anew every now and then.
//
// Thread: the RealEnv's, which outlives it. Tasks of it end with the Env's shut_down().
#pragma once

#include <memory>
#include <vector>

#include "actors/model_client.h"
#include "api/body.h"
#include "cli/config.h"
#include "runtime/real_env.h"

namespace varve {

class OpenAiModel;

class ServerModels {
 public:
  static constexpr Duration kRefreshTime = std::chrono::seconds{5};
  static constexpr Duration kRefreshInterval = std::chrono::minutes{10};
  static constexpr Duration kRetryInterval = std::chrono::seconds{15};  // While a provider has no list.

  // Errc::not_found if there is no such script, Errc::invalid_argument says what does not fit.
  static Result<std::unique_ptr<ServerModels>> make(RealEnv& env, const Config& config);
  ~ServerModels();

  ModelClient& client() { return *client_; }
  // As of now. The default is that of the configuration, else the first chat model of the first provider,
  // else the echo model.
  KnownModels known() const;
  // Asks every provider for its list, for kRefreshTime at most. One that is down is only warned about.
  Task<> refresh();
  // Does so for ever, and calls `refreshed` after each time.
  Task<> keep_fresh(std::function<void()> refreshed);

 private:
  ServerModels(RealEnv& env, std::string default_handle, std::string first_provider);

  RealEnv& env_;
  std::string default_handle_;
  std::string first_provider_;
  std::unique_ptr<ModelClient> client_;
  std::vector<OpenAiModel*> providers_;  // Owned by client_.
};

}  // namespace varve
