// Where in a JSON text its parser stopped, as people write it: " (at agents[0].messages[3].content)". Pure.
#pragma once

#include <string>
#include <string_view>

#include "runtime/result.h"

namespace varve {

// The path of the value at `byte`, as far as the text before it tells. Empty at the top.
std::string json_path_at(std::string_view text, std::size_t byte);
// For an error of Json::parse ("JSON error at byte N: .."): its place in parentheses, or nothing.
std::string place_of_error(std::string_view text, const Error& error);

}  // namespace varve
