// The words of `varve fork`, taken apart.
#pragma once

#include "cli/fork.h"
#include "cli/projections.h"

namespace varve {

struct ForkWords {
  CLI::App* fork = nullptr;
  ForkCommand options;

  bool chosen() const;
};
void add_fork(CLI::App& app, ConfigFlags& flags, ForkWords& words);
int run(const ForkWords& words, const Config& config);

}  // namespace varve
