// The TOML file of the configuration as a layer of values with their lines.
#include <algorithm>
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "cli/config_layers.h"

namespace varve {
namespace {

Json to_json(const toml::node& node) {
  if (const auto* text = node.as_string()) return Json::string(text->get());
  if (const auto* number = node.as_integer()) return Json::integer(number->get());
  if (const auto* boolean = node.as_boolean()) return Json::boolean(boolean->get());
  if (node.is_table()) return Json::object();
  if (const auto* array = node.as_array()) {
    Json list = Json::array();
    for (const toml::node& item : *array) list.push_back(to_json(item));
    return list;
  }
  return Json::null();  // A fraction or a date: nothing here is one.
}

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {}

  void add_table(const toml::table& table, const std::string& prefix, int depth) {
    for (const auto& [name, node] : table) {
      const std::string key = prefix + std::string(name.str());
      const std::uint32_t line = name.source().begin.line;
      // Names of properties have dots, which TOML takes for tables: [kafka] sasl.mechanism = "PLAIN".
      const bool is_property = key == "kafka" || prefix.starts_with("kafka.");
      const bool is_inner = node.is_table() && (is_property || key == "providers" || depth == 1);
      // "providers" itself says nothing; a table below it says that there is such a provider.
      if (!is_inner || (depth == 1 && !is_property)) lines_.emplace_back(line, value_of(key, node, line));
      if (is_inner) add_table(*node.as_table(), key + ".", depth + 1);
    }
  }

  // toml++ sorts by name; which provider comes first is the writer's choice.
  Layer take() {
    std::stable_sort(lines_.begin(), lines_.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    Layer layer;
    layer.reserve(lines_.size());
    for (auto& [line, value] : lines_) layer.push_back(std::move(value));
    return layer;
  }

 private:
  RawValue value_of(const std::string& key, const toml::node& node, std::uint32_t line) const {
    return {key, to_json(node), "file", path_ + ":" + std::to_string(line)};
  }

  const std::string& path_;
  std::vector<std::pair<std::uint32_t, RawValue>> lines_;
};

}  // namespace

Result<Layer> file_layer(const std::string& text, const std::string& path) {
  const toml::parse_result parsed = toml::parse(text, path);
  if (!parsed) {
    const auto& at = parsed.error().source().begin;
    return Error{Errc::invalid_argument,
                 path + ":" + std::to_string(at.line) + ":" + std::to_string(at.column) +
                     ": this is not TOML: " + std::string(parsed.error().description())};
  }
  Reader reader(path);
  reader.add_table(parsed.table(), "", 0);
  return reader.take();
}

}  // namespace varve
