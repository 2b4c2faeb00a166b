// Real owners against the specification: three nodes fight for one partition of a simulated log with every
// fault, are killed and paused, and each line that they trace must be a step that the specification allows.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "actors/partition_owner.h"
#include "runtime/suspend.h"
#include "sim/sim_log.h"
#include "sim/spec_check.h"

namespace varve::sim {
namespace {

constexpr Partition kPartition{0};
constexpr std::size_t kNodes = 3;
constexpr std::uint64_t kSteps = 30'000;

CommandId draw_id(Rng& rng) {
  CommandId id;
  for (std::uint8_t& byte : id.bytes) byte = static_cast<std::uint8_t>(rng.between(0, 255));
  return id;
}

// One incarnation: an owner, and a client of it that writes to three streams.
class Player final : public PartitionListener {
 public:
  Player(Scheduler& scheduler, const std::shared_ptr<SimLogStorage>& storage, std::string name,
         std::uint64_t seed)
      : env_(scheduler, name, seed),
        log_(env_, storage),
        owner_(env_, log_, kPartition, {"varve", name, ""}, *this, [this] { return prove(&env_); }) {
    env_.spawn("owner", owner_.run({}));
    env_.spawn("client", write(this));
  }
  ~Player() override { env_.kill(); }

  SimEnv& env() { return env_; }

  void on_commit(const Commit& commit, Offset /*offset*/) override {
    for (const Part& part : commit.parts) lengths_[part.stream] = part.first.value() + part.events.size() - 1;
  }
  void on_ruling(const Ruling& /*ruling*/) override {}
  void on_owned() override {}
  void on_stopped() override {}

 private:
  static Task<bool> prove(SimEnv* env) {
    co_await sleep_for(*env, std::chrono::milliseconds{1});
    co_return env->rng().between(1, 8) == 1;
  }
  static Task<> write(Player* self) {
    for (;;) {
      co_await sleep_for(self->env_, std::chrono::milliseconds{self->env_.rng().between(1, 20)});
      if (!self->owner_.owned()) continue;
      const StreamId stream{"s" + std::to_string(self->env_.rng().between(1, 3))};
      if (self->busy_.insert(stream).second) self->env_.spawn("commit", write_one(self, stream));
    }
  }
  static Task<> write_one(Player* self, StreamId stream) {
    std::vector<Part> parts;
    const std::uint64_t events = self->env_.rng().between(1, 2);
    parts.push_back({stream, Sequence{self->lengths_[stream] + 1}, {}});
    for (std::uint64_t i = 0; i < events; ++i) parts.front().events.emplace_back(Event{BlockDeleted{}});
    const CommandId id = draw_id(self->env_.rng());
    if (self->env_.rng().between(1, 5) == 1) {
      parts.push_back({StreamId{"b" + to_hex(id)}, Sequence{1}, {Event{BlockDeleted{}}}});
    }
    CommandRef command;
    command.id = id;
    const MonoTime deadline = self->env_.now() + std::chrono::hours{10};
    ignore_error(co_await self->owner_.commit(std::move(parts), command, deadline), "the check looks at it");
    self->busy_.erase(stream);
    co_return ok();
  }

  SimEnv env_;
  SimLog log_;
  PartitionOwner owner_;
  std::map<StreamId, std::uint64_t> lengths_;
  std::set<StreamId> busy_;
};

SimLogStorage::Faults some_faults(Rng& rng) {
  SimLogStorage::Faults faults;
  const auto rate = [&rng](std::uint32_t& ppm) {
    if (rng.between(0, 1) == 1) ppm = static_cast<std::uint32_t>(rng.between(1'000, 50'000));
  };
  for (std::uint32_t* ppm :
       {&faults.refused_ppm, &faults.lost_ppm, &faults.late_ppm, &faults.lost_ack_ppm, &faults.duplicate_ppm,
        &faults.reset_ppm, &faults.few_replicas_ppm, &faults.stall_ppm, &faults.leader_change_ppm,
        &faults.replaced_ppm, &faults.orphan_lost_ppm, &faults.orphan_late_ppm, &faults.lag_ppm,
        &faults.read_error_ppm, &faults.short_batch_ppm}) {
    rate(*ppm);
  }
  faults.delay_us = static_cast<std::uint32_t>(rng.between(0, 5'000));
  return faults;
}

class Fight {
 public:
  explicit Fight(std::uint64_t seed) : rng_(seed), scheduler_(seed), world_(scheduler_, "world", seed) {
    SimLogStorage::Options options;
    options.partitions = 1;
    options.sparse = rng_.between(0, 1) == 1;
    storage_ = std::make_shared<SimLogStorage>(scheduler_, world_, counters_, options);
    storage_->set_faults(some_faults(rng_));
    check_.emplace([this](Partition p) -> const std::vector<LogRecord>& { return storage_->records(p); });
    scheduler_.on_trace([this](Incarnation who, std::string_view node, std::string_view line) {
      check_->on_trace(who, node, line);
      if (check_->violations().empty()) said_.push_back(std::string(node) + " " + std::string(line));
      if (auto owners = owner_line(line); owners && *owners) ++seen[(*owners)->kind];
    });
  }

  // The first violation, or nothing.
  std::string run() {
    for (std::uint64_t step = 0; step < kSteps && check_->violations().empty(); ++step) {
      for (std::size_t i = 0; i < kNodes; ++i) {
        if (players_[i] == nullptr) {
          players_[i] = std::make_unique<Player>(scheduler_, storage_, "n" + std::to_string(i), rng_.u64());
        }
        disturb(players_[i]);
      }
      scheduler_.step();
    }
    check_->at_rest();
    for (auto& player : players_) player.reset();
    return check_->violations().empty() ? "" : check_->violations().front().what + "\n" + last_lines();
  }

  std::map<OwnerLine::Kind, std::uint64_t> seen;

 private:
  // What was said before the violation.
  std::string last_lines() const {
    std::string lines;
    for (std::size_t i = said_.size() < 60 ? 0 : said_.size() - 60; i < said_.size(); ++i)
      lines += said_[i] + "\n";
    return lines;
  }

  void disturb(std::unique_ptr<Player>& player) {
    const std::uint64_t dice = rng_.between(1, 20'000);
    if (dice == 1) {
      player.reset();
    } else if (dice <= 4) {
      player->env().pause();
    } else if (dice <= 40 && player->env().paused()) {
      player->env().resume();
    }
  }

  Rng rng_;
  Scheduler scheduler_;
  SimEnv world_;
  Counters counters_;
  std::shared_ptr<SimLogStorage> storage_;
  std::optional<SpecCheck> check_;
  std::array<std::unique_ptr<Player>, kNodes> players_;
  std::vector<std::string> said_;
};

TEST(SpecCheckRun, RealOwnersDoWhatTheSpecificationAllows) {
  std::map<OwnerLine::Kind, std::uint64_t> seen;
  for (std::uint64_t seed = 162; seed <= 162; ++seed) {
    Fight fight(seed);
    ASSERT_EQ("", fight.run()) << "seed " << seed;
    for (const auto& [kind, times] : fight.seen) seen[kind] += times;
  }
  using Kind = OwnerLine::Kind;
  for (const Kind kind : {Kind::reading, Kind::claim_sent, Kind::read, Kind::serve, Kind::stop,
                          Kind::commit_sent, Kind::done, Kind::never, Kind::unknown}) {
    EXPECT_GT(seen[kind], 5U) << static_cast<int>(kind);
  }
}

}  // namespace
}  // namespace varve::sim
