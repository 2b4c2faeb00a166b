#include "cli/config_layers.h"

#include <algorithm>

#include "cli/config_rules.h"
#include "cli/suggest.h"

namespace varve {
namespace {

constexpr std::string_view kPrefix = "VARVE_";
constexpr std::string_view kProvidersPrefix = "VARVE_PROVIDERS_";
// VARVE_KAFKA__SASL_MECHANISM is the property sasl.mechanism; VARVE_KAFKA_TOPIC is a key of ours.
constexpr std::string_view kPropertiesPrefix = "VARVE_KAFKA__";

// "data_dir" as "DATA_DIR", "my-vllm" as "MY_VLLM".
std::string upper(std::string_view text) {
  std::string out;
  for (const char c : text) {
    out += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : (c == '-' ? '_' : c);
  }
  return out;
}

// "SASL_MECHANISM" as "sasl.mechanism": no property of librdkafka that is text has an underscore.
std::string property_of(std::string_view text) {
  std::string out;
  for (const char c : text) {
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : (c == '_' ? '.' : c);
  }
  return out;
}

std::string lower_with_dashes(std::string_view text) {
  std::string out;
  for (const char c : text) {
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : (c == '_' ? '-' : c);
  }
  return out;
}

class Environment {
 public:
  Environment(const std::map<std::string, std::string>& variables, const std::vector<std::string>& named)
      : variables_(variables), named_(named) {}

  Status read() {
    for (const auto& [name, value] : variables_) {
      if (!name.starts_with(kPrefix)) continue;
      if (Status taken = take_own(name, value); !taken) return taken;
    }
    take_foreign();
    return ok();
  }
  Layer take() { return std::move(layer_); }

 private:
  // An empty variable counts as none, as Compose files make them; but not where that would open a door.
  Status take_own(const std::string& name, const std::string& value) {
    if (name == "VARVE_JOBS" || name == "VARVE_CONFIG") return ok();  // ./dev's own; read before.
    const auto key = key_of(name);
    if (!key) {
      std::vector<std::string> candidates{"VARVE_CONFIG"};
      for (const std::string& one : keys_of(server_rules())) candidates.push_back("VARVE_" + upper(one));
      return Error{Errc::invalid_argument,
                   "unknown environment variable '" + name + "'" + suggestion(name, candidates)};
    }
    if (value.empty() && (*key == "password" || *key == "cluster_secret")) {
      return Error{Errc::invalid_argument, name + ": " + *key + ": it is empty; unset it to have none"};
    }
    if (!value.empty()) add(*key, value, name);
    return ok();
  }

  std::optional<std::string> key_of(const std::string& name) const {
    if (name.starts_with(kPropertiesPrefix))
      return "kafka." + property_of(std::string_view(name).substr(kPropertiesPrefix.size()));
    if (name.starts_with(kProvidersPrefix)) return provider_key_of(name.substr(kProvidersPrefix.size()));
    for (const ConfigRule& rule : server_rules()) {
      if (upper(rule.key) == name.substr(kPrefix.size())) return std::string(rule.key);
    }
    return std::nullopt;
  }

  // "MY_VLLM_API_KEY": no key of a provider ends with another one, so there is one way to cut it.
  std::optional<std::string> provider_key_of(const std::string& rest) const {
    for (const ConfigRule& rule : provider_rules()) {
      const std::string end = "_" + upper(rule.key);
      if (!rest.ends_with(end) || rest.size() == end.size()) continue;
      const std::string name = rest.substr(0, rest.size() - end.size());
      const auto known = std::find_if(named_.begin(), named_.end(),
                                      [&name](const std::string& one) { return upper(one) == name; });
      return "providers." + (known == named_.end() ? lower_with_dashes(name) : *known) + "." +
             std::string(rule.key);
    }
    return std::nullopt;
  }

  // What people who come from a Letta server have set already.
  void take_foreign() {
    take_renamed("LETTA_SERVER_PASS", "password");
    take_renamed("LETTA_DEFAULT_LLM_HANDLE", "default_model");
    const char* base = value_of("OPENAI_BASE_URL") ? "OPENAI_BASE_URL" : "OPENAI_API_BASE";
    // That server calls OpenAI's own address "openai", and any other one "openai-proxy".
    if (take_renamed(base, "providers.openai-proxy.base_url")) {
      take_renamed("OPENAI_API_KEY", "providers.openai-proxy.api_key");
    } else {
      take_renamed("OPENAI_API_KEY", "providers.openai.api_key");
    }
    take_local("OLLAMA_BASE_URL", "providers.ollama.base_url");
    take_local("VLLM_API_BASE", "providers.vllm.base_url");
    take_local("LMSTUDIO_BASE_URL", "providers.lmstudio.base_url");
    take_renamed("OPENROUTER_API_KEY", "providers.openrouter.api_key");
  }
  // They name the server, where we want the base of its OpenAI-compatible routes.
  void take_local(const char* variable, const char* key) {
    const auto value = value_of(variable);
    if (!value) return;
    std::string base = *value;
    while (base.ends_with('/')) base.pop_back();
    if (!base.ends_with("/v1")) base += "/v1";
    add(key, base, variable);
  }
  bool take_renamed(const char* variable, const char* key) {
    const auto value = value_of(variable);
    if (value) add(key, *value, variable);
    return value.has_value();
  }

  std::optional<std::string> value_of(const char* variable) const {
    const auto found = variables_.find(variable);
    if (found == variables_.end() || found->second.empty()) return std::nullopt;
    return found->second;
  }
  // Our own names come first, and win.
  void add(const std::string& key, const std::string& value, const std::string& variable) {
    if (find_value(layer_, key) != nullptr) return;
    layer_.push_back({key, Json::string(value), "environment", variable});
  }

  const std::map<std::string, std::string>& variables_;
  const std::vector<std::string>& named_;
  Layer layer_;
};

// --kafka sasl.mechanism=PLAIN; the last one of a property counts.
void add_property(Layer& layer, const std::string& given) {
  const std::size_t equals = given.find('=');
  const bool whole = equals != std::string::npos && equals > 0;
  RawValue value{whole ? "kafka." + given.substr(0, equals) : "kafka",
                 Json::string(whole ? given.substr(equals + 1) : std::string{}), "flag", "--kafka"};
  std::erase_if(layer, [&value](const RawValue& one) { return one.key == value.key; });
  layer.push_back(std::move(value));
}

}  // namespace

const RawValue* find_value(const Layer& layer, std::string_view key) {
  const auto found =
      std::find_if(layer.begin(), layer.end(), [key](const RawValue& value) { return value.key == key; });
  return found == layer.end() ? nullptr : &*found;
}

Result<Layer> environment_layer(const std::map<std::string, std::string>& environment,
                                const std::vector<std::string>& named) {
  Environment reader(environment, named);
  if (Status read = reader.read(); !read) return read.error();
  return reader.take();
}

Layer flag_layer(const std::map<std::string, std::vector<std::string>>& flags) {
  Layer layer;
  for (const auto& [key, values] : flags) {
    if (key == "config" || values.empty()) continue;
    if (key == "kafka") {
      for (const std::string& value : values) add_property(layer, value);
      continue;
    }
    std::string name = "--" + key;
    std::replace(name.begin(), name.end(), '_', '-');
    std::string joined;
    for (const std::string& value : values) joined += (joined.empty() ? "" : ",") + value;
    layer.push_back({key, Json::string(joined), "flag", name});
  }
  return layer;
}

}  // namespace varve
