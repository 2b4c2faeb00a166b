// What the API shows of an agent, as text that two agents can be compared by: one and its fork, one and the
// same where it was carried to. Pure.
#pragma once

#include <string>
#include <string_view>

#include "runtime/json.h"

namespace varve::sim {

// A member as text; "-" if it is not there.
std::string member_text(const Json& object, std::string_view key);
// With its blocks (include=agent.blocks), without ids and its name.
std::string shown_agent(const Json& agent);
// A list of messages, oldest first, without ids and times.
std::string shown_messages(const Json& messages);
// For the value of a query.
std::string percent_encoded(std::string_view text);

}  // namespace varve::sim
