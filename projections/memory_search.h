// Message search over the views in memory: reads every message that may be meant. The reference for what the
// other stores find. Pure.
#pragma once

#include <vector>

#include "projections/memory_view_store.h"

namespace varve {

// `search` has passed check_search().
std::vector<SearchHit> search_storage(const MemoryViewStorage& storage, const SearchQuery& search);

}  // namespace varve
