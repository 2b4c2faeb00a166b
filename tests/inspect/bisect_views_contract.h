// What reads of any view store as of cuts owe to those who bisect: on random logs full of ties in time and of
// records that do not count, they answer at every cut as a log folded in memory does, and name a record at
// which a condition turns true, in few looks. The files that include it say which store
// (bisect_views_contract.cpp is the exam).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "inspect/bisect_log.h"
#include "inspect/bisect_views.h"
#include "projections/worker.h"
#include "tests/inspect/inspect_log.h"

namespace varve::test {

// A store with what it stands on.
struct BisectedStore {
  std::shared_ptr<void> ground;
  std::shared_ptr<ViewStore> views;
};
struct BisectedCase {
  const char* name;
  std::function<BisectedStore(Env&)> open;

  friend std::ostream& operator<<(std::ostream& out, const BisectedCase& one) { return out << one.name; }
};
inline std::string name_of_bisected(const testing::TestParamInfo<BisectedCase>& info) {
  return info.param.name;
}

class BisectViewsContract : public InspectLog, public testing::WithParamInterface<BisectedCase> {
 public:
  // An agent as those who write its events must know it.
  struct Agent {
    std::string stream;
    std::vector<std::string> blocks;
    std::vector<std::string> context;
    std::vector<std::string> left;  // The context.
    bool tagged = false;
    bool importing = false;
    bool deleted = false;
  };

  // A log with so many commands, from nothing.
  void write(Rng& rng, int commands);
  // The views hold all of the log.
  void fold(ViewStore& views, std::size_t changes_max);

 private:
  void one_command(Rng& rng);
  void command(Rng& rng);
  void change(Rng& rng, Agent& agent);
  void seal(Agent& agent);
  void does_not_count(Rng& rng);

  std::vector<Agent> agents_;
  std::vector<std::string> blocks_;
  std::map<std::uint32_t, std::int64_t> newest_;  // Time of each partition's newest commit.
  std::int64_t latest_ = now_;                    // Of all.
  std::uint64_t ids_ = 0;
};

}  // namespace varve::test
