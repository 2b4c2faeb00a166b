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

  // What follows "kafka.".
  static std::optional<std::string> property_in(const std::string& key) {
    constexpr std::string_view kProperties = "kafka.";
    if (!key.starts_with(kProperties)) return std::nullopt;
    return key.substr(kProperties.size());
  }

  Status check_key(const RawValue& raw) const {
    if (raw.key == "kafka" || raw.key == "kafka.") {
      return config_error(raw, raw.origin == "flag" ? "expected PROPERTY=VALUE, as in sasl.mechanism=PLAIN"
                                                    : "expected a table of properties of librdkafka");
    }
    if (const auto property = property_in(raw.key)) {
      const std::string_view fault = fault_of_property(*property);
      return fault.empty() ? ok() : Status{config_error(raw, fault)};
    }
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
    if (!provider) candidates.insert(candidates.end(), {"providers", "kafka"});
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
  using FoundKeys = std::map<std::string, Found, std::less<>>;
  Result<FoundKeys> find_all(const std::vector<ConfigRule>& rules, const std::string& prefix) const {
    FoundKeys all;
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

  void set_defaults(FoundKeys& found) const {
    const auto set_default = [&found](const char* key, Json value) {
      if (found[key].rank == kNotSet) found[key].value = std::move(value);
    };
    Json roles = Json::array();
    for (const char* role : {"api", "actors", "projections"}) roles.push_back(Json::string(role));
    set_default("listen", Json::string(config_.host + ":" + std::to_string(config_.port)));
    set_default("partitions", Json::integer(config_.partitions));
    set_default("insecure", Json::boolean(config_.insecure));
    set_default("open_metrics", Json::boolean(config_.open_metrics));
    set_default("cors_origins", Json::array());
    set_default("log_format", Json::string(config_.log_format));
    set_default("log_level", Json::string(config_.log_level));
    set_default("log", Json::string(config_.log));
    set_default("store", Json::string(config_.store));
    set_default("kafka_brokers", Json::array());
    set_default("kafka_topic", Json::string(config_.kafka.topic));
    set_default("kafka_replication_factor", Json::integer(config_.kafka.replication_factor));
    set_default("kafka_session_timeout", Json::integer(config_.kafka.session_timeout.count()));
    set_default("postgres_connections", Json::integer(config_.postgres.connections));
    set_default("migrate", Json::boolean(config_.postgres.migrate));
    set_default("roles", std::move(roles));
    set_default("cluster", Json::string(config_.cluster));
    set_default("drain_timeout", Json::integer(config_.drain_timeout.count()));
    set_default("ready_lag_records", Json::integer(config_.ready_lag_records));
    set_default("ready_lag", Json::integer(config_.ready_lag.count()));
    set_default("ack_log_lag_records", Json::integer(config_.ack_log_lag_records));
    set_default("verify_continuous", Json::boolean(config_.verify_continuous));
    set_default("verify_rate", Json::integer(config_.verify_rate));
    set_default("verify_pause", Json::integer(config_.verify_pause.count()));
  }

  Status fill_secrets(FoundKeys& found) {
    for (const auto& [key, value] : {std::pair{"password", &config_.password},
                                     std::pair{"postgres_password", &config_.postgres.password},
                                     std::pair{"cluster_secret", &config_.cluster_secret}}) {
      auto secret = secret_of(found[key], found[key + std::string("_file")]);
      if (!secret) return secret.error();
      *value = std::move(*secret);
    }
    return ok();
  }

  static std::uint32_t number_of(const Found& found) {
    return static_cast<std::uint32_t>(found.value.as_integer().value_or(0));
  }

  // Log, store and cluster.
  Status fill_cluster(FoundKeys& found) {
    config_.log = found["log"].text();
    config_.store = found["store"].text();
    config_.kafka.brokers = found["kafka_brokers"].list();
    config_.kafka.topic = found["kafka_topic"].text();
    config_.kafka.replication_factor = number_of(found["kafka_replication_factor"]);
    config_.kafka.session_timeout = std::chrono::seconds{number_of(found["kafka_session_timeout"])};
    config_.kafka.static_member = found["kafka_static_member"].text();
    config_.postgres.url = found["postgres_url"].text();
    config_.postgres.connections = number_of(found["postgres_connections"]);
    config_.postgres.migrate = found["migrate"].value.as_boolean();
    const std::vector<std::string> roles = found["roles"].list();
    if (roles.empty()) return config_error(found["roles"].raw, "a process needs a role at least");
    const auto has = [&roles](const char* role) {
      return std::find(roles.begin(), roles.end(), role) != roles.end();
    };
    config_.roles = {has("api"), has("actors"), has("projections")};
    config_.cluster = found["cluster"].text();
    config_.node_url = found["node_url"].text();
    config_.drain_timeout = std::chrono::seconds{number_of(found["drain_timeout"])};
    config_.ready_lag_records = number_of(found["ready_lag_records"]);
    config_.ready_lag = std::chrono::seconds{number_of(found["ready_lag"])};
    config_.ack_log_lag_records = number_of(found["ack_log_lag_records"]);
    config_.verify_continuous = found["verify_continuous"].value.as_boolean();
    config_.verify_rate = number_of(found["verify_rate"]);
    config_.verify_pause = std::chrono::seconds{number_of(found["verify_pause"])};
    return ok();
  }

  Status fill_server() {
    auto all = find_all(server_rules(), "");
    if (!all) return all.error();
    auto& found = *all;
    set_defaults(found);
    if (Status filled = fill_secrets(found); !filled) return filled;
    if (Status filled = fill_cluster(found); !filled) return filled;

    auto listen = split_listen(found["listen"].text());
    config_.data_dir = found["data_dir"].text();
    config_.host = std::move(listen->first);
    config_.port = listen->second;
    config_.partitions = number_of(found["partitions"]);
    config_.model_script = found["model_script"].text();
    config_.insecure = found["insecure"].value.as_boolean();
    config_.open_metrics = found["open_metrics"].value.as_boolean();
    config_.cors_origins = found["cors_origins"].list();
    config_.log_format = found["log_format"].text();
    config_.log_level = found["log_level"].text();
    config_.default_model = found["default_model"].text();
    for (const ConfigRule& rule : server_rules()) {
      const Found& one = found[std::string(rule.key)];
      if (rule.secret) {
        const Found& file = found[std::string(rule.key) + "_file"];
        record_secret(std::string(rule.key), one, file, one.rank != kNotSet || file.rank != kNotSet);
      } else {
        record(std::string(rule.key), one, one.value);
      }
    }
    return fill_properties();
  }

  // The table [kafka]: librdkafka judges the values.
  Status fill_properties() {
    std::map<std::string, Found> properties;
    for (const Layer* layer : {&file_, &environment_, &flags_}) {
      for (const RawValue& raw : *layer) {
        const auto property = property_in(raw.key);
        if (!property) continue;
        const ConfigRule rule = property_rule(*property);
        RawValue given = raw;
        if (given.value.is_number() || given.value.is_boolean()) given.value = Json::string(raw.value.dump());
        auto value = checked(rule, given);
        if (!value) return value.error();
        const std::size_t rank = layer == &file_ ? 1 : (layer == &environment_ ? 2 : 3);
        properties[*property] = {std::move(*value), raw, rank};
      }
    }
    for (const auto& [property, found] : properties) {
      config_.kafka.properties.emplace(property, found.text());
      const bool secret = property_rule(property).secret;
      record("kafka." + property, found, secret ? Json::string("(set)") : found.value);
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

// Every address of this machine, which is none to others.
bool is_wildcard(const std::string& host) {
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(host, error);
  return !error && address.is_unspecified();
}

Error not_together(const std::string& what) {
  return Error{Errc::invalid_argument, what};
}

// A log in one file has one process, and what it makes has one place.
Status check_kafka(const Config& config) {
  if (config.kafka.brokers.empty()) {
    return not_together("log = kafka: give kafka_brokers (HOST:PORT, several with commas between them)");
  }
  if (config.store != "postgres") {
    return not_together(
        "log = kafka needs store = postgres: the nodes of a topic share their views, and a file has one "
        "process");
  }
  if (config.node_url.empty() && is_wildcard(config.host)) {
    return not_together(
        "other nodes cannot reach " + config.host +
        ": say in node_url where this one is, as in http://node-1:" + std::to_string(config.port));
  }
  // Whoever has the secret writes what he likes: it is a password of its own.
  if (config.cluster_secret.empty() && !config.insecure && !is_loopback(config.host)) {
    return not_together("other machines can reach " + config.host +
                        ", and the nodes have no secret: give --cluster-secret-file FILE (or "
                        "VARVE_CLUSTER_SECRET), listen on 127.0.0.1, or say --insecure if everybody may do "
                        "everything");
  }
  return ok();
}

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

Status check_server(const Config& config) {
  if (config.log == "sqlite" && config.data_dir.empty()) {
    return not_together(
        "which data directory? Give --data-dir DIR, VARVE_DATA_DIR, or data_dir in the file of --config");
  }
  if (config.password.empty() && !config.insecure && !is_loopback(config.host)) {
    return not_together(
        "other machines can reach " + config.host +
        ", and there is no password: give --password-file FILE (or VARVE_PASSWORD), listen on "
        "127.0.0.1, or say --insecure if everybody may do everything");
  }
  if (config.log == "sqlite" && !config.roles.all()) {
    return not_together(
        "roles: a log in a file has one process, which does everything; log = kafka has many");
  }
  if (config.store == "postgres" && config.postgres.url.empty()) {
    return not_together("store = postgres: give postgres_url, as in postgresql://varve@127.0.0.1:5432/varve");
  }
  return config.log == "kafka" ? check_kafka(config) : ok();
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
