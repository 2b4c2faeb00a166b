// StoryStage: a story on a simulated cluster without faults of its own, with every oracle on, and one node
// killed after one step. The sweep (sim/sweep.h) plays a story once for every step.
//
// Promises: the same StoryRun gives the same trace; up to its crash a run is the run without it. Never: a
// fault besides the crash and what the story itself does.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sim/cluster_oracles.h"
#include "sim/cluster_world.h"
#include "sim/other_place.h"
#include "sim/spec_check.h"
#include "sim/story.h"

namespace varve::sim {

class StoryStage;

// What there is to be played.
struct StoryKind {
  std::string name;
  std::string what;  // In a few words.
  ClusterWorld::Options world;
  std::string model_script = "{}";
  std::size_t first_nodes = 1;  // Boot at the beginning; the story boots the others.
  bool elsewhere = false;       // There is another place (sim/other_place.h); it boots at the beginning, too.
  std::function<std::unique_ptr<Story>(StoryStage&)> make;

  // Of which one can be killed: the nodes, and behind them the other place.
  std::size_t machines() const { return world.nodes + (elsewhere ? 1 : 0); }
};

struct StoryRun {
  std::uint64_t seed = 1;
  std::uint64_t crash_after_step = 0;  // 0 = only what the story itself does.
  std::size_t node = 0;                // Which machine is killed then, if it is up.
  bool sparse_log = false;
  bool print_trace = false;
  std::optional<Tape> tape;  // Its decisions instead of the seed's.
  bool record = false;       // What was decided, in the result's tape.
  Scheduler::LineReader on_line;
};

struct StoryResult {
  std::uint64_t steps = 0;
  std::uint64_t story_steps = 0;  // Until its client was done and everything had come to rest.
  std::uint64_t trace_hash = 0;
  std::uint64_t simulated_ms = 0;
  std::vector<std::string> failures;  // Of the client's expectations and of the oracles.
  std::map<std::string, std::uint64_t, std::less<>> counters;
  Tape tape;
};

StoryResult run_story(const StoryKind& kind, const StoryRun& run);

class StoryStage final : public Stage {
 public:
  StoryStage(const StoryKind& kind, const StoryRun& run);
  ~StoryStage() override;

  StoryResult play();

  // ---- for stories ----

  void boot() override { boot(0); }
  void crash() override { crash(0); }
  bool up() const override { return world_.up(0); }
  SimEnv& client() override { return client_; }
  std::size_t nodes() const override { return world_.nodes(); }
  Task<Exchange> exchange(std::size_t node, Request request, Duration patience) override;
  void boot(std::size_t node) { world_.boot(node); }
  void crash(std::size_t node);
  // Kills it, if it is up, and boots it again soon.
  void crash_for_a_while(std::size_t node);

  ClusterWorld& world() { return world_; }
  OtherPlace& elsewhere() { return *elsewhere_; }
  History& history() { return history_; }
  const LogOracle& log() const { return oracles_.log(); }
  StoryClient::Ears ears();
  // The system prompt of the last model call of a turn that answers this text; empty = there was none.
  std::string shown_to_model(const std::string& user_text) const;
  Partition home_of(const std::string& stream) const {
    return partition_of(StreamId{stream}, world_.options().partitions);
  }

 private:
  ClusterOracles::Options oracle_options();
  bool step();
  bool at_rest();
  void come_to_rest(StoryResult& result);
  void count_life(std::size_t node);

  StoryRun run_;
  std::size_t first_nodes_;
  Choices choices_;
  std::map<std::string, std::string> shown_;  // By the last text of a user.
  ClusterWorld world_;
  SimEnv client_;
  SimClient http_;
  History history_;
  StorageLogView<SimLogStorage> log_view_;
  MemoryViewsView views_view_;
  MemoryStatesView states_view_;
  ClusterOracles oracles_;
  SpecCheck spec_;
  std::optional<OtherPlace> elsewhere_;
  std::map<std::string, std::uint64_t, std::less<>> counted_;
  std::unique_ptr<Story> story_;
};

}  // namespace varve::sim
