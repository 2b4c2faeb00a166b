// What the two forms of `varve verify` share, and what a server says when its own verification finds a
// difference: how it is repaired.
#pragma once

#include <string>

#include "cli/commands.h"
#include "cli/config.h"

namespace varve {

class RealEnv;
struct ProjectionStores;

// The command that makes the views anew where these are.
std::string rebuild_command(const Config& config);
void say_how_to_repair(const Config& config);

// verify --continuous. The stores are open; ends with the Env shut down.
int run_verify_continuously(RealEnv& env, const Config& config, ProjectionStores& stores,
                            const VerifyCommand& command);

}  // namespace varve
