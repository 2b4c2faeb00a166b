// Json: a parsed JSON value, and JsonWriter: the fast way to print one.
//
// Numbers keep the text they came as, and objects the order of their members, so what is opaque to us is
// printed again as it was. Text is well-formed UTF-8 without U+0000 (utf8.h); anything else is refused, as
// is nesting deeper than kJsonDepthMax. Of members with one name the last counts. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/result.h"

namespace varve {

inline constexpr std::size_t kJsonDepthMax = 64;

class Json {
 public:
  enum class Kind : unsigned char { null, boolean, number, string, array, object };
  using Member = std::pair<std::string, Json>;

  Json() = default;
  static Json null() { return {}; }
  static Json boolean(bool value);
  static Json integer(std::int64_t value);
  static Json string(std::string text);
  static Json array();
  static Json object();

  // Errc::invalid_argument with the byte at which it went wrong.
  static Result<Json> parse(std::string_view text);

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::null; }
  bool is_boolean() const { return kind_ == Kind::boolean; }
  bool is_string() const { return kind_ == Kind::string; }
  bool is_number() const { return kind_ == Kind::number; }
  bool is_array() const { return kind_ == Kind::array; }
  bool is_object() const { return kind_ == Kind::object; }
  // What to call this kind in a message to a user: "a string".
  const char* kind_name() const;

  // Each requires its kind.
  bool as_boolean() const;
  const std::string& as_string() const;
  // The number's own text.
  const std::string& number_text() const;
  // The number as an integer; nothing if it has a fraction, an exponent or does not fit.
  std::optional<std::int64_t> as_integer() const;

  const std::vector<Json>& items() const { return items_; }
  const std::vector<Member>& members() const { return members_; }
  // The member of an object, or null if there is none (or this is no object).
  const Json* find(std::string_view key) const;

  void push_back(Json item);
  // Sets a member, replacing one of the same name in place.
  void set(std::string key, Json value);
  void remove(std::string_view key);

  // Compact text, members in their order.
  std::string dump() const;
  void dump_to(std::string& out) const;
  // Compact text with members sorted by name: for hashes.
  std::string canonical() const;

  friend bool operator==(const Json&, const Json&) = default;

 private:
  friend class JsonBuilder;
  void canonical_to(std::string& out) const;

  Kind kind_ = Kind::null;
  bool boolean_ = false;
  std::string text_;  // Of a string or a number.
  std::vector<Json> items_;
  std::vector<Member> members_;
};

// Appends `text` as a JSON string, quotes included.
void append_json_string(std::string& out, std::string_view text);

// Prints JSON member by member. It trusts its caller to open and close in order.
class JsonWriter {
 public:
  JsonWriter& begin_object();
  JsonWriter& end_object();
  JsonWriter& begin_array();
  JsonWriter& end_array();
  JsonWriter& key(std::string_view name);
  JsonWriter& string(std::string_view value);
  JsonWriter& integer(std::int64_t value);
  JsonWriter& boolean(bool value);
  JsonWriter& null();
  // `json` is printed as it is.
  JsonWriter& raw(std::string_view json);

  // A member at once.
  JsonWriter& field(std::string_view name, std::string_view value) { return key(name).string(value); }
  JsonWriter& field(std::string_view name, const char* value) { return key(name).string(value); }
  JsonWriter& field_integer(std::string_view name, std::int64_t value) { return key(name).integer(value); }
  JsonWriter& field_boolean(std::string_view name, bool value) { return key(name).boolean(value); }
  JsonWriter& field_null(std::string_view name) { return key(name).null(); }
  JsonWriter& field_raw(std::string_view name, std::string_view json) { return key(name).raw(json); }
  JsonWriter& field_optional(std::string_view name, const std::optional<std::string>& value);

  const std::string& text() const { return out_; }
  std::string take() { return std::move(out_); }

 private:
  void separate();

  std::string out_;
  bool first_ = true;  // Nothing before the next value at this level.
};

}  // namespace varve
