// JSON of an actor's state, for snapshots. A snapshot that does not decode is treated like one that fails its
// hash: the stream is rebuilt from the log. Pure.
#pragma once

#include "actors/actor_state.h"

namespace varve {

// Raised whenever a state is folded differently; snapshots of another version are rebuilt from the log.
inline constexpr std::int64_t kStateVersion = 1;

std::string encode_state(const ActorState& state);
Result<ActorState> decode_state(std::string_view json);

}  // namespace varve
