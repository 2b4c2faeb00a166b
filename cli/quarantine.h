// varve projections quarantine: streams that wait at an event which could not be folded, shown by the server
// that runs (api/quarantine_routes.h), tried again, or let go on without the event. What a retry or a skip
// does is printed before it is done; a skip, which is for ever, and a retry want a yes, typed or --yes.
#pragma once

#include <string>

#include "cli/server_client.h"

namespace varve {

struct QuarantineCommand {
  enum class Action : unsigned char { list, show, retry, skip };
  Action action = Action::list;
  std::string stream;
  ServerPlace place;
  bool json = false;
  bool yes = false;
};
int run_quarantine(const QuarantineCommand& options);

}  // namespace varve
