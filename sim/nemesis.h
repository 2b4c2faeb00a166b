// Nemesis: what happens to the nodes of a swarm while clients work: crashes, pauses, clocks, cuts, a second
// process in a paused one's place, what comes into the log from elsewhere, a database that goes back or loses
// rows, and saves that land when somebody else has saved since.
//
// Every tenth of a second each class that is switched on may strike; whom and for how long is decided on the
// track of the class, where one strike is a decision and the few behind it. stop() ends it; what it has begun
// and was to undo later is the world's to heal. Lifetime: ends before its world.
#pragma once

#include <functional>
#include <map>

#include "sim/cluster_oracles.h"
#include "sim/swarm_config.h"

namespace varve::sim {

class Nemesis {
 public:
  // `before_crash` is told a node that is about to end. All must outlive it.
  Nemesis(ClusterWorld& world, const SwarmConfig& config, History& history, ClusterOracles& oracles,
          std::function<void(std::size_t node)> before_crash);

  void start();
  void stop();
  // Looks whether what it waits for has come; needed after stop(), too.
  void look();

 private:
  static Task<> haunt(Nemesis* self);
  void strike(FaultClass one);
  void crash(std::size_t node, Duration time);
  void crash_all(Duration longest);
  void pause(std::size_t node, Duration time);
  void set_clock(std::size_t node);
  void cut_off(std::size_t node, Duration time);
  void begin_twin(std::size_t node, Duration time, Duration until_its_end);
  void harm_snapshots();
  void lose_row();
  void fail_over();
  void claim_for_another_cluster();
  void hold_save(std::size_t node);
  void look_at_held_save();
  void later(Duration time, Callback work);
  std::uint64_t choose(FaultClass one, std::uint64_t bound) {
    return world_.scheduler().choices().choose(track_of(one), bound);
  }
  std::size_t draw_node(FaultClass one) { return choose(one, world_.nodes()); }
  Duration draw_time(FaultClass one);

  ClusterWorld& world_;
  const SwarmConfig& config_;
  History& history_;
  ClusterOracles& oracles_;
  std::function<void(std::size_t)> before_crash_;
  bool haunting_ = false;
  // Where every partition's checkpoint stood before the database went back.
  std::map<Partition, Offset> to_fold_again_;
  bool holding_ = false;   // A save is to be held, or is.
  bool struck_ = false;    // Its owner has lost the partition, as far as that is ours to do.
  std::uint64_t how_ = 0;  // How it loses it, and for how long.
  Duration how_long_{};
  bool damage_ = false;  // What has overtaken it is damaged when it lands.
  MonoTime held_until_{};
};

}  // namespace varve::sim
