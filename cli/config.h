// Config: what `varve` was told, by a TOML file, the environment and flags; flags win over the environment,
// the environment over the file, the file over the defaults. Every value knows where it came from.
//
// Promises: a key that does not exist, a value of another type and one out of range are errors that name the
// key, what was expected, what was found and where. Pure: files are read by the function that it is given.
// Never: a secret in a message or in show_config().
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "eventlog/ids.h"
#include "runtime/json.h"

namespace varve {

inline constexpr std::size_t kConfigFileBytesMax = std::size_t{1} << 20U;
inline constexpr std::size_t kProvidersMax = 64;

// An OpenAI-compatible provider of models. Its models are named NAME/model.
struct ProviderConfig {
  std::string name;
  std::string type = "openai";  // openai, vllm, ollama, lmstudio, llamacpp, openrouter
  std::string base_url;         // Without a slash at its end.
  std::string api_key;
  std::vector<std::string> models;  // Empty = all that the provider lists.
  std::string max_tokens_field;     // Empty = what suits the type; "none" = no limit is sent.
  std::string ca_file;              // Empty = the system's certificates.
  std::int64_t context_window = 0;  // 0 = what the provider says.

  friend bool operator==(const ProviderConfig&, const ProviderConfig&) = default;
};

// Where the log is, if it is Kafka's.
struct KafkaConfig {
  std::vector<std::string> brokers;  // "HOST:PORT"
  std::string topic = "varve.events";
  std::uint32_t replication_factor = 3;  // Of a topic that is made here.
  std::chrono::seconds session_timeout{6};
  std::string static_member;                      // Empty: a new member at every start.
  std::map<std::string, std::string> properties;  // librdkafka's own, as they are: "sasl.mechanism".

  friend bool operator==(const KafkaConfig&, const KafkaConfig&) = default;
};

// Where the views are, if they are PostgreSQL's.
struct PostgresConfig {
  std::string url;  // "postgresql://user@host:port/database"; no password in it.
  std::string password;
  std::uint32_t connections = 8;
  bool migrate = false;  // serve brings an old schema up to date.

  friend bool operator==(const PostgresConfig&, const PostgresConfig&) = default;
};

// What this process does. One on an embedded log does all of it.
struct Roles {
  bool api = true;
  bool actors = true;
  bool projections = true;

  bool all() const { return api && actors && projections; }
  friend bool operator==(const Roles&, const Roles&) = default;
};

// An effective value, for people.
struct Setting {
  std::string key;     // "listen", "providers.ollama.base_url"
  Json value;          // null = not set; a secret is "(set)".
  std::string source;  // "default", "file varve.toml:3", "environment VARVE_LISTEN", "flag --listen"
};

struct Config {
  std::string data_dir;  // Empty = not set.
  std::string host = "127.0.0.1";
  std::uint16_t port = 8283;
  std::uint32_t partitions = kPartitionsDefault;
  std::string model_script;
  std::string password;
  bool insecure = false;
  bool open_metrics = false;  // GET /metrics is answered without the password.
  std::vector<std::string> cors_origins;
  std::string log_format = "text";
  std::string log_level = "info";
  std::string default_model;              // Empty = the server chooses.
  std::vector<ProviderConfig> providers;  // In the order of the file, then of the environment.
  std::string log = "sqlite";             // sqlite, kafka
  std::string store = "sqlite";           // sqlite, postgres
  KafkaConfig kafka;
  PostgresConfig postgres;
  Roles roles;
  std::string cluster = "varve";
  std::string cluster_secret;
  std::string node_url;  // Where other nodes reach this one; empty: as `listen` says.
  std::chrono::seconds drain_timeout{30};
  // GET /v1/ready/ says no while the views of a partition are further behind.
  std::uint32_t ready_lag_records = 10'000;
  std::chrono::seconds ready_lag{30};
  std::uint32_t ack_log_lag_records = 50'000;  // Writes with ack=log are answered 429 then.
  // The views are compared with the log in the background, round after round.
  bool verify_continuous = false;
  std::uint32_t verify_rate = 2'000;      // Records and rows per second.
  std::chrono::seconds verify_pause{60};  // Between two rounds.
  std::vector<Setting> settings;
};

struct ConfigInput {
  std::map<std::string, std::vector<std::string>> flags;  // By key ("listen", "config"): what was given.
  std::map<std::string, std::string> environment;
  std::function<Result<std::string>(const std::string& path)> read_file;
};

// Errc::invalid_argument says what is wrong with which value.
Result<Config> load_config(const ConfigInput& input);

// Whether a server may run so: what is needed together is there, and no door is open by mistake.
// Errc::invalid_argument says which key is missing or does not fit.
Status check_server(const Config& config);

// A table for people, or {"settings":[{"key","value","source"} ..]}.
std::string show_config(const Config& config, bool json);

// True for addresses that only this machine can reach: localhost, 127.0.0.0/8, ::1.
bool is_loopback(std::string_view host);

// "http://HOST:PORT", with brackets around an IPv6 address.
std::string url_of(const std::string& host, std::uint16_t port);

}  // namespace varve
