// Child: a piece of work in a process of its own, so that a CHECK that fails or a fault that kills ends the
// work alone. For runs that may break anything: candidates of the shrinker, cases of the corpus.
//
// Of the command line: it forks. Never part of a simulated run.
#pragma once

#include <functional>
#include <string>

namespace varve::sim {

struct ChildEnd {
  std::string said;   // What the work returned.
  int signal = 0;     // That killed it; then `said` means nothing.
  bool ended = true;  // False: it is gone without a word.
};

// What the child prints goes where ours goes, unless `silent`.
ChildEnd in_child(const std::function<std::string()>& work, bool silent);

}  // namespace varve::sim
