#include "cli/config.h"

#include <algorithm>
#include <array>
#include <boost/asio/ip/address.hpp>

#include "cli/config_rules.h"
#include "cli/suggest.h"

namespace varve {
namespace {

constexpr std::size_t kNotSet = 0;

// Where providers of a type are found if nothing else is said; empty for none.
std::string_view usual_address(std::string_view type) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kAddresses{{
      {"openai", "https://api.openai.com/v1"},
      {"openrouter", "https://openrouter.ai/api/v1"},
      {"ollama", "http://127.0.0.1:11434/v1"},
      {"vllm", "http://127.0.0.1:8000/v1"},
      {"lmstudio", "http://127.0.0.1:1234/v1"},
      {"llamacpp", "http://127.0.0.1:8080/v1"},
  }};
  for (const auto& [name, address] : kAddresses) {
    if (name == type) return address;
  }
  return {};
}

Result<std::string> first_line_of(const std::string& text, const RawValue& from) {
  std::string line = text.substr(0, text.find('\n'));
  if (line.ends_with('\r')) line.pop_back();
  const std::string_view fault = fault_of_password(line);
  if (!fault.empty()) return config_error(from, "the first line of that file " + std::string(fault));
  return line;
}

class Loader {
 public:
  explicit Loader(const ConfigInput& input) : input_(input) {}

  Result<Config> load() {
    if (Status read = read_layers(); !read) return read.error();
    for (const Layer* layer : {&file_, &environment_, &flags_}) {
      for (const RawValue& raw : *layer) {
        if (Status known = check_key(raw); !known) return known.error();
      }
    }
    if (Status filled = fill_server(); !filled) return filled.error();
    for (const std::string& name : names_) {
      if (Status filled = fill_provider(name); !filled) return filled.error();
    }
    return std::move(config_);
  }

 private:
  struct Found {
    Json value;  // null = not set.
    RawValue raw;
    std::size_t rank = kNotSet;  // 1 file, 2 environment, 3 flag.

    std::string text() const { return value.is_null() ? std::string{} : value.as_string(); }
    std::vector<std::string> list() const {
      std::vector<std::string> items;
      for (const Json& item : value.items()) items.push_back(item.as_string());
      return items;
    }
  };

  Status read_layers() {
    Setting setting{"config", Json::null(), "default"};
    std::string path;
    if (const auto variable = input_.environment.find("VARVE_CONFIG");
        variable != input_.environment.end() && !variable->second.empty()) {
      path = variable->second;
      setting.source = "environment VARVE_CONFIG";
    }
    if (const auto flag = input_.flags.find("config"); flag != input_.flags.end() && !flag->second.empty()) {
      path = flag->second.back();
      setting.source = "flag --config";
    }
    if (!path.empty()) {
      setting.value = Json::string(path);
      auto text = input_.read_file(path);
      if (!text) return Error{Errc::invalid_argument, setting.source + ": " + text.error().message};
      auto layer = file_layer(*text, path);
      if (!layer) return layer.error();
      file_ = std::move(*layer);
    }
    config_.settings.push_back(std::move(setting));
    for (const RawValue& raw : file_) add_name(raw.key);
    auto environment = environment_layer(input_.environment, names_);
    if (!environment) return environment.error();
    environment_ = std::move(*environment);
    for (const RawValue& raw : environment_) add_name(raw.key);
    flags_ = flag_layer(input_.flags);
    return ok();
  }

  // "providers.NAME" or "providers.NAME.key".
  static std::optional<std::pair<std::string, std::string>> split_provider(const std::string& key) {
    constexpr std::string_view kProviders = "providers.";
    if (!key.starts_with(kProviders)) return std::nullopt;
    const std::string rest = key.substr(kProviders.size());
    const std::size_t dot = rest.rfind('.');
    if (dot == std::string::npos) return std::pair{rest, std::string{}};
    return std::pair{rest.substr(0, dot), rest.substr(dot + 1)};
  }
  void add_name(const std::string& key) {
    const auto split = split_provider(key);
    if (split && std::find(names_.begin(), names_.end(), split->first) == names_.end())
      names_.push_back(split->first);
  }

