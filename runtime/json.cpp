#include "runtime/json.h"

// Of every x86-64.
#ifdef __SSE2__
#define RAPIDJSON_SSE2
#endif
#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <iterator>

#include "runtime/check.h"
#include "runtime/stored_json.h"
#include "runtime/utf8.h"

namespace varve {

// RapidJSON's events into a tree. Iterative on both sides: depth costs no stack. What is read of a container
// gathers behind what is read of those around it, and moves into it when it is complete, in memory of its
// size.
class JsonBuilder {
 public:
  explicit JsonBuilder(std::size_t depth_max) : depth_max_(depth_max) {}

  bool Null() { return add(Json::null()); }
  bool Bool(bool value) { return add(Json::boolean(value)); }
  bool RawNumber(const char* text, rapidjson::SizeType length, bool /*copy*/) {
    Json number;
    number.kind_ = Json::Kind::number;
    number.text_.assign(text, length);
    return add(std::move(number));
  }
  bool String(const char* text, rapidjson::SizeType length, bool /*copy*/) {
    if (!is_text({text, length}))
      return refuse("text must be well-formed UTF-8 without U+0000 or lone surrogates");
    return add(Json::string({text, length}));
  }
  bool Key(const char* text, rapidjson::SizeType length, bool /*copy*/) {
    if (!is_text({text, length})) return refuse("a member's name must be well-formed UTF-8 without U+0000");
    members_.emplace_back(std::string{text, length}, Json{});
    return true;
  }
  bool StartObject() { return open(Json::Kind::object, members_.size()); }
  bool EndObject(rapidjson::SizeType /*members*/) {
    Json object = Json::object();
    take_last(members_, open_.back().begin, object.members_);
    open_.pop_back();
    return add(std::move(object));
  }
  bool StartArray() { return open(Json::Kind::array, items_.size()); }
  bool EndArray(rapidjson::SizeType /*items*/) {
    Json array = Json::array();
    take_last(items_, open_.back().begin, array.items_);
    open_.pop_back();
    return add(std::move(array));
  }

  // Never called: numbers come as RawNumber.
  bool Int(int /*value*/) { return false; }
  bool Uint(unsigned /*value*/) { return false; }
  bool Int64(std::int64_t /*value*/) { return false; }
  bool Uint64(std::uint64_t /*value*/) { return false; }
  bool Double(double /*value*/) { return false; }  // lint: allow(float) RapidJSON asks for it

  Json take() { return std::move(root_); }
  const char* refusal() const { return refusal_; }

 private:
  struct Open {
    Json::Kind kind;
    std::size_t begin;  // Of what belongs to it, in members_ or items_.
  };

  bool refuse(const char* why) {
    refusal_ = why;
    return false;
  }
  bool open(Json::Kind kind, std::size_t begin) {
    if (open_.size() >= depth_max_) {
      return refuse(depth_max_ == kJsonDepthMax ? "nesting is deeper than 64 levels" : "nesting is too deep");
    }
    open_.push_back({kind, begin});
    return true;
  }
  template <class Value>
  static void take_last(std::vector<Value>& from, std::size_t begin, std::vector<Value>& to) {
    const auto first = from.begin() + static_cast<std::ptrdiff_t>(begin);
    to.assign(std::make_move_iterator(first), std::make_move_iterator(from.end()));
    from.erase(first, from.end());
  }
  bool add(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (open_.back().kind == Json::Kind::object) {
      members_.back().second = std::move(value);
    } else {
      items_.push_back(std::move(value));
    }
    return true;
  }

