#include "cli/table.h"

#include <algorithm>
#include <iostream>

namespace varve {

std::string shown(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  if (value == nullptr || value->is_null()) return "-";
  if (!value->is_string()) return value->dump();
  return value->as_string().empty() ? "-" : value->as_string();
}

void print_table(const std::vector<TableLine>& lines) {
  std::vector<std::size_t> columns;
  for (const TableLine& line : lines) {
    columns.resize(std::max(columns.size(), line.size()));
    for (std::size_t i = 0; i < line.size(); ++i) columns[i] = std::max(columns[i], line[i].size());
  }
  for (const TableLine& line : lines) {
    std::string text;
    for (std::size_t i = 0; i < line.size(); ++i) {
      text += line[i];
      if (i + 1 < line.size()) text.append(columns[i] - line[i].size() + 2, ' ');
    }
    std::cout << text << "\n";
  }
}

}  // namespace varve
