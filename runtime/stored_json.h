// JSON that the program itself has written: records, snapshots, commands between nodes. What a client may
// nest as deep as kJsonDepthMax lies some levels deeper there, and must still be read. Pure.
#pragma once

#include "runtime/json.h"

namespace varve {

inline constexpr std::size_t kStoredJsonDepthMax = 2 * kJsonDepthMax;

// As Json::parse, but for the limit.
Result<Json> parse_stored_json(std::string_view text);

}  // namespace varve
