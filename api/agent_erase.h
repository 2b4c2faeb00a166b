// Which blocks outlive an agent that is erased. Pure but for the reader.
#pragma once

#include <string>
#include <vector>

#include "projections/view_store.h"

namespace varve {

// The blocks that are or were attached to the agent and are attached to another one that is there.
Result<std::vector<StreamId>> blocks_of_others(ViewReader& reader, const std::string& agent);

}  // namespace varve
