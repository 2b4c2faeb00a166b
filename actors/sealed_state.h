// The personal texts of an actor's state, sealed for its snapshot and opened after it was read. As those of
// its events (eventlog/personal_texts.h).
//
// Promises: opening what was sealed gives the state that it was, with the sizes that its context counts by.
// What the key does not open, and what is not sealed, stays as it is: to open twice is to open once. Pure.
#pragma once

#include "actors/actor_state.h"
#include "eventlog/sealed_text.h"

namespace varve {

void seal_state(ActorState& state, const TextSeal& seal);
void open_state(ActorState& state, const TextSeal& seal);

// A part of a commit with its texts sealed or opened. `salt`: of the command.
void seal_part(Part& part, const TextSeal& seal, const std::string& salt);
Part opened_part(const Part& part, const TextSeal& seal);

// True if the part begins a stream whose texts are sealed.
bool begins_erasable(const Part& part);
// What its AgentErased says, if it has one.
const AgentErased* erasure_in(const Part& part);

}  // namespace varve