  Status check_key(const RawValue& raw) const {
    const auto provider = split_provider(raw.key);
    if (raw.key == "providers" || (provider && provider->second.empty() && !raw.value.is_object())) {
      return config_error(raw, "expected a table for each provider, as in [providers.ollama]");
    }
    if (provider && !is_provider_name(provider->first)) {
      return config_error(raw,
                          "expected a provider's name of small letters, digits, '-' and '_' that is not "
                          "'varve', got '" +
                              provider->first + "'");
    }
    if (provider && names_.size() > kProvidersMax) {
      return config_error(raw, "these are more than " + std::to_string(kProvidersMax) + " providers");
    }
    const auto& rules = provider ? provider_rules() : server_rules();
    const std::string& key = provider ? provider->second : raw.key;
    if ((provider && key.empty()) || find_rule(rules, key) != nullptr) return ok();
    std::vector<std::string> candidates = keys_of(rules);
    if (!provider) candidates.emplace_back("providers");
    return Error{Errc::invalid_argument,
                 raw.where + ": unknown key '" + raw.key + "'" + suggestion(key, candidates)};
  }

  Result<Found> find(const ConfigRule& rule, const std::string& prefix) const {
    const std::string key = prefix + std::string(rule.key);
    Found found;
    // Also what is overridden must be right: it would be wrong one day.
    for (const Layer* layer : {&file_, &environment_, &flags_}) {
      const RawValue* raw = find_value(*layer, key);
      if (raw == nullptr) continue;
      auto value = checked(rule, *raw);
      if (!value) return value.error();
      const std::size_t rank = layer == &file_ ? 1 : (layer == &environment_ ? 2 : 3);
      found = {std::move(*value), *raw, rank};
    }
    return found;
  }

  // Every key of `rules`, found and checked.
  Result<std::map<std::string, Found, std::less<>>> find_all(const std::vector<ConfigRule>& rules,
                                                             const std::string& prefix) const {
    std::map<std::string, Found, std::less<>> all;
    for (const ConfigRule& rule : rules) {
      auto found = find(rule, prefix);
      if (!found) return found.error();
      all.emplace(rule.key, std::move(*found));
    }
    return all;
  }

  // A secret, or the first line of the file that holds it; the one from nearer to the user counts.
  Result<std::string> secret_of(const Found& plain, const Found& file) const {
    if (plain.rank == kNotSet && file.rank == kNotSet) return std::string{};
    if (plain.rank == file.rank) {
      return config_error(plain.raw, "give this or " + file.raw.key + " (" + file.raw.where + "), not both");
    }
    if (plain.rank > file.rank) return plain.text();
    auto text = input_.read_file(file.text());
    if (!text) return config_error(file.raw, text.error().message);
    return first_line_of(*text, file.raw);
  }

  void record(const std::string& key, const Found& found, Json value) {
    std::string source = found.rank == kNotSet ? "default" : found.raw.origin + " " + found.raw.where;
    config_.settings.push_back({key, std::move(value), std::move(source)});
  }
  void record_secret(const std::string& key, const Found& plain, const Found& file, bool is_set) {
    record(key, file.rank > plain.rank ? file : plain, is_set ? Json::string("(set)") : Json::null());
  }

  Status fill_server() {
    auto all = find_all(server_rules(), "");
    if (!all) return all.error();
    auto& found = *all;
    const auto set_default = [&found](const char* key, Json value) {
      if (found[key].rank == kNotSet) found[key].value = std::move(value);
    };
    set_default("listen", Json::string(config_.host + ":" + std::to_string(config_.port)));
    set_default("partitions", Json::integer(config_.partitions));
    set_default("insecure", Json::boolean(config_.insecure));
    set_default("cors_origins", Json::array());
    set_default("log_format", Json::string(config_.log_format));
    set_default("log_level", Json::string(config_.log_level));
    auto password = secret_of(found["password"], found["password_file"]);
    if (!password) return password.error();

    auto listen = split_listen(found["listen"].text());
    config_.data_dir = found["data_dir"].text();
    config_.host = std::move(listen->first);
    config_.port = listen->second;
    config_.partitions = static_cast<std::uint32_t>(found["partitions"].value.as_integer().value_or(0));
    config_.model_script = found["model_script"].text();
    config_.password = std::move(*password);
    config_.insecure = found["insecure"].value.as_boolean();
    config_.cors_origins = found["cors_origins"].list();
    config_.log_format = found["log_format"].text();
    config_.log_level = found["log_level"].text();
    config_.default_model = found["default_model"].text();
    for (const ConfigRule& rule : server_rules()) {
      const Found& one = found[std::string(rule.key)];
      if (rule.secret) {
        record_secret("password", one, found["password_file"], !config_.password.empty());
      } else {
        record(std::string(rule.key), one, one.value);
      }
    }
    return ok();
  }

