// ActorNode: a node alone on stores that it is given, and the durable commands that benchmarks send through
// its actors, many agents with one command in flight each.
//
// Whatever goes wrong ends the process with a sentence: half a measurement is none. Not for tests.
#pragma once

#include <functional>
#include <memory>

#include "actors/echo_model.h"
#include "api/node.h"
#include "runtime/real_env.h"
#include "tests/bench/measure.h"

namespace varve::bench {

class ActorNode {
 public:
  struct Stores {
    std::unique_ptr<EventLog> log;
    std::unique_ptr<SnapshotStore> snapshots;
    std::unique_ptr<ViewStore> views;
  };
  using Open = std::function<Stores(RealEnv&)>;

  // `fold`: the views are kept up to date.
  ActorNode(const Open& open, bool fold);
  ~ActorNode();
  ActorNode(const ActorNode&) = delete;
  ActorNode& operator=(const ActorNode&) = delete;

  RealEnv& env() { return env_; }
  Node& node() { return node_; }
  // Runs the node until `task` has ended.
  void run(Task<> task);
  std::uint64_t counted(std::string_view counter) const;

 private:
  static Task<> stop_after(RealEnv& env, Task<> task);

  RealEnv env_;
  EchoModel model_;
  Stores stores_;
  Node node_;
};

[[noreturn]] void give_up(const Error& error);
// The value, or the end of the process.
template <class T>
T must(Result<T> result) {
  if (!result) give_up(result.error());
  return std::move(*result);
}

StreamId nth_agent(std::size_t n);
CommandEnvelope command_to(ActorNode& server, const StreamId& stream, Command what);
// Waits until all partitions are owned, and makes so many agents.
Task<> prepare(ActorNode& server, std::size_t agents);
// Updates of one agent, one after the other, as long as any are left.
Task<> update_loop(ActorNode& server, std::size_t n, std::size_t& left);

struct ActorFigures {
  Cost cost;         // Of a command.
  double batch = 0;  // Commands in one batch of the log, as a mean.
  double bytes = 0;  // Of a record, as a mean.
};
// So many updates by so many agents at once.
ActorFigures measure_updates(ActorNode& server, std::size_t agents, std::size_t commands);

}  // namespace varve::bench
