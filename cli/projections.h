// The words of `varve projections ..`, taken apart. Each family of commands adds its own to the group, and
// says with chosen() whether the command line named one of them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cli/quarantine.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the library's.
class App;
}

namespace varve {

struct Config;

// What the command line says of keys of the configuration.
using ConfigFlags = std::map<std::string, std::vector<std::string>>;

// Whether the command line named it; null: no.
bool is_chosen(const CLI::App* command);
// An option --name VALUE that sets `key`.
void add_key(CLI::App& command, ConfigFlags& flags, const std::string& name, const std::string& key,
             const std::string& about);

// The group; whoever asks for it first makes it.
CLI::App& projections_group(CLI::App& app);

// --server, and where the password is, for a command that acts through a server that runs.
void add_server_place(CLI::App& command, ConfigFlags& flags, std::string& server);

struct QuarantineWords {
  CLI::App* list = nullptr;
  CLI::App* show = nullptr;
  CLI::App* retry = nullptr;
  CLI::App* skip = nullptr;
  QuarantineCommand options;

  bool chosen() const;
};
void add_quarantine(CLI::App& projections, ConfigFlags& flags, QuarantineWords& words);
int run(const QuarantineWords& words, const Config& config);

}  // namespace varve
