#include "projections/postgres_query_parameters.h"

#include <limits>
#include <utility>

#include "runtime/check.h"

namespace varve {

namespace {

// Object ids of the server's types; they never change.
constexpr std::uint32_t kBigint = 20;
constexpr std::uint32_t kText = 25;

constexpr std::size_t kArrayHeader = 20;
constexpr std::uint32_t kNullLength = 0xffff'ffff;

// Big-endian, as everything on this wire.
template <class T>
void put(std::string& out, T value) {
  for (std::size_t shift = sizeof(T) * 8; shift > 0; shift -= 8) {
    out.push_back(static_cast<char>(static_cast<unsigned char>(value >> (shift - 8))));
  }
}

std::uint32_t length_of(std::string_view text) {
  CHECK(text.size() < std::numeric_limits<std::int32_t>::max());
  return static_cast<std::uint32_t>(text.size());
}

}  // namespace

ArrayParameter::ArrayParameter(ColumnType type) : type_(type), bytes_(kArrayHeader, '\0') {}

void ArrayParameter::add(std::int64_t value) {
  CHECK(type_ == ColumnType::integer);
  ++count_;
  put(bytes_, std::uint32_t{sizeof(value)});
  put(bytes_, static_cast<std::uint64_t>(value));
}

void ArrayParameter::add(std::string_view text) {
  CHECK(type_ == ColumnType::text);
  ++count_;
  put(bytes_, length_of(text));
  bytes_.append(text);
}

void ArrayParameter::add_null() {
  ++count_;
  nulls_ = true;
  put(bytes_, kNullLength);
}

void ArrayParameter::add_value(const Value& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    add(*number);
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    add(std::string_view{*text});
  } else {
    add_null();
  }
}

std::string ArrayParameter::take() {
  std::string header;
  put(header, std::uint32_t{count_ == 0 ? 0U : 1U});  // Dimensions: an empty array has none.
  put(header, std::uint32_t{nulls_ ? 1U : 0U});
  put(header, type_ == ColumnType::integer ? kBigint : kText);
  if (count_ == 0) return header;
  put(header, count_);
  put(header, std::uint32_t{1});  // The number of the first element.
  bytes_.replace(0, kArrayHeader, header);
  return std::move(bytes_);
}

std::string PostgresParameters::named(const char* type) const {
  return "$" + std::to_string(values_.size()) + "::" + type;
}

std::string PostgresParameters::add(std::int64_t value) {
  std::string bytes;
  put(bytes, static_cast<std::uint64_t>(value));
  values_.push_back(std::move(bytes));
  return named("bigint");
}

std::string PostgresParameters::add(std::string_view text) {
  values_.emplace_back(text);
  return named("text");
}

std::string PostgresParameters::add_value(const Value& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) return add(*number);
  if (const auto* text = std::get_if<std::string>(&value)) return add(std::string_view{*text});
  return "NULL";
}

std::string PostgresParameters::add(ArrayParameter array) {
  const bool integers = array.type() == ColumnType::integer;
  values_.push_back(array.take());
  return named(integers ? "bigint[]" : "text[]");
}

std::string quoted_name(std::string_view name) {
  std::string out = "\"";
  for (const char c : name) {
    if (c == '"') out.push_back('"');
    out.push_back(c);
  }
  out.push_back('"');
  return out;
}

}  // namespace varve