  std::size_t depth_max_;
  std::vector<Open> open_;
  std::vector<Json::Member> members_;  // Of the open objects; the newest of each may wait for its value.
  std::vector<Json> items_;            // Of the open arrays.
  Json root_;
  const char* refusal_ = nullptr;
};

Json Json::boolean(bool value) {
  Json json;
  json.kind_ = Kind::boolean;
  json.boolean_ = value;
  return json;
}

Json Json::integer(std::int64_t value) {
  Json json;
  json.kind_ = Kind::number;
  json.text_ = std::to_string(value);
  return json;
}

Json Json::string(std::string text) {
  Json json;
  json.kind_ = Kind::string;
  json.text_ = std::move(text);
  return json;
}

Json Json::array() {
  Json json;
  json.kind_ = Kind::array;
  return json;
}

Json Json::object() {
  Json json;
  json.kind_ = Kind::object;
  return json;
}

namespace {

// Looks at sixteen characters at a time, as far as those behind the end.
constexpr std::size_t kPadding = 16;

// Every text and every name is checked by the builder: nothing is checked here, but what the grammar says.
constexpr unsigned kFlags = rapidjson::kParseIterativeFlag | rapidjson::kParseNumbersAsStringsFlag;

rapidjson::ParseResult parse_with(JsonBuilder& builder, std::string_view text) {
  constexpr std::size_t kStackBytes = 4096;  // Of the parser; it grows when a string is longer.
  rapidjson::Reader reader(nullptr, kStackBytes);
  if (text.find('\0') != std::string_view::npos) {
    rapidjson::MemoryStream stream(text.data(), text.size());
    return reader.Parse<kFlags>(stream, builder);
  }
  // Quicker, but it takes U+0000 for the end.
  std::string padded;
  padded.reserve(text.size() + kPadding);
  padded.append(text).append(kPadding, '\0');
  rapidjson::StringStream stream(padded.data());
  return reader.Parse<kFlags>(stream, builder);
}

Result<Json> parse_json(std::string_view text, std::size_t depth_max) {
  JsonBuilder builder(depth_max);
  const rapidjson::ParseResult parsed = parse_with(builder, text);
  if (!parsed) {
    const char* why =
        builder.refusal() != nullptr ? builder.refusal() : rapidjson::GetParseError_En(parsed.Code());
    return Error{Errc::invalid_argument,
                 "JSON error at byte " + std::to_string(parsed.Offset()) + ": " + why};
  }
  return builder.take();
}

}  // namespace

Result<Json> Json::parse(std::string_view text) {
  return parse_json(text, kJsonDepthMax);
}

Result<Json> parse_stored_json(std::string_view text) {
  return parse_json(text, kStoredJsonDepthMax);
}

const char* Json::kind_name() const {
  switch (kind_) {
    case Kind::null:
      return "null";
    case Kind::boolean:
      return "a boolean";
    case Kind::number:
      return "a number";
    case Kind::string:
      return "a string";
    case Kind::array:
      return "a list";
    case Kind::object:
      return "an object";
  }
  return "?";
}

bool Json::as_boolean() const {
  CHECK(is_boolean());
  return boolean_;
}

const std::string& Json::as_string() const {
  CHECK(is_string());
  return text_;
}

const std::string& Json::number_text() const {
  CHECK(is_number());
  return text_;
}

std::optional<std::int64_t> Json::as_integer() const {
  if (!is_number()) return std::nullopt;
  std::int64_t value = 0;
  const char* end = text_.data() + text_.size();
  const auto [rest, error] = std::from_chars(text_.data(), end, value);
  if (error != std::errc{} || rest != end) return std::nullopt;
  return value;
}

const Json* Json::find(std::string_view key) const {
  for (auto member = members_.rbegin(); member != members_.rend(); ++member) {
    if (member->first == key) return &member->second;
  }
  return nullptr;
}

void Json::push_back(Json item) {
  CHECK(is_array());
  items_.push_back(std::move(item));
}

void Json::set(std::string key, Json value) {
  CHECK(is_object());
  for (auto& member : members_) {
    if (member.first == key) {
      member.second = std::move(value);
      return;
    }
  }
  members_.emplace_back(std::move(key), std::move(value));
}

void Json::remove(std::string_view key) {
  std::erase_if(members_, [key](const Member& member) { return member.first == key; });
}

std::string Json::dump() const {
  std::string out;
  dump_to(out);
  return out;
}

void Json::dump_to(std::string& out) const {
  switch (kind_) {
    case Kind::null:
      out += "null";
      return;
    case Kind::boolean:
      out += boolean_ ? "true" : "false";
      return;
    case Kind::number:
      out += text_;
      return;
    case Kind::string:
      append_json_string(out, text_);
      return;
    case Kind::array: {
      out += '[';
      for (std::size_t i = 0; i < items_.size(); ++i) {
        if (i > 0) out += ',';
        items_[i].dump_to(out);
      }
      out += ']';
      return;
    }
    case Kind::object: {
      out += '{';
      for (std::size_t i = 0; i < members_.size(); ++i) {
        if (i > 0) out += ',';
        append_json_string(out, members_[i].first);
        out += ':';
        members_[i].second.dump_to(out);
      }
      out += '}';
      return;
    }
  }
}

std::string Json::canonical() const {
  std::string out;
  canonical_to(out);
  return out;
}

void Json::canonical_to(std::string& out) const {
  if (kind_ == Kind::array) {
    out += '[';
    for (std::size_t i = 0; i < items_.size(); ++i) {
      if (i > 0) out += ',';
      items_[i].canonical_to(out);
    }
    out += ']';
  } else if (kind_ == Kind::object) {
    std::vector<const Member*> sorted;
    sorted.reserve(members_.size());
    for (const Member& member : members_) sorted.push_back(&member);
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const Member* a, const Member* b) { return a->first < b->first; });
    out += '{';
    for (std::size_t i = 0; i < sorted.size(); ++i) {
      if (i > 0) out += ',';
      append_json_string(out, sorted[i]->first);
      out += ':';
      sorted[i]->second.canonical_to(out);
    }
    out += '}';
  } else {
    dump_to(out);
  }
}

