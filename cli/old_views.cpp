#include "cli/old_views.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>

namespace varve {
namespace {

// Of "views-<generation>.db" and what SQLite keeps beside it; nothing for every other name.
std::optional<std::uint64_t> generation_of(std::string_view name) {
  constexpr std::string_view kBegin = "views-";
  if (!name.starts_with(kBegin)) return std::nullopt;
  name.remove_prefix(kBegin.size());
  std::uint64_t generation = 0;
  const auto [end, fault] = std::from_chars(name.data(), name.data() + name.size(), generation);
  if (fault != std::errc{} || name.front() == '0') return std::nullopt;
  name.remove_prefix(static_cast<std::size_t>(end - name.data()));
  if (name != ".db" && name != ".db-wal" && name != ".db-shm") return std::nullopt;
  return generation;
}

}  // namespace

OldViews remove_old_views(const std::string& data_dir, std::uint64_t generation) {
  OldViews old;
  std::vector<std::string> names;
  std::error_code fault;
  for (std::filesystem::directory_iterator it(data_dir, fault), end; !fault && it != end;
       it.increment(fault)) {
    std::string name = it->path().filename().string();
    const auto found = generation_of(name);
    if (!found || *found >= generation) continue;
    std::error_code ignored;
    if (std::filesystem::is_regular_file(it->symlink_status(ignored))) names.push_back(std::move(name));
  }
  if (fault) old.failed.push_back(data_dir + ": " + fault.message());
  std::sort(names.begin(), names.end());
  for (std::string& name : names) {
    std::error_code refused;
    std::filesystem::remove(std::filesystem::path(data_dir) / name, refused);
    if (refused) {
      old.failed.push_back(name + ": " + refused.message());
    } else {
      old.removed.push_back(std::move(name));
    }
  }
  return old;
}

}  // namespace varve
