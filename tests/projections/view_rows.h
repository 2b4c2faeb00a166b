// Rows of the views in few words, for tests.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "projections/view_store.h"

namespace varve::test {

// The position of the event that made a row; its time and sequence follow from it.
inline RowFrom at(std::uint64_t offset, std::int64_t ordinal = 0, std::uint32_t partition = 0) {
  return {Partition{partition}, Offset{offset}, ordinal,
          WallTime{static_cast<std::int64_t>(offset) * 1'000'000}, Sequence{offset + 1}};
}

inline Value text(std::string value) {
  return Value{std::move(value)};
}
inline Value number(std::int64_t value) {
  return Value{value};
}

// A row with every text "", every integer 0 and every nullable column null.
inline Row blank(View view, RowFrom from) {
  Row row;
  row.from = from;
  for (const Column& column : schema_of(view).columns) {
    if (column.nullable) {
      row.values.emplace_back();
    } else if (column.type == ColumnType::integer) {
      row.values.emplace_back(std::int64_t{0});
    } else {
      row.values.emplace_back(std::string{});
    }
  }
  return row;
}

// A blank row with some of its columns set.
inline RowInsert insert(View view, RowFrom from, const std::vector<std::pair<std::size_t, Value>>& values) {
  Row row = blank(view, from);
  for (const auto& [column, value] : values) row.values[column] = value;
  return {view, std::move(row)};
}

inline RowInsert message(const std::string& id, const std::string& agent, RowFrom from) {
  return insert(
      View::messages, from,
      {{messages::id, text(id)}, {messages::agent_id, text(agent)}, {messages::content, text("\"hi\"")}});
}

inline RowInsert agent(const std::string& id, const std::string& name, std::int64_t created_at,
                       RowFrom from) {
  return insert(
      View::agents, from,
      {{agents::id, text(id)}, {agents::name, text(name)}, {agents::created_at, number(created_at)}});
}

inline RowInsert tag(const std::string& agent_id, const std::string& name, RowFrom from) {
  return insert(View::tags, from, {{tags::agent_id, text(agent_id)}, {tags::tag, text(name)}});
}

inline RowClose close(View view, std::vector<Value> key, std::uint64_t offset) {
  return {view, std::move(key), {Offset{offset}, WallTime{static_cast<std::int64_t>(offset) * 1'000'000}}};
}

inline Filter equal(int column, Value value) {
  return {column, Filter::Op::equal, {std::move(value)}};
}
inline Filter equal(std::size_t column, Value value) {
  return equal(static_cast<int>(column), std::move(value));
}

}  // namespace varve::test
