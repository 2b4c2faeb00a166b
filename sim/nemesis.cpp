#include "sim/nemesis.h"

#include <algorithm>

namespace varve::sim {
namespace {

constexpr std::uint64_t kLongestUs = 15'000'000;
constexpr std::uint64_t kClockJumpUs = 3'600'000'000ULL;
constexpr std::uint64_t kFailoverMax = 12;
// How long a held save waits for another owner's.
constexpr std::chrono::seconds kHeldMax{60};

}  // namespace

Nemesis::Nemesis(ClusterWorld& world, const SwarmConfig& config, History& history, ClusterOracles& oracles,
                 std::function<void(std::size_t)> before_crash)
    : world_(world),
      config_(config),
      history_(history),
      oracles_(oracles),
      before_crash_(std::move(before_crash)) {}

void Nemesis::start() {
  haunting_ = true;
  world_.world().spawn("nemesis", haunt(this));
}

void Nemesis::stop() {
  haunting_ = false;
  if (holding_) world_.snapshots().release();
  holding_ = false;
}

Task<> Nemesis::haunt(Nemesis* self) {
  Choices& choices = self->world_.scheduler().choices();
  while (self->haunting_) {
    co_await sleep_for(self->world_.world(), std::chrono::milliseconds{100});
    if (!self->haunting_) break;
    self->look();
    for (std::size_t one = 0; one < kFaultClasses; ++one) {
      // The intensity is that of a request; of a tenth of a second it is half of it, and not too much.
      const std::uint32_t ppm = std::min(self->config_.ppm[one] / 2, 60'000U);
      const auto its_class = static_cast<FaultClass>(one);
      if (choices.chance(track_of(its_class), ppm, 1'000'000)) self->strike(its_class);
    }
  }
  co_return ok();
}

Duration Nemesis::draw_time(FaultClass one) {
  return std::chrono::microseconds{1000 + world_.scheduler().choices().spread(track_of(one), kLongestUs)};
}

void Nemesis::later(Duration time, Callback work) {
  world_.world().call_at(world_.world().now() + time, std::move(work));
}

// What it takes is drawn first, whether it can be used or not.
void Nemesis::strike(FaultClass one) {
  switch (one) {
    case FaultClass::leader:
      return world_.log().change_leader(
          Partition{static_cast<std::uint32_t>(choose(one, world_.options().partitions))});
    case FaultClass::group:
      return world_.owning().take_one();
    case FaultClass::snapshots:
      return harm_snapshots();
    case FaultClass::vanish:
      return lose_row();
    case FaultClass::failover:
      return fail_over();
    case FaultClass::foreign_claim:
      return claim_for_another_cluster();
    case FaultClass::clock:
      return set_clock(draw_node(one));
    case FaultClass::zombie_save:
      return hold_save(draw_node(one));
    case FaultClass::crash:
    case FaultClass::pause:
    case FaultClass::isolation:
    case FaultClass::partition:
    case FaultClass::twin:
      break;
    default:
      return;  // Of requests only.
  }
  const std::size_t node = draw_node(one);
  const Duration time = draw_time(one);
  if (one == FaultClass::crash) return crash(node, time);
  if (one == FaultClass::pause) return pause(node, time);
  if (one == FaultClass::isolation) return cut_off(node, time);
  if (one == FaultClass::twin) return begin_twin(node, time, draw_time(one));
  world_.counters().add("fault.node.partition");
  world_.network().cut(kEverybody, ClusterWorld::place(node));
  later(time, [this, node] { world_.network().mend(kEverybody, ClusterWorld::place(node)); });
}

// ---- nodes

void Nemesis::crash(std::size_t node, Duration time) {
  if (!world_.up(node)) return;
  world_.counters().add("fault.node.crash");
  before_crash_(node);
  world_.crash(node);
  later(time, [this, node] {
    if (!world_.up(node)) world_.boot(node);
  });
}

void Nemesis::crash_all(Duration longest) {
  for (std::size_t node = 0; node < world_.nodes(); ++node) {
    crash(node, longest / static_cast<std::int64_t>(node + 1));
  }
}

void Nemesis::pause(std::size_t node, Duration time) {
  if (!world_.up(node) || world_.env(node).paused()) return;
  world_.counters().add("fault.node.pause");
  world_.env(node).pause();
  later(time, [this, node] {
    if (world_.up(node)) world_.env(node).resume();
  });
}

void Nemesis::set_clock(std::size_t node) {
  Choices& choices = world_.scheduler().choices();
  world_.counters().add("fault.node.clock");
  const Track track = track_of(FaultClass::clock);
  NodeClock clock;
  clock.drift_ppm = static_cast<std::int64_t>(choices.choose(track, 100'000)) - 50'000;
  clock.wall_offset_us = static_cast<std::int64_t>(choices.spread(track, kClockJumpUs));
  if (choices.chance(track, 1, 2)) clock.wall_offset_us = -clock.wall_offset_us;
  world_.set_clock(node, clock);
}

void Nemesis::cut_off(std::size_t node, Duration time) {
  world_.counters().add("fault.node.cut_off");
  world_.cut_off(node, true);
  later(time, [this, node] { world_.cut_off(node, false); });
}

// Somebody has taken the paused process for dead and started another one. The first comes back after a while,
// and is found and ended some time later.
void Nemesis::begin_twin(std::size_t node, Duration time, Duration until_its_end) {
  if (!world_.up(node) || world_.has_twin(node)) return;
  world_.counters().add("fault.node.twin");
  world_.begin_twin(node);
  later(time, [this, node] { world_.resume_twin(node); });
  later(time + until_its_end, [this, node] { world_.end_twin(node); });
}

// ---- the log

void Nemesis::claim_for_another_cluster() {
  const Partition partition{
      static_cast<std::uint32_t>(choose(FaultClass::foreign_claim, world_.options().partitions))};
  const Epoch epoch = oracles_.log().epoch(partition);
  if (epoch == Epoch{}) return;  // The log would be that cluster's.
  Claim claim;
  claim.epoch = next(epoch);
  claim.id = command_id_from_text("foreign " + std::to_string(world_.scheduler().steps()));
  claim.cluster = "another";
  claim.node = "stranger";
  claim.url = "http://stranger:9000";
  claim.partitions = world_.options().partitions;
  claim.at = world_.world().wall_now();
  auto bytes = encode_record(claim);
  CHECK(bytes.has_value());
  world_.counters().add("fault.log.foreign_claim");
  world_.log().land(partition, std::move(*bytes));
}

// ---- the database

// Rows are damaged at any time. They are lost while every node is down, as by a database that was restored: a
// late save that puts a lost row back older is taken for it by the next recovery (docs/spec, rule 36).
void Nemesis::harm_snapshots() {
  const FaultClass one = FaultClass::snapshots;
  const auto& rows = world_.snapshots().storage()->snapshots;
  const std::uint64_t how = choose(one, 8);
  const Duration time = draw_time(one);
  if (rows.empty()) return;
  auto row = rows.begin();
  std::advance(row, static_cast<std::ptrdiff_t>(choose(one, rows.size())));
  const StreamId stream = row->first;
  if (how % 2 == 1 && how != 7) {
    world_.snapshots().damage_snapshot(stream);
    return;
  }
  crash_all(time);
  // Nothing that is under way reaches a database that was restored: an older row in the place of the lost one
  // would be taken for it.
  world_.snapshots().link().disconnect();
  if (how == 7) {
    world_.snapshots().lose_all();
  } else {
    world_.snapshots().lose_snapshot(stream);
  }
}

void Nemesis::lose_row() {
  const auto& rows = world_.snapshots().storage()->snapshots;
  if (rows.empty()) return;
  auto row = rows.begin();
  std::advance(row, static_cast<std::ptrdiff_t>(choose(FaultClass::vanish, rows.size())));
  const StreamId stream = row->first;
  world_.snapshots().lose_snapshot(stream);
}

// Views go back under running nodes; with snapshots and recovery rows, while every node is down, as above.
void Nemesis::fail_over() {
  const FaultClass one = FaultClass::failover;
  const bool both = choose(one, 2) == 1;
  const std::uint64_t views_lost = 1 + choose(one, kFailoverMax);
  const std::uint64_t snapshots_lost = 1 + choose(one, kFailoverMax);
  const Duration time = draw_time(one);
  if (both) crash_all(time);
  std::map<Partition, Offset> before;
  for (const auto& [partition, checkpoint] : world_.views().storage()->checkpoints) {
    before[partition] = checkpoint.next;
  }
  if (both) world_.snapshots().failover(snapshots_lost);
  if (world_.views().failover(views_lost) == 0) return;
  oracles_.views_went_back();
  history_.views_lost();
  for (const auto& [partition, next_offset] : before) {
    Offset& wanted = to_fold_again_[partition];
    wanted = std::max(wanted, next_offset);
  }
}

void Nemesis::look() {
  look_at_held_save();
  if (to_fold_again_.empty()) return;
  const auto& checkpoints = world_.views().storage()->checkpoints;
  for (const auto& [partition, wanted] : to_fold_again_) {
    const auto now = checkpoints.find(partition);
    if (now == checkpoints.end() || now->second.next < wanted) return;
  }
  to_fold_again_.clear();
  history_.views_caught_up();
  world_.counters().add("sometimes.views.folded_again_after_a_failover");
}

// The next save is held on its way; then its owner is made to lose its partitions.
void Nemesis::hold_save(std::size_t node) {
  const std::uint64_t how = choose(FaultClass::zombie_save, 3);
  const Duration time = draw_time(FaultClass::zombie_save);
  const bool damage = choose(FaultClass::zombie_save, 3) == 2;
  if (holding_ || !world_.up(node)) return;
  world_.snapshots().hold_next_put(ClusterWorld::place(node));
  holding_ = true;
  struck_ = false;
  how_ = how;
  how_long_ = std::chrono::seconds{8} + time;
  damage_ = damage && config_.has(FaultClass::snapshots);
  held_until_ = world_.world().now() + kHeldMax;
}

void Nemesis::look_at_held_save() {
  if (!holding_) return;
  SnapshotDatabase& snapshots = world_.snapshots();
  const auto* rows = snapshots.held();
  if (rows != nullptr && !struck_) {
    struck_ = true;
    world_.counters().add("fault.snapshots.held");
    for (std::size_t node = 0; node < world_.nodes(); ++node) {
      if (ClusterWorld::place(node) != snapshots.held_by()) continue;
      if (how_ == 0) crash(node, std::chrono::seconds{1});
      if (how_ == 1) pause(node, how_long_);
      if (how_ == 2) cut_off(node, how_long_);
    }
  }
  const auto overtaken = [&snapshots](const SnapshotRow& row) {
    const auto stored = snapshots.storage()->snapshots.find(row.stream);
    return stored != snapshots.storage()->snapshots.end() && row.sequence < stored->second.sequence;
  };
  const bool late = rows != nullptr && std::any_of(rows->begin(), rows->end(), overtaken);
  if (!late && world_.world().now() < held_until_) return;
  holding_ = false;
  if (late && damage_) {
    for (const SnapshotRow& row : *rows) {
      if (overtaken(row)) snapshots.damage_snapshot(row.stream);
    }
  }
  snapshots.release();
  if (!late) return;
  world_.counters().add("fault.snapshots.landed_behind_newer");
  // Whoever recovers now finds what is there now.
  crash_all(std::chrono::seconds{1});
}

}  // namespace varve::sim
