// The table of seeded bugs, and that nothing is switched on by itself. Which of them are found is what
// `varve-sim mutants` says (sim_mutants_fast).
#include "sim/mutants.h"

#include <gtest/gtest.h>

#include <set>

#include "sim/swarm.h"

namespace varve::sim {
namespace {

constexpr auto kLast = Mutant::snapshot_over_erasure;

TEST(Mutants, EveryOneIsInTheTableOnce) {
  std::set<Mutant> known;
  std::set<std::string> ids;
  for (const MutantInfo& info : all_mutants()) {
    EXPECT_TRUE(known.insert(info.mutant).second) << info.id;
    EXPECT_TRUE(ids.insert(info.id).second) << info.id;
    EXPECT_EQ(&info, find_mutant(info.id));
    EXPECT_NE("", std::string(info.wrong)) << info.id;
    EXPECT_GT(info.budget, 0U) << info.id;
  }
  EXPECT_FALSE(known.contains(Mutant::none));
  EXPECT_EQ(static_cast<std::size_t>(kLast), known.size());
  EXPECT_EQ(kLast, *known.rbegin());
  EXPECT_EQ(Mutant::canary, all_mutants().front().mutant);
  EXPECT_EQ(nullptr, find_mutant("no-such-bug"));
}

TEST(Mutants, OneIsSwitchedOnAndOffAgain) {
  for (const MutantInfo& info : all_mutants()) EXPECT_FALSE(mutant(info.mutant)) << info.id;
  {
    const SwitchedOn wrong(Mutant::gaps_count);
    for (const MutantInfo& info : all_mutants()) {
      EXPECT_EQ(info.mutant == Mutant::gaps_count, mutant(info.mutant)) << info.id;
    }
    EXPECT_FALSE(mutant(Mutant::none));
  }
  EXPECT_FALSE(mutant(Mutant::gaps_count));
}

TEST(Mutants, TheCanarySingsInEveryRun) {
  SwarmRun run;
  for (run.seed = 1; run.seed <= 3; ++run.seed) {
    const SwarmResult calm = run_swarm(run);
    EXPECT_TRUE(calm.violations.empty()) << calm.token << " " << calm.violations.front().what;
    const SwitchedOn wrong(Mutant::canary);
    const SwarmResult sung = run_swarm(run);
    ASSERT_FALSE(sung.violations.empty()) << sung.token;
    EXPECT_EQ("Canary", sung.violations.front().invariant);
  }
}

}  // namespace
}  // namespace varve::sim
