#include "cli/config_rules.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "runtime/utf8.h"

namespace varve {
namespace {

constexpr std::int64_t kLagRecordsMax = 1'000'000'000;  // As good as none.

using Kind = ConfigRule::Kind;

constexpr std::size_t kTextBytesMax = 4096;
constexpr std::size_t kItemsMax = 1000;
constexpr std::size_t kShownBytesMax = 100;

bool is_plain(std::string_view text) {
  return is_text(text) && text.size() <= kTextBytesMax &&
         std::none_of(text.begin(), text.end(), [](char c) { return (c >= 0 && c < ' ') || c == '\x7f'; });
}

bool is_listen(const std::string& text) {
  return split_listen(text).has_value();
}

bool is_filled(const std::string& text) {
  return !text.empty();
}

// What follows "http://" or "https://".
std::optional<std::string_view> behind_scheme(std::string_view url) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (url.starts_with(scheme) && url.size() > scheme.size()) return url.substr(scheme.size());
  }
  return std::nullopt;
}

// Keys belong into api_key, where nobody prints them; a query or a fragment has no place behind a base.
bool is_base_url(const std::string& text) {
  const auto rest = behind_scheme(text);
  return rest && rest->front() != '/' && rest->find_first_of("@?# ") == std::string_view::npos;
}

// Of a server: nothing behind host and port.
bool is_origin_url(const std::string& text) {
  const auto rest = behind_scheme(text);
  return text.starts_with("http://") && rest && rest->find_first_of("/@?# ") == std::string_view::npos;
}

// HOST:PORT of somebody else.
bool is_broker(const std::string& text) {
  const auto place = split_listen(text);
  return place && place->second > 0 && text.find_first_of("/@, ") == std::string::npos;
}

