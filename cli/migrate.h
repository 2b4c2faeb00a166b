// varve migrate: brings the schema of a PostgreSQL database up to date, or says what it lacks. The embedded
// store needs no such command: it migrates itself when it is opened.
#pragma once

#include "cli/config.h"

namespace varve {

struct MigrateCommand {
  bool check = false;  // Only look.
};

// 0: the schema is current (now). 1: it lacks something (`check`), is not ours, or cannot be reached. 2: no
// url.
int run_migrate(const Config& config, const MigrateCommand& options);

}  // namespace varve
