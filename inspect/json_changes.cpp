#include "inspect/json_changes.h"

#include <algorithm>

namespace varve {
namespace {

std::string item_path(const std::string& path, std::size_t number) {
  return path + "[" + std::to_string(number) + "]";
}

class Comparer {
 public:
  void compare(const std::string& path, const Json& before, const Json& after) {
    if (before == after) return;
    if (before.is_object() && after.is_object()) {
      objects(path, before, after);
    } else if (before.is_array() && after.is_array()) {
      lists(path, before, after);
    } else {
      changes.push_back({path, before.dump(), after.dump()});
    }
  }

  std::vector<JsonChange> changes;

 private:
  void objects(const std::string& path, const Json& before, const Json& after) {
    const auto member = [&path](const std::string& name) { return path.empty() ? name : path + "." + name; };
    for (const auto& [name, value] : before.members()) {
      if (const Json* other = after.find(name); other != nullptr) {
        compare(member(name), value, *other);
      } else {
        changes.push_back({member(name), value.dump(), std::nullopt});
      }
    }
    for (const auto& [name, value] : after.members()) {
      if (before.find(name) == nullptr) changes.push_back({member(name), std::nullopt, value.dump()});
    }
  }

  // What is equal at both ends has stayed. In between, if as many came as went, they have changed in place.
  void lists(const std::string& path, const Json& before, const Json& after) {
    const auto& old_items = before.items();
    const auto& new_items = after.items();
    const std::size_t shorter = std::min(old_items.size(), new_items.size());
    std::size_t head = 0;
    while (head < shorter && old_items[head] == new_items[head]) ++head;
    std::size_t tail = 0;
    while (tail < shorter - head &&
           old_items[old_items.size() - 1 - tail] == new_items[new_items.size() - 1 - tail]) {
      ++tail;
    }
    const std::size_t gone = old_items.size() - head - tail;
    const std::size_t come = new_items.size() - head - tail;
    if (gone == come) {
      for (std::size_t i = head; i < head + gone; ++i)
        compare(item_path(path, i), old_items[i], new_items[i]);
      return;
    }
    for (std::size_t i = head; i < head + gone; ++i) {
      changes.push_back({item_path(path, i), old_items[i].dump(), std::nullopt});
    }
    for (std::size_t i = head; i < head + come; ++i) {
      changes.push_back({item_path(path, i), std::nullopt, new_items[i].dump()});
    }
  }
};

}  // namespace

std::vector<JsonChange> json_changes(const Json& before, const Json& after) {
  Comparer comparer;
  comparer.compare("", before, after);
  return std::move(comparer.changes);
}

}  // namespace varve