// What Kafka takes as the name of a topic or of a group.
bool is_kafka_name(const std::string& text) {
  constexpr std::size_t kNameBytesMax = 200;  // Kafka's 249, without what groups have at their end.
  if (text.empty() || text.size() > kNameBytesMax || text == "." || text == "..") return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

// A password has a key of its own, where nobody prints it.
bool is_postgres_url(const std::string& text) {
  for (const std::string_view scheme : {"postgresql://", "postgres://"}) {
    if (!text.starts_with(scheme) || text.size() == scheme.size()) continue;
    const std::string_view rest = std::string_view(text).substr(scheme.size());
    const std::size_t user = rest.substr(0, rest.find('/')).rfind('@');
    const bool secret =
        user != std::string_view::npos && rest.substr(0, user).find(':') != std::string_view::npos;
    return !secret && rest.find("password=") == std::string_view::npos &&
           rest.find(' ') == std::string_view::npos;
  }
  return false;
}

// As browsers write it: no path, no slash at the end.
bool is_origin(const std::string& text) {
  const auto rest = behind_scheme(text);
  return text == "*" || (rest && rest->find_first_of("/@?# ") == std::string_view::npos);
}

bool is_handle(const std::string& text) {
  const auto slash = text.find('/');
  return slash != std::string::npos && slash > 0 && slash + 1 < text.size() &&
         text.find(' ') == std::string::npos;
}

bool is_sendable(const std::string& text) {
  return fault_of_password(text).empty();
}

std::optional<std::int64_t> to_integer(const Json& value) {
  if (value.is_number()) return value.as_integer();
  if (!value.is_string()) return std::nullopt;
  const std::string& text = value.as_string();
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<bool> to_boolean(const Json& value) {
  if (value.is_boolean()) return value.as_boolean();
  if (!value.is_string()) return std::nullopt;
  for (const std::string_view yes : {"true", "1", "yes", "on"}) {
    if (value.as_string() == yes) return true;
  }
  for (const std::string_view no : {"false", "0", "no", "off"}) {
    if (value.as_string() == no) return false;
  }
  return std::nullopt;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(' ');
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

// Outside of files a list is written "a,b".
Json to_list(const RawValue& raw) {
  if (!raw.value.is_string() || raw.origin == "file") return raw.value;
  Json list = Json::array();
  std::string_view rest = raw.value.as_string();
  for (;;) {
    const std::size_t comma = rest.find(',');
    const std::string_view item = trimmed(rest.substr(0, comma));
    if (!item.empty()) list.push_back(Json::string(std::string(item)));
    if (comma == std::string_view::npos) return list;
    rest.remove_prefix(comma + 1);
  }
}

std::string shown(const ConfigRule& rule, const Json& value) {
  if (rule.secret) return "something else, which is not shown";
  const bool has_user = value.is_string() && value.as_string().find('@') != std::string::npos;
  const bool is_address = rule.fits == is_base_url || rule.fits == is_postgres_url;
  if (is_address && has_user) return "one with a user, which is not shown";
  if (value.is_object()) return "a table";
  if (value.is_array()) return "a list";
  if (value.is_null()) return "a value of another kind";
  if (!value.is_string()) return value.dump();
  const std::string text = mend_text(value.as_string());
  if (text.size() <= kShownBytesMax) return "'" + text + "'";
  return "'" + std::string(prefix_of_text(text, kShownBytesMax)) + "...'";
}

std::string expectation(const ConfigRule& rule) {
  if (rule.kind == Kind::boolean) return "true or false";
  if (rule.kind == Kind::number) {
    return "a whole number from " + std::to_string(rule.low) + " to " + std::to_string(rule.high);
  }
  if (rule.choices.empty()) return std::string(rule.expected);
  std::string all;
  for (const std::string_view choice : rule.choices) all.append(all.empty() ? "" : ", ").append(choice);
  return (rule.kind == Kind::list ? "a list of " : "one of ") + all;
}

bool text_fits(const ConfigRule& rule, const Json& value) {
  if (!value.is_string() || !is_plain(value.as_string())) return false;
  if (rule.fits != nullptr && !rule.fits(value.as_string())) return false;
  return rule.choices.empty() ||
         std::find(rule.choices.begin(), rule.choices.end(), value.as_string()) != rule.choices.end();
}

std::optional<Json> converted(const ConfigRule& rule, const RawValue& raw) {
  switch (rule.kind) {
    case Kind::text:
      if (!text_fits(rule, raw.value)) return std::nullopt;
      return raw.value;
    case Kind::number: {
      const auto number = to_integer(raw.value);
      if (!number || *number < rule.low || *number > rule.high) return std::nullopt;
      return Json::integer(*number);
    }
    case Kind::boolean: {
      const auto boolean = to_boolean(raw.value);
      if (!boolean || (raw.origin == "file" && !raw.value.is_boolean())) return std::nullopt;
      return Json::boolean(*boolean);
    }
    case Kind::list: {
      Json list = to_list(raw);
      const auto fits = [&rule](const Json& item) { return text_fits(rule, item); };
      if (!list.is_array() || list.items().size() > kItemsMax) return std::nullopt;
      if (!std::all_of(list.items().begin(), list.items().end(), fits)) return std::nullopt;
      return list;
    }
  }
  return std::nullopt;
}

}  // namespace

const std::vector<ConfigRule>& server_rules() {
  static const std::vector<ConfigRule> kRules = {
      {.key = "data_dir", .expected = "the path of a directory", .fits = is_filled},
      {.key = "listen", .expected = "HOST:PORT, as in 127.0.0.1:8283", .fits = is_listen},
      {.key = "partitions", .kind = Kind::number, .low = 1, .high = kPartitionsMax},
      {.key = "model_script", .expected = "the path of a file", .fits = is_filled},
      {.key = "password",
       .expected = "1 to 1024 printable ASCII characters without spaces at the ends",
       .fits = is_sendable,
       .secret = true},
      {.key = "password_file", .expected = "the path of a file", .fits = is_filled},
      {.key = "insecure", .kind = Kind::boolean},
      {.key = "open_metrics", .kind = Kind::boolean},
      {.key = "cors_origins",
       .kind = Kind::list,
       .expected = "a list of origins, as in https://chat.example, or *",
       .fits = is_origin},
      {.key = "log_format", .choices = {"text", "json"}},
      {.key = "log_level", .choices = {"debug", "info", "warning", "error"}},
      {.key = "default_model", .expected = "PROVIDER/MODEL, as in ollama/qwen3", .fits = is_handle},
      {.key = "log", .choices = {"sqlite", "kafka"}},
      {.key = "store", .choices = {"sqlite", "postgres"}},
      {.key = "kafka_brokers",
       .kind = Kind::list,
       .expected = "a list of HOST:PORT, as in kafka-1:9092",
       .fits = is_broker},
      {.key = "kafka_topic", .expected = "1 to 200 letters, digits, '.', '_' and '-'", .fits = is_kafka_name},
      {.key = "kafka_replication_factor", .kind = Kind::number, .low = 1, .high = 100},
      {.key = "kafka_session_timeout", .kind = Kind::number, .low = 6, .high = 300},
      {.key = "kafka_static_member",
       .expected = "1 to 200 letters, digits, '.', '_' and '-', another one for every process",
       .fits = is_kafka_name},
      {.key = "postgres_url",
       .expected = "postgresql://USER@HOST:PORT/DATABASE without the password, which is postgres_password's "
                   "or postgres_password_file's",
       .fits = is_postgres_url},
      {.key = "postgres_password",
       .expected = "1 to 1024 printable ASCII characters without spaces at the ends",
       .fits = is_sendable,
       .secret = true},
      {.key = "postgres_password_file", .expected = "the path of a file", .fits = is_filled},
      {.key = "postgres_connections", .kind = Kind::number, .low = 2, .high = 100},
      {.key = "migrate", .kind = Kind::boolean},
      {.key = "roles", .kind = Kind::list, .choices = {"api", "actors", "projections"}},
      {.key = "cluster", .expected = "1 to 200 letters, digits, '.', '_' and '-'", .fits = is_kafka_name},
      {.key = "cluster_secret",
       .expected = "1 to 1024 printable ASCII characters without spaces at the ends",
       .fits = is_sendable,
       .secret = true},
      {.key = "cluster_secret_file", .expected = "the path of a file", .fits = is_filled},
      {.key = "node_url",
       .expected = "an address that other nodes reach, as in http://node-1:8283",
       .fits = is_origin_url},
      {.key = "drain_timeout", .kind = Kind::number, .low = 0, .high = 3600},
      {.key = "ready_lag_records", .kind = Kind::number, .low = 0, .high = kLagRecordsMax},
      {.key = "ready_lag", .kind = Kind::number, .low = 1, .high = 86'400},
      {.key = "ack_log_lag_records", .kind = Kind::number, .low = 0, .high = kLagRecordsMax},
      {.key = "verify_continuous", .kind = Kind::boolean},
      {.key = "verify_rate", .kind = Kind::number, .low = 1, .high = 10'000'000},
      {.key = "verify_pause", .kind = Kind::number, .low = 0, .high = std::int64_t{86'400} * 30},
  };
  return kRules;
}

ConfigRule property_rule(std::string_view property) {
  constexpr std::array<std::string_view, 5> kSecrets{"password", "secret", "token", ".pem",
                                                     "oauthbearer.config"};
  ConfigRule rule{.key = "kafka", .expected = "text, a whole number, true or false"};
  rule.secret = std::any_of(kSecrets.begin(), kSecrets.end(), [property](std::string_view part) {
    return property.find(part) != std::string_view::npos;
  });
  return rule;
}

std::string_view fault_of_property(std::string_view property) {
  constexpr std::array<std::string_view, 21> kGuarantees{"acks",
                                                         "request.required.acks",
                                                         "enable.idempotence",
                                                         "enable.gapless.guarantee",
                                                         "transactional.id",
                                                         "max.in.flight",
                                                         "max.in.flight.requests.per.connection",
                                                         "message.timeout.ms",
                                                         "delivery.timeout.ms",
                                                         "message.send.max.retries",
                                                         "retries",
                                                         "message.max.bytes",
                                                         "group.id",
                                                         "enable.auto.commit",
                                                         "enable.auto.offset.store",
                                                         "auto.offset.reset",
                                                         "isolation.level",
                                                         "check.crcs",
                                                         "partition.assignment.strategy",
                                                         "heartbeat.interval.ms",
                                                         "max.poll.interval.ms"};
  if (property == "bootstrap.servers" || property == "metadata.broker.list") return "kafka_brokers says it";
  if (property == "session.timeout.ms") return "kafka_session_timeout says it";
  if (property == "group.instance.id") return "kafka_static_member says it";
  if (property == "plugin.library.paths") return "this program loads no plugins";
  const bool ours = std::find(kGuarantees.begin(), kGuarantees.end(), property) != kGuarantees.end();
  if (ours) return "the log's guarantees rest on it, so that it is not free to choose";
  const bool plain = !property.empty() && std::all_of(property.begin(), property.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.';
  });
  return plain ? "" : "expected a property of librdkafka, as in sasl.mechanism";
}

const std::vector<ConfigRule>& provider_rules() {
  static const std::vector<ConfigRule> kRules = {
      {.key = "type", .choices = {"openai", "vllm", "ollama", "lmstudio", "llamacpp", "openrouter"}},
      {.key = "base_url",
       .expected = "an address, as in http://127.0.0.1:11434/v1, without user, query or fragment",
       .fits = is_base_url},
      {.key = "api_key",
       .expected = "1 to 1024 printable ASCII characters without spaces at the ends",
       .fits = is_sendable,
       .secret = true},
      {.key = "api_key_file", .expected = "the path of a file", .fits = is_filled},
      {.key = "models", .kind = Kind::list, .expected = "a list of names of models", .fits = is_filled},
      {.key = "max_tokens_field", .choices = {"max_tokens", "max_completion_tokens", "none"}},
      {.key = "ca_file", .expected = "the path of a file", .fits = is_filled},
      {.key = "context_window", .kind = Kind::number, .low = 1024, .high = 100'000'000},
  };
  return kRules;
}

const ConfigRule* find_rule(const std::vector<ConfigRule>& rules, std::string_view key) {
  const auto found =
      std::find_if(rules.begin(), rules.end(), [key](const ConfigRule& rule) { return rule.key == key; });
  return found == rules.end() ? nullptr : &*found;
}

std::vector<std::string> keys_of(const std::vector<ConfigRule>& rules) {
  std::vector<std::string> keys;
  keys.reserve(rules.size());
  for (const ConfigRule& rule : rules) keys.emplace_back(rule.key);
  return keys;
}

Result<Json> checked(const ConfigRule& rule, const RawValue& raw) {
  if (auto value = converted(rule, raw)) return std::move(*value);
  return config_error(raw, "expected " + expectation(rule) + ", got " + shown(rule, raw.value));
}

Error config_error(const RawValue& raw, std::string_view what) {
  return Error{Errc::invalid_argument, raw.where + ": " + raw.key + ": " + std::string(what)};
}

std::optional<std::pair<std::string, std::uint16_t>> split_listen(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return std::nullopt;
  const auto port = to_integer(Json::string(text.substr(colon + 1)));
  if (!port || *port < 0 || *port > 65535) return std::nullopt;
  std::string host = text.substr(0, colon);
  if (host.front() == '[') {
    if (host.size() < 3 || host.back() != ']') return std::nullopt;
    host = host.substr(1, host.size() - 2);
  }
  return std::pair{std::move(host), static_cast<std::uint16_t>(*port)};
}

bool is_provider_name(std::string_view name) {
  constexpr std::size_t kNameBytesMax = 64;
  if (name.empty() || name.size() > kNameBytesMax || name == "varve") return false;  // varve/echo is ours.
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

std::string_view fault_of_password(std::string_view password) {
  constexpr std::size_t kPasswordBytesMax = 1024;
  if (password.empty()) return "is empty";
  if (password.size() > kPasswordBytesMax) return "is longer than 1024 characters";
  if (password.front() == ' ' || password.back() == ' ') return "begins or ends with a space";
  const bool plain =
      std::all_of(password.begin(), password.end(), [](char c) { return c >= ' ' && c < '\x7f'; });
  return plain ? "" : "has characters that are not printable ASCII, which not every client can send";
}

}  // namespace varve
