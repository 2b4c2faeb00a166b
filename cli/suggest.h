// suggest: what somebody who wrote a name that does not exist may have meant. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace varve {

// How many characters must be added, dropped or changed to make `b` of `a`.
std::size_t edit_distance(std::string_view a, std::string_view b);

// "; did you mean 'listen'?", or nothing if no candidate is near.
std::string suggestion(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace varve
