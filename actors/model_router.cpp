#include "actors/model_router.h"

#include <set>

namespace varve {
namespace {

Task<ModelOutcome> fail(ModelFailure failure) {
  co_return ModelOutcome{std::move(failure)};
}

}  // namespace

ModelRouter::ModelRouter(std::vector<std::unique_ptr<ModelClient>> clients) : clients_(std::move(clients)) {}

ModelClient* ModelRouter::client_for(std::string_view handle) const {
  for (const auto& client : clients_) {
    if (client->serves(handle)) return client.get();
  }
  return nullptr;
}

bool ModelRouter::serves(std::string_view handle) const {
  return client_for(handle) != nullptr;
}

std::vector<std::string> ModelRouter::handles() const {
  std::vector<std::string> all;
  std::set<std::string> seen;
  for (const auto& client : clients_) {
    for (std::string& handle : client->handles()) {
      if (seen.insert(handle).second) all.push_back(std::move(handle));
    }
  }
  return all;
}

std::vector<ModelInfo> ModelRouter::models() const {
  std::vector<ModelInfo> all;
  std::set<std::string> seen;
  for (const auto& client : clients_) {
    for (ModelInfo& info : client->models()) {
      if (seen.insert(info.handle).second) all.push_back(std::move(info));
    }
  }
  return all;
}

bool ModelRouter::summarizes(std::string_view handle) const {
  const ModelClient* client = client_for(handle);
  return client != nullptr && client->summarizes(handle);
}

std::string ModelRouter::payload(const ModelRequest& request) const {
  const ModelClient* client = client_for(request.model);
  return client != nullptr ? client->payload(request) : ModelClient::payload(request);
}

Task<ModelOutcome> ModelRouter::complete(ModelRequest request, MonoTime deadline) {
  if (ModelClient* client = client_for(request.model)) return client->complete(std::move(request), deadline);
  return fail({400, "llm_bad_request", "no provider serves the model '" + request.model + "'"});
}

}  // namespace varve
