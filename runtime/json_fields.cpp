#include "runtime/json_fields.h"

namespace varve {
namespace {

const Json kEmptyObject = Json::object();
const std::vector<Json> kNoItems;

}  // namespace

JsonFields::JsonFields(const Json& json, std::string_view what, Errc code)
    : json_(json), what_(what), code_(code) {
  if (!json.is_object()) set_fault("expected an object, got " + std::string(json.kind_name()));
}

void JsonFields::set_fault(std::string message) {
  if (!fault_) fault_ = Error{code_, what_ + ": " + message};
}

const Json* JsonFields::member(std::string_view key, const char* expected) {
  const Json* found = json_.find(key);
  if (found == nullptr) set_fault("\"" + std::string(key) + "\" is missing, expected " + expected);
  return found;
}

std::string JsonFields::text(std::string_view key) {
  const Json* found = member(key, "a string");
  if (found == nullptr) return {};
  if (found->is_string()) return found->as_string();
  set_fault("\"" + std::string(key) + "\" must be a string, not " + found->kind_name());
  return {};
}

std::optional<std::string> JsonFields::optional_text(std::string_view key) {
  const Json* found = json_.find(key);
  if (found == nullptr || found->is_null()) return std::nullopt;
  return text(key);
}

std::int64_t JsonFields::integer(std::string_view key) {
  const Json* found = member(key, "an integer");
  if (found == nullptr) return 0;
  if (const auto value = found->as_integer()) return *value;
  set_fault("\"" + std::string(key) + "\" must be an integer");
  return 0;
}

std::int64_t JsonFields::integer_or(std::string_view key, std::int64_t absent) {
  return json_.find(key) == nullptr ? absent : integer(key);
}

std::uint64_t JsonFields::unsigned_integer(std::string_view key) {
  const std::int64_t value = integer(key);
  if (value < 0) set_fault("\"" + std::string(key) + "\" must not be negative");
  return value < 0 ? 0 : static_cast<std::uint64_t>(value);
}

bool JsonFields::boolean_or(std::string_view key, bool absent) {
  const Json* found = json_.find(key);
  if (found == nullptr) return absent;
  if (found->is_boolean()) return found->as_boolean();
  set_fault("\"" + std::string(key) + "\" must be true or false");
  return absent;
}

std::vector<std::string> JsonFields::texts(std::string_view key) {
  std::vector<std::string> values;
  const Json* found = json_.find(key);
  if (found == nullptr) return values;
  if (!found->is_array()) set_fault("\"" + std::string(key) + "\" must be a list of strings");
  for (const Json& item : found->items()) {
    if (!item.is_string()) {
      set_fault("\"" + std::string(key) + "\" must be a list of strings");
      return {};
    }
    values.push_back(item.as_string());
  }
  return values;
}

std::string JsonFields::json_or(std::string_view key, std::string_view absent) {
  const Json* found = json_.find(key);
  return found == nullptr ? std::string(absent) : found->dump();
}

const Json& JsonFields::object(std::string_view key) {
  const Json* found = member(key, "an object");
  if (found != nullptr && found->is_object()) return *found;
  set_fault("\"" + std::string(key) + "\" must be an object");
  return kEmptyObject;
}

const std::vector<Json>& JsonFields::list(std::string_view key) {
  const Json* found = member(key, "a list");
  if (found != nullptr && found->is_array()) return found->items();
  set_fault("\"" + std::string(key) + "\" must be a list");
  return kNoItems;
}

}  // namespace varve
