#include "eventlog/cut.h"

#include <algorithm>

namespace varve {
namespace {

bool before_partition(const LogPosition& position, Partition partition) {
  return position.partition < partition;
}

}  // namespace

Cut::Cut(const std::vector<LogPosition>& positions) {
  for (const LogPosition& position : positions) set(position);
}

Cut Cut::of_partition(const LogPosition& position) {
  Cut cut;
  cut.set(position);
  cut.others_whole_ = true;
  return cut;
}

void Cut::set(const LogPosition& position) {
  const auto place =
      std::lower_bound(positions_.begin(), positions_.end(), position.partition, before_partition);
  if (place != positions_.end() && place->partition == position.partition) {
    place->offset = position.offset;
  } else {
    positions_.insert(place, position);
  }
}

std::optional<Offset> Cut::last(Partition partition) const {
  const auto place = std::lower_bound(positions_.begin(), positions_.end(), partition, before_partition);
  if (place == positions_.end() || place->partition != partition) return std::nullopt;
  return place->offset;
}

bool Cut::holds(const LogPosition& position) const {
  const auto newest = last(position.partition);
  return newest ? position.offset <= *newest : others_whole_;
}

std::string to_string(const Cut& cut) {
  std::string text = to_string(cut.positions());
  if (cut.others_whole()) return text + ",*";
  return cut.positions().size() < 2 ? text + "," : text;
}

Result<Cut> parse_cut(std::string_view text) {
  const std::size_t comma = text.find(',');
  const Error no_cut{Errc::invalid_argument,
                     "a cut is written PARTITION:OFFSET,PARTITION:OFFSET,.. as in 0:17,1:88 (one of a single "
                     "partition with a comma behind it, 0:17,); not '" +
                         std::string(text) + "'"};
  if (comma == std::string_view::npos) return no_cut;
  if (text.ends_with(',')) text.remove_suffix(1);
  if (text.ends_with(',')) return no_cut;
  auto positions = parse_positions(text);
  if (!positions) return positions.error();
  return Cut{*positions};
}

}  // namespace varve
