// varve fork: asks a server that runs for a new agent of what one was at a moment (api/fork_routes.cpp).
// First for the cut that the moment means, so that whatever is asked again is about the same one; then for
// the fork, under a key that is printed before: with it the same fork is gone on with, by hand or here.
#pragma once

#include <cstdint>
#include <string>

#include "cli/server_client.h"

namespace varve {

struct ForkCommand {
  std::string agent;
  std::string as_of;
  std::string name;  // Empty: the server's choice.
  std::string key;   // Empty: one is drawn.
  ServerPlace place;
  bool json = false;
  std::int64_t retry_seconds = 60;  // How long to try again what may pass.
};
int run_fork(const ForkCommand& options);

}  // namespace varve
