#include "cli/models.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>

#include "actors/echo_model.h"
#include "actors/model_router.h"
#include "actors/openai_model.h"
#include "actors/scripted_model.h"
#include "runtime/sync.h"

namespace varve {
namespace {

constexpr const char* kEcho = "varve/echo";

Result<std::unique_ptr<ModelClient>> read_script(Env& env, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream script;
  script << file.rdbuf();
  if (!file) return Error{Errc::not_found, "cannot read the model script " + path};
  auto model = ScriptedModel::parse(env, script.str());
  if (!model) return model.error();
  return std::unique_ptr<ModelClient>(std::move(*model));
}

OpenAiProvider provider_of(const ProviderConfig& config) {
  OpenAiProvider provider;
  provider.name = config.name;
  provider.base_url = config.base_url;
  provider.api_key = config.api_key;
  provider.provider_type = config.type;
  provider.models = config.models;
  // The newer field is OpenAI's own; local servers were made after the older one.
  const bool newer = config.type == "openai" || config.type == "openrouter";
  provider.max_tokens_field = newer ? "max_completion_tokens" : "max_tokens";
  if (!config.max_tokens_field.empty()) provider.max_tokens_field = config.max_tokens_field;
  if (provider.max_tokens_field == "none") provider.max_tokens_field.clear();
  if (config.context_window > 0) provider.context_window = config.context_window;
  return provider;
}

}  // namespace

ServerModels::ServerModels(RealEnv& env, std::string default_handle, std::string first_provider)
    : env_(env), default_handle_(std::move(default_handle)), first_provider_(std::move(first_provider)) {}

ServerModels::~ServerModels() = default;

Result<std::unique_ptr<ServerModels>> ServerModels::make(RealEnv& env, const Config& config) {
  const bool scripted = !config.model_script.empty();
  std::string first = scripted || config.providers.empty() ? "" : config.providers.front().name;
  std::unique_ptr<ServerModels> models(new ServerModels(env, config.default_model, std::move(first)));
  if (scripted) {
    auto script = read_script(env, config.model_script);
    if (!script) return script.error();
    models->client_ = std::move(*script);
    return models;
  }
  std::vector<std::unique_ptr<ModelClient>> clients;
  std::map<std::string, OpenAiModel::Options> by_certificates;
  for (const ProviderConfig& provider : config.providers) {
    auto& options = by_certificates[provider.ca_file];
    options.ca_file = provider.ca_file;
    options.refresh_time = kRefreshTime;
    options.providers.push_back(provider_of(provider));
  }
  for (auto& [ca_file, options] : by_certificates) {
    auto client = OpenAiModel::make(env, std::move(options));
    if (!client) return client.error();
    models->providers_.push_back(client->get());
    clients.push_back(std::move(*client));
  }
  clients.push_back(std::make_unique<EchoModel>(config.providers.empty()));
  models->client_ = std::make_unique<ModelRouter>(std::move(clients));
  return models;
}

KnownModels ServerModels::known() const {
  KnownModels known;
  known.handles = client_->handles();
  known.models = client_->models();
  known.serves = [client = client_.get()](std::string_view handle) { return client->serves(handle); };
  known.models = client_->models();
  known.default_handle = default_handle_;
  if (!known.default_handle.empty()) return known;
  known.default_handle = client_->serves(kEcho) || known.handles.empty() ? kEcho : known.handles.front();
  if (first_provider_.empty()) return known;
  for (const std::string& handle : known.handles) {
    if (!handle.starts_with(first_provider_ + "/")) continue;
    known.default_handle = handle;
    break;
  }
  return known;
}

Task<> ServerModels::refresh() {
  TaskGroup group(env_);
  for (OpenAiModel* provider : providers_) {
    ignore_error(group.spawn("list models", provider->refresh()), "the group is open");
  }
  group.close();
  ignore_error(co_await group.join(env_.now() + kRefreshTime), "what is late comes into effect later");
  if (!default_handle_.empty() && !client_->serves(default_handle_)) {
    env_.log(LogLevel::warning, "no provider has the default model '" + default_handle_ + "'");
  }
  co_return ok();
}

Task<> ServerModels::keep_fresh(std::function<void()> refreshed) {
  while (!providers_.empty()) {
    const bool complete = std::none_of(providers_.begin(), providers_.end(),
                                       [](const OpenAiModel* one) { return one->handles().empty(); });
    co_await sleep_for(env_, complete ? kRefreshInterval : kRetryInterval);
    if (Status status = co_await refresh(); !status) co_return status.error();
    refreshed();
  }
  co_return ok();
}

}  // namespace varve
