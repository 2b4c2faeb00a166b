// Teleport: a stream of another log is carried here event by event, each with its sequence, its time and its
// command of there (EventTeleported), and is hidden until it is sealed.
//
// Promises: what has been carried is what was sent, in order and once, however often and in whatever pieces
// it is sent: a chain of hashes says so. Nothing is carried that a fold could not fold: an event that ends
// what is not there is refused (check_carried). Pure.
#pragma once

#include <string>

#include "actors/decide.h"

namespace varve {

// Begins the message of the Errc::not_found that a command meets which asks for an agent that is not here any
// more; what follows is ActorState::gone.
inline constexpr std::string_view kGone = "GONE ";
// Begins what ActorState::gone holds of an agent that has moved; its new place follows.
inline constexpr const char* kGoneMoved = "moved:";

// The command that the event came of, where it was decided.
CommandRef source_command(const EventTeleported& event);
// True for events that change when an agent or block was last updated.
bool changes_entity(const Event& event);

// The hash over a stream's events up to and with this one: 32 hexadecimal digits. `chain`: the same up to the
// one before; empty for the first. An event's origin is not in it, and neither is its source.
std::string next_chain(const std::string& chain, const EventTeleported& event);

// Errc::invalid_argument: `event` cannot follow in a stream of this state.
Status check_carried(const ActorState& state, const EventTeleported& event);
// Applies it. `state` has its stream's id, and nothing else before the first event.
void apply_carried(ActorState& state, EventTeleported event);
// Errc::invalid_argument: a stream of this state cannot be sealed; it has no agent or block, or no more.
Status check_sealable(const ActorState& state);

struct TeleportDecider {
  const ActorState& state;
  const Facts& facts;

  Result<Decision> operator()(const AppendTeleport& command) const;
  Result<Decision> operator()(const SealTeleport& command) const;
  Result<Decision> operator()(const MoveAgent& command) const;
};

// How far a stream is, as JSON: {"carried":N,"chain":"..","sealed":false}. Nothing is there: 0, "", false.
std::string teleport_json(const ActorState& state);

}  // namespace varve
