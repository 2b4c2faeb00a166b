// What commands print of JSON: tables of text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/json.h"

namespace varve {

using TableLine = std::vector<std::string>;

// A member as text; "-" if there is none.
std::string shown(const Json& object, std::string_view key);
// On standard output, columns as wide as their longest cell.
void print_table(const std::vector<TableLine>& lines);

}  // namespace varve
