// Layers of the configuration: what a file, the environment or the flags say, before anybody has judged it.
// Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/config.h"

namespace varve {

struct RawValue {
  std::string key;     // "listen", "providers.ollama.base_url"; "providers.ollama" for the table itself.
  Json value;          // An object stands for a table, null for what is of no kind that we know.
  std::string origin;  // "file", "environment", "flag".
  std::string where;   // "varve.toml:3", "VARVE_LISTEN", "--listen".
};

// One value a key at most.
using Layer = std::vector<RawValue>;

const RawValue* find_value(const Layer& layer, std::string_view key);

// In the order of the file. `path` is for messages only.
Result<Layer> file_layer(const std::string& text, const std::string& path);

// VARVE_ names, and those that other servers of this API go by. `named` are the providers that a file has, so
// that VARVE_PROVIDERS_MY_VLLM_API_KEY finds "my-vllm".
Result<Layer> environment_layer(const std::map<std::string, std::string>& environment,
                                const std::vector<std::string>& named);

Layer flag_layer(const std::map<std::string, std::vector<std::string>>& flags);

}  // namespace varve
