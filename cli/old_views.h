// old_views: removes the view files of older generations from a data directory. Views are derived: what is
// removed here could be folded again from the log. Never touches the present generation's file, a newer one,
// or anything else. Call it while the directory is locked and the present views have caught up.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace varve {

struct OldViews {
  std::vector<std::string> removed;  // Names of files, in the order of the alphabet.
  std::vector<std::string> failed;   // "views-1.db: Permission denied"; they stay, which harms nobody.
};
OldViews remove_old_views(const std::string& data_dir, std::uint64_t generation);

}  // namespace varve
