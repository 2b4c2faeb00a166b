// Parameters of a statement in PostgreSQL's binary format: no quoting, no parsing, one place for every number
// and text that a statement holds. Pure.
//
// Text must be text (runtime/utf8.h): the server refuses everything else.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "projections/schema.h"

namespace varve {

// A one-dimensional bigint[] or text[].
class ArrayParameter {
 public:
  explicit ArrayParameter(ColumnType type);

  void add(std::int64_t value);
  void add(std::string_view text);
  void add_null();
  // It must fit the array.
  void add_value(const Value& value);

  // The bytes that the server reads. The array is spent.
  std::string take();
  ColumnType type() const { return type_; }

 private:
  ColumnType type_;
  std::uint32_t count_ = 0;
  bool nulls_ = false;
  std::string bytes_;
};

// The parameters $1, $2, $3 .. of one statement. Each add gives back how the statement names it, with its
// type: "$3::bigint".
class PostgresParameters {
 public:
  std::string add(std::int64_t value);
  std::string add(std::string_view text);
  std::string add(ArrayParameter array);
  // "NULL" for null: no parameter.
  std::string add_value(const Value& value);

  const std::vector<std::string>& values() const { return values_; }

 private:
  std::string named(const char* type) const;

  std::vector<std::string> values_;
};

// A statement and its parameters.
struct PostgresStatement {
  std::string text;
  PostgresParameters parameters;
};

// A name as SQL writes it, whatever it holds.
std::string quoted_name(std::string_view name);

}  // namespace varve
