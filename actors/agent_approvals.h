// Tool calls that wait for a client: what a client's decisions make of them. Internal to actors/. Pure.
#pragma once

#include <set>

#include "actors/decide.h"

namespace varve {

// Puts what the client returned for the calls of `waiting` in front of `messages`, as messages of the tools.
// The approval messages among `messages` stay. Errc::invalid_argument names what does not fit.
Status take_approvals(const Message& waiting, std::vector<Message>& messages);

// The ids of the calls that these approval messages let the server run. A call that they do not name is
// approved too, so that one decision is enough for a reply with several calls.
std::set<std::string> approved_calls(const Message& waiting, const Message& approval);

}  // namespace varve
