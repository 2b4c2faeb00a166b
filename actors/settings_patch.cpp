// patched(): merges the members of a PATCH into settings or a block. The API has checked the types of what it
// knows; here a wrong type is still an error and never a crash.
#include <algorithm>

#include "actors/agent_block.h"
#include "runtime/json_fields.h"

namespace varve {
namespace {

void patch_text(JsonFields& fields, const Json& patch, std::string_view key, std::string& value) {
  const Json* found = patch.find(key);
  if (found != nullptr && !found->is_null()) value = fields.text(key);
}

void patch_optional(JsonFields& fields, const Json& patch, std::string_view key,
                    std::optional<std::string>& value) {
  const Json* found = patch.find(key);
  if (found != nullptr && !found->is_null()) value = fields.text(key);
}

void patch_texts(JsonFields& fields, const Json& patch, std::string_view key,
                 std::vector<std::string>& value) {
  const Json* found = patch.find(key);
  if (found != nullptr && !found->is_null()) value = fields.texts(key);
}

// Merges the members of patch.extra into the object `extra`.
void patch_extra(const Json& patch, std::string& extra) {
  const Json* changes = patch.find("extra");
  if (changes == nullptr || !changes->is_object() || changes->members().empty()) return;
  auto merged = Json::parse(extra);
  Json object = merged && merged->is_object() ? std::move(*merged) : Json::object();
  for (const auto& [key, value] : changes->members()) object.set(key, value);
  extra = object.dump();
}

// Each text once, in the order of their first places.
void keep_first_of_each(std::vector<std::string>& texts) {
  std::vector<std::string> kept;
  for (std::string& text : texts) {
    if (std::find(kept.begin(), kept.end(), text) == kept.end()) kept.push_back(std::move(text));
  }
  texts = std::move(kept);
}

}  // namespace

Result<AgentSettings> patched(const AgentSettings& settings, const Json& patch) {
  AgentSettings result = settings;
  JsonFields fields(patch, "patch", Errc::invalid_argument);
  patch_text(fields, patch, "name", result.name);
  patch_optional(fields, patch, "description", result.description);
  patch_text(fields, patch, "system", result.system);
  patch_text(fields, patch, "model", result.model);
  patch_optional(fields, patch, "embedding", result.embedding);
  patch_text(fields, patch, "timezone", result.timezone);
  patch_texts(fields, patch, "tools", result.tools);
  patch_texts(fields, patch, "tags", result.tags);
  const Json* window = patch.find("context_window");
  if (window != nullptr && !window->is_null()) result.context_window = fields.integer("context_window");
  const Json* metadata = patch.find("metadata");
  if (metadata != nullptr && !metadata->is_null()) result.metadata = metadata->dump();
  patch_extra(patch, result.extra);
  keep_first_of_each(result.tags);
  if (fields.fault()) return *fields.fault();
  return result;
}

Result<BlockValue> patched(const BlockValue& block, const Json& patch) {
  BlockValue result = block;
  JsonFields fields(patch, "patch", Errc::invalid_argument);
  patch_text(fields, patch, "label", result.label);
  patch_text(fields, patch, "value", result.value);
  patch_optional(fields, patch, "description", result.description);
  patch_texts(fields, patch, "tags", result.tags);
  const Json* limit = patch.find("limit");
  if (limit != nullptr && !limit->is_null()) result.limit = fields.integer("limit");
  const Json* read_only = patch.find("read_only");
  if (read_only != nullptr && !read_only->is_null()) result.read_only = fields.boolean_or("read_only", false);
  const Json* metadata = patch.find("metadata");
  if (metadata != nullptr && !metadata->is_null()) result.metadata = metadata->dump();
  patch_extra(patch, result.extra);
  if (fields.fault()) return *fields.fault();
  if (result.value.size() > kBlockBytesMax) return block_too_large(result.label, result.value.size());
  return result;
}

}  // namespace varve
