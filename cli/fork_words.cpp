#include "cli/fork_words.h"

#include <CLI/CLI.hpp>

#include "cli/config.h"

namespace varve {

bool ForkWords::chosen() const {
  return fork != nullptr && fork->parsed();
}

void add_fork(CLI::App& app, ConfigFlags& flags, ForkWords& words) {
  words.fork = app.add_subcommand("fork", "Make a new agent of what one was at a moment of the log");
  ForkCommand& options = words.options;
  words.fork->add_option("agent", options.agent, "As agent-..")->required();
  words.fork
      ->add_option("--as-of", options.as_of,
                   "A time as 2026-01-31T12:00:00Z, a position as 1:88, or a cut as 0:17,1:88")
      ->required();
  words.fork->add_option("--name", options.name, "Of the new agent (default: the old one's with _fork)");
  words.fork->add_option("--key", options.key, "Go on with the fork that printed this key");
  words.fork->add_option("--retry-seconds", options.retry_seconds, "How long to try again what may pass")
      ->check(CLI::Range(0, 3600))
      ->capture_default_str();
  words.fork->add_flag("--json", options.json, "The server's answer instead of the new agent's id");
  add_server_place(*words.fork, flags, options.place.server);
}

int run(const ForkWords& words, const Config& config) {
  ForkCommand options = words.options;
  options.place.password = config.password;
  return run_fork(options);
}

}  // namespace varve