namespace {

// Whether none of eight characters needs an escape: no control character, quote or backslash.
bool is_clean(std::uint64_t word) {
  constexpr std::uint64_t kOnes = 0x0101010101010101;
  constexpr std::uint64_t kHigh = 0x8080808080808080;
  const auto below = [](std::uint64_t bytes, std::uint64_t bound) {
    return (bytes - kOnes * bound) & ~bytes & kHigh;
  };
  return (below(word, 0x20) | below(word ^ (kOnes * '"'), 1) | below(word ^ (kOnes * '\\'), 1)) == 0;
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  out += '"';
  std::size_t clean = 0;  // Start of the run that needs no escape.
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::uint64_t word = 0;
    while (i + sizeof(word) <= text.size()) {
      std::memcpy(&word, text.data() + i, sizeof(word));
      if (!is_clean(word)) break;
      i += sizeof(word);
    }
    if (i == text.size()) break;
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text, clean, i - clean);
    clean = i + 1;
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        out += "\\u00";
        out += kDigits[c >> 4U];
        out += kDigits[c & 15U];
    }
  }
  out.append(text, clean);
  out += '"';
}

void JsonWriter::separate() {
  if (!first_) out_ += ',';
  first_ = false;
}

JsonWriter& JsonWriter::begin_object() {
  separate();
  out_ += '{';
  first_ = true;
  return *this;
}

JsonWriter& JsonWriter::end_object() {
  out_ += '}';
  first_ = false;
  return *this;
}

JsonWriter& JsonWriter::begin_array() {
  separate();
  out_ += '[';
  first_ = true;
  return *this;
}

JsonWriter& JsonWriter::end_array() {
  out_ += ']';
  first_ = false;
  return *this;
}

JsonWriter& JsonWriter::key(std::string_view name) {
  separate();
  append_json_string(out_, name);
  out_ += ':';
  first_ = true;
  return *this;
}

JsonWriter& JsonWriter::string(std::string_view value) {
  separate();
  append_json_string(out_, value);
  return *this;
}

JsonWriter& JsonWriter::integer(std::int64_t value) {
  separate();
  char digits[24];
  const auto [end, error] = std::to_chars(digits, digits + sizeof(digits), value);
  out_.append(digits, static_cast<std::size_t>(end - digits));
  return *this;
}

JsonWriter& JsonWriter::boolean(bool value) {
  separate();
  out_ += value ? "true" : "false";
  return *this;
}

JsonWriter& JsonWriter::null() {
  separate();
  out_ += "null";
  return *this;
}

JsonWriter& JsonWriter::raw(std::string_view json) {
  separate();
  out_ += json;
  return *this;
}

JsonWriter& JsonWriter::field_optional(std::string_view name, const std::optional<std::string>& value) {
  return value ? field(name, *value) : field_null(name);
}

}  // namespace varve
