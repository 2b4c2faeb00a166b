// The catalogue: the one stream that holds every custom tool, because their names are unique. Tools are kept
// and offered to models; nothing here runs them. Built-in tools are code (memory_tools.h) and not in it.
// Pure.
#pragma once

#include <cstddef>

#include "actors/actor_state.h"
#include "actors/command.h"

namespace varve {

inline constexpr const char* kCatalogueStream = "catalogue";
inline constexpr std::size_t kToolsMax = 1'000;
inline constexpr std::size_t kToolBytesMax = std::size_t{256} << 10U;
inline constexpr std::size_t kCatalogueBytesMax = std::size_t{8} << 20U;  // So that its snapshot stays small.

// A merged copy; Errc::invalid_argument for a member of the wrong type.
Result<ToolValue> patched(const ToolValue& tool, const Json& patch);
// The tools that the command asks for, those by id first, each once.
std::vector<ToolValue> tools_asked_for(const ActorState& state, const ReadTools& command);
const CatalogueTool* tool_named(const CatalogueState& catalogue, std::string_view name);

}  // namespace varve
