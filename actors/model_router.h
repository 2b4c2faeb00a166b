// ModelRouter: several model clients behind one port. A call goes to the first that serves its handle. Pure;
// it owns its clients and asks them anew for every call, because what they serve may change.
#pragma once

#include "actors/model_client.h"

namespace varve {

class ModelRouter final : public ModelClient {
 public:
  explicit ModelRouter(std::vector<std::unique_ptr<ModelClient>> clients);

  bool serves(std::string_view handle) const override;
  // Each handle once, in the order of the clients.
  std::vector<std::string> handles() const override;
  std::vector<ModelInfo> models() const override;
  bool summarizes(std::string_view handle) const override;
  std::string payload(const ModelRequest& request) const override;
  Task<ModelOutcome> complete(ModelRequest request, MonoTime deadline) override;

 private:
  ModelClient* client_for(std::string_view handle) const;

  std::vector<std::unique_ptr<ModelClient>> clients_;
};

}  // namespace varve
