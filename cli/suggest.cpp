#include "cli/suggest.h"

#include <algorithm>
#include <numeric>

namespace varve {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);  // Distances of a prefix of `a` to every prefix of `b`.
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::string suggestion(std::string_view name, const std::vector<std::string>& candidates) {
  constexpr std::size_t kNameBytesMax = 256;  // Nobody mistypes more, and the work is quadratic.
  if (name.size() > kNameBytesMax) return {};
  const std::string* nearest = nullptr;
  std::size_t distance = 2 + name.size() / 4;
  for (const std::string& candidate : candidates) {
    const std::size_t its = edit_distance(name, candidate);
    if (its >= distance) continue;
    distance = its;
    nearest = &candidate;
  }
  return nearest == nullptr ? "" : "; did you mean '" + *nearest + "'?";
}

}  // namespace varve
