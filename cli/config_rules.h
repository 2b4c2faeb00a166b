// Rules of the configuration: which keys there are, and what each may hold. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/config_layers.h"

namespace varve {

struct ConfigRule {
  enum class Kind : unsigned char { text, number, boolean, list };
  std::string_view key;
  Kind kind = Kind::text;
  std::string_view expected;                   // "HOST:PORT, as in 127.0.0.1:8283"
  bool (*fits)(const std::string&) = nullptr;  // Of a text, or of each text of a list.
  std::vector<std::string_view> choices;       // Of a text; empty = any.
  std::int64_t low = 0;                        // Of a number.
  std::int64_t high = 0;
  bool secret = false;
};

const std::vector<ConfigRule>& server_rules();
// Of a table [providers.NAME]; their keys are without that.
const std::vector<ConfigRule>& provider_rules();
// Of a property in the table [kafka].
ConfigRule property_rule(std::string_view property);
// Why a property of librdkafka is not free to choose; empty if it is.
std::string_view fault_of_property(std::string_view property);
const ConfigRule* find_rule(const std::vector<ConfigRule>& rules, std::string_view key);
std::vector<std::string> keys_of(const std::vector<ConfigRule>& rules);

// The value in the rule's own kind: "yes" from the environment is true, "a,b" is a list of two.
Result<Json> checked(const ConfigRule& rule, const RawValue& raw);

Error config_error(const RawValue& raw, std::string_view what);

std::optional<std::pair<std::string, std::uint16_t>> split_listen(const std::string& text);
bool is_provider_name(std::string_view name);
// Why `password` could not be sent by any client, empty if it could.
std::string_view fault_of_password(std::string_view password);

}  // namespace varve
