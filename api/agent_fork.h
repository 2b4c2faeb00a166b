// Forks: an agent as it was at a cut of the log, ready to be imported as a new one. What is taken along are
// its settings and tags, the values of its blocks (as values of new blocks), and its whole history with what
// was in its context; its runs, its id and the ids of its messages are not. Custom tools are shared, not
// copied.
//
// Promise: what it reads is of one moment, if the reader is (projections/cut_reader.h). Pure but for that.
#pragma once

#include <optional>
#include <string>

#include "api/agent_file.h"
#include "projections/view_store.h"

namespace varve {

// Nothing if there was no such agent then. Errc::conflict: two of its blocks had one label, and a new agent
// cannot have that. Errc::invalid_argument: it holds more than an import may.
Result<std::optional<ImportedAgent>> agent_to_fork(ViewReader& reader, const std::string& id);

// What was asked for, as the hash that tells a retry from another use of its key.
CommandHash fork_hash(const std::string& id, const Cut& cut, const std::string& name);

}  // namespace varve