  Status fill_provider(const std::string& name) {
    const std::string prefix = "providers." + name + ".";
    auto all = find_all(provider_rules(), prefix);
    if (!all) return all.error();
    auto& found = *all;
    ProviderConfig provider;
    provider.name = name;
    // A table [providers.ollama] need not say twice what it is.
    const auto& types = find_rule(provider_rules(), "type")->choices;
    if (std::find(types.begin(), types.end(), name) != types.end()) provider.type = name;
    if (found["type"].rank != kNotSet) provider.type = found["type"].text();
    found["type"].value = Json::string(provider.type);
    if (found["base_url"].rank == kNotSet) {
      found["base_url"].value = Json::string(std::string(usual_address(provider.type)));
    }
    provider.base_url = found["base_url"].text();
    while (provider.base_url.ends_with('/')) provider.base_url.pop_back();
    auto key = secret_of(found["api_key"], found["api_key_file"]);
    if (!key) return key.error();
    provider.api_key = std::move(*key);
    provider.models = found["models"].list();
    provider.max_tokens_field = found["max_tokens_field"].text();
    provider.ca_file = found["ca_file"].text();
    if (found["context_window"].rank != kNotSet) {
      provider.context_window = found["context_window"].value.as_integer().value_or(0);
    }
    for (const ConfigRule& rule : provider_rules()) {
      const Found& one = found[std::string(rule.key)];
      if (rule.secret) {
        record_secret(prefix + "api_key", one, found["api_key_file"], !provider.api_key.empty());
      } else {
        record(prefix + std::string(rule.key), one, one.value);
      }
    }
    config_.providers.push_back(std::move(provider));
    return ok();
  }

  const ConfigInput& input_;
  Layer file_;
  Layer environment_;
  Layer flags_;
  std::vector<std::string> names_;  // Of providers, in order.
  Config config_;
};

std::string shown_value(const Json& value) {
  if (value.is_null()) return "(not set)";
  if (value.is_string()) return value.as_string();
  if (!value.is_array()) return value.dump();
  std::string text;
  for (const Json& item : value.items()) text += (text.empty() ? "" : ",") + item.as_string();
  return text.empty() ? "(none)" : text;
}

}  // namespace

Result<Config> load_config(const ConfigInput& input) {
  return Loader(input).load();
}

std::string show_config(const Config& config, bool json) {
  if (json) {
    JsonWriter out;
    out.begin_object().key("settings").begin_array();
    for (const Setting& setting : config.settings) {
      out.begin_object().field("key", setting.key).field_raw("value", setting.value.dump());
      out.field("source", setting.source).end_object();
    }
    return out.end_array().end_object().take() + "\n";
  }
  std::size_t key_columns = 0;
  std::size_t value_columns = 0;
  constexpr std::size_t kValueColumnsMax = 48;
  for (const Setting& setting : config.settings) {
    key_columns = std::max(key_columns, setting.key.size());
    value_columns = std::max(value_columns, std::min(kValueColumnsMax, shown_value(setting.value).size()));
  }
  const auto padded = [](std::string text, std::size_t columns) {
    if (text.size() < columns) text.resize(columns, ' ');
    return text + "  ";
  };
  std::string text;
  for (const Setting& setting : config.settings) {
    text += padded(setting.key, key_columns) + padded(shown_value(setting.value), value_columns) +
            setting.source + "\n";
  }
  return text;
}

bool is_loopback(std::string_view host) {
  if (host == "localhost") return true;
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(std::string(host), error);
  return !error && address.is_loopback();
}

std::string url_of(const std::string& host, std::uint16_t port) {
  const bool bare_ipv6 = host.find(':') != std::string::npos;
  return "http://" + (bare_ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

}  // namespace varve
