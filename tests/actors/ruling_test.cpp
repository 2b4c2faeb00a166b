// Skips in a simulated server: an event that nobody can read makes its agent corrupt; a ruling makes it sound
// again, for the shard, for its successors and for the views.
#include <gtest/gtest.h>

#include "actors/shard.h"
#include "actors/state_codec.h"
#include "runtime/hash.h"
#include "tests/support/samples.h"
#include "tests/support/sim_server.h"

namespace varve {
namespace {

using test::Pending;
using test::SimServer;

class RulingTest : public SimServer {
 public:
  RulingTest() { owners_ = sim::WorldOracles::Owners::unwatched; }
  Shard& shard_of(const std::string& stream) { return *world_->node().shard(home(stream)); }
  Partition home(const std::string& stream) const {
    return partition_of(StreamId{stream}, world_->options().partitions);
  }
  // What another node, with a newer program, would write next of the stream.
  Commit commit_of(const std::string& stream, const std::vector<StoredEvent>& events) {
    const PartitionOwner& owner = shard_of(stream).owner();
    Sequence last;
    for (const LogRecord& record : world_->log().records(home(stream))) {
      const auto decoded = decode_record(*record.bytes);
      const auto* commit = std::get_if<Commit>(&*decoded);
      if (commit == nullptr) continue;
      for (const Part& part : commit->parts) {
        if (part.stream.value() == stream)
          last = std::max(last, Sequence{part.first.value() + part.events.size() - 1});
      }
    }
    ++landed_;
    const CommandRef command{command_id_from_text("landed " + std::to_string(landed_)), CommandHash{1}, true};
    const Part part{StreamId{stream}, next(last), events};
    return {owner.admission().epoch,
            next(owner.admission().index),
            "newer",
            owner.admitted_at(),
            command,
            {part}};
  }
  // It has done so. The owner takes notice of the stranger and claims again.
  EventPlace land(const Commit& commit) {
    const StreamId& stream = commit.parts.front().stream;
    // The world's log is what another node writes to, too.
    auto& log = const_cast<MemoryLogStorage&>(world_->log());
    const Offset offset =
        log.land(home(stream.value()), std::make_shared<const std::string>(*encode_record(commit)));
    run_for(2000);
    return {stream, offset, 0};
  }
  EventPlace land(const std::string& stream, const std::vector<StoredEvent>& events) {
    return land(commit_of(stream, events));
  }
  EventPlace poison(const std::string& stream) {
    return land(stream, {UnreadableEvent{"AgentSang", 1, "", "{}"}});
  }
  static Event renamed(const std::string& name) {
    AgentSettings settings = test::sample_settings();
    settings.model = "varve/scripted";
    settings.name = name;
    return AgentUpdated{settings, {}, {}, WallTime{1}};
  }
  std::string rule(const EventPlace& place) {
    auto result = std::make_shared<std::optional<Result<LogPosition>>>();
    world_->client().spawn("rule",
                           ask(&shard_of(place.stream.value()), place, world_->client().now(), result));
    while (!result->has_value() && step()) {
    }
    if (!result->has_value()) return "no answer";
    return **result ? "ruled" : to_string((**result).error());
  }
  static Task<> ask(Shard* shard, EventPlace place, MonoTime now, auto result) {
    *result = co_await shard->rule(std::move(place), now + std::chrono::seconds{5});
    co_return ok();
  }
  int status(const std::string& agent) {
    return call("PATCH", "/v1/agents/" + agent, R"({"description":"d"})").status;
  }
  std::string name_of(const std::string& agent) {
    return text(expect(200, "GET", "/v1/agents/" + agent), "name");
  }

 private:
  int landed_ = 0;
};

TEST_F(RulingTest, ASkipMakesAStreamSoundAgain) {
  const std::string agent = create_agent();
  const EventPlace place = poison(agent);
  land(agent, {renamed("eve")});
  EXPECT_EQ(503, status(agent));
  EXPECT_EQ("ann", name_of(agent)) << "the views are parked";

  EXPECT_EQ("ruled", rule(place));
  run_for(1000);
  EXPECT_EQ("eve", name_of(agent)) << "what had waited";
  EXPECT_EQ(200, status(agent));
  // Not even after a crash, nor from snapshots.
  restart();
  run_for(2000);
  EXPECT_EQ(200, status(agent));
  EXPECT_FALSE(shard_of(agent).peek(StreamId{agent})->corrupt);
}

TEST_F(RulingTest, AnInterruptedTurnGoesOnAfterTheSkip) {
  start(R"({"replies":[{"match":"slow","delay_ms":60000,"text":"at last"}]})");
  const std::string agent = create_agent();
  const Pending slow = begin("POST", "/v1/agents/" + agent + "/messages", say("slow"));
  run_for(100);
  const EventPlace place = poison(agent);
  run_for(120'000);
  EXPECT_EQ("user_message:slow;", history(agent)) << "nothing is recorded behind the poison";
  EXPECT_EQ("ruled", rule(place));
  run_for(120'000);
  EXPECT_EQ("user_message:slow;assistant_message:at last;", history(agent));
}

TEST_F(RulingTest, OnlyTheEventThatCannotBeReadIsSkipped) {
  const std::string agent = create_agent();
  EventPlace place{StreamId{agent}, Offset{1}, 0};
  EXPECT_NE(std::string::npos, rule(place).find("the stream is sound")) << rule(place);
  place = land(agent, {renamed("eve"), UnreadableEvent{"AgentSang", 1, "", "{}"}, renamed("eva")});
  const std::size_t before = records();
  EventPlace wrong = place;
  EXPECT_NE(std::string::npos, rule(wrong).find("not damaged by this event")) << rule(wrong);
  wrong.event = 2;
  EXPECT_NE(std::string::npos, rule(wrong).find("not damaged by this event")) << rule(wrong);
  wrong.event = 3;
  EXPECT_NE(std::string::npos, rule(wrong).find("has 3 events")) << rule(wrong);
  wrong.offset = Offset{0};
  EXPECT_NE(std::string::npos, rule(wrong).find("is damaged at offset")) << rule(wrong);
  EXPECT_EQ(before, records());
  place.event = 1;
  EXPECT_EQ("ruled", rule(place));
  run_for(1000);
  EXPECT_EQ("eva", name_of(agent));
  EXPECT_NE(std::string::npos, rule(place).find("the stream is sound")) << "it is skipped already";
}

// Two poisons, snapshots and crashes in between.
TEST_F(RulingTest, RulingsSurviveSnapshotsAndCrashes) {
  const std::string agent = create_agent();
  const EventPlace first = poison(agent);
  land(agent, {renamed("eve")});
  const EventPlace second = poison(agent);
  land(agent, {renamed("eva")});
  run_for(120'000);  // A round of snapshots with the corrupt state.
  restart();
  EXPECT_EQ("ruled", rule(first));
  restart();
  run_for(2000);
  EXPECT_EQ("eve", name_of(agent));
  EXPECT_EQ(503, status(agent));
  run_for(120'000);
  restart();
  run_for(2000);
  EXPECT_EQ("ruled", rule(second));
  run_for(120'000);
  restart();
  EXPECT_EQ(200, status(agent));
  EXPECT_EQ("eva", name_of(agent));
}

// It has lost its place among the streams that can be used, without a sequence.
TEST_F(RulingTest, AStreamThatTurnsCorruptAfterItsSnapshotStaysSoAfterARecovery) {
  const std::string agent = create_agent();
  run_for(120'000);
  const auto& snapshots = world_->snapshots();
  EXPECT_FALSE(snapshots.snapshots.at(StreamId{agent}).corrupt);
  const EventPlace place = poison(agent);
  run_for(120'000);
  const SnapshotRow& row = snapshots.snapshots.at(StreamId{agent});
  EXPECT_GT(snapshots.recovery.at(home(agent)).next, place.offset) << "the recovery row has passed it";
  EXPECT_TRUE(row.corrupt);
  EXPECT_EQ(place.offset, row.bad_offset);
  EXPECT_EQ(place.offset, row.seen);
  EXPECT_EQ(Sequence{1}, row.sequence);
  restart();
  EXPECT_EQ(503, status(agent));
  EXPECT_EQ("ruled", rule(place));
  run_for(120'000);
  EXPECT_FALSE(row.corrupt);
  EXPECT_GT(row.seen, place.offset) << "the ruling's place";
  restart();
  EXPECT_EQ(200, status(agent));
}

// The first event of a block cannot be read: it has a row, too, or every recovery would miss it.
TEST_F(RulingTest, AStreamThatIsCorruptFromItsBirthOnIsNoMissingSnapshot) {
  const std::string agent = create_agent();
  const std::string born = "agent-00000000-0000-4000-8000-000000000001";
  land(born, {UnreadableEvent{"AgentSprouted", 1, "", "{}"}});
  EXPECT_EQ(503, status(born));
  run_for(120'000);
  EXPECT_TRUE(world_->snapshots().snapshots.at(StreamId{born}).corrupt);
  const auto& snapshots = world_->snapshots();
  std::uint64_t rows = 0;
  for (const auto& [stream, row] : snapshots.snapshots) rows += row.partition == home(born) ? 1 : 0;
  EXPECT_EQ(snapshots.recovery.at(home(born)).streams, rows);
  restart();
  EXPECT_EQ(503, status(born));
}

// A newer owner, ahead of this reader, has left the snapshot.
TEST_F(RulingTest, WhatASnapshotHasSeenIsNotFoldedAgain) {
  const std::string agent = create_agent();
  run_for(900'000);
  ASSERT_FALSE(shard_of(agent).peek(StreamId{agent}).has_value()) << "it is passivated";
  const Commit ahead = commit_of(agent, {renamed("eve")});
  auto& snapshots = const_cast<MemorySnapshotStorage&>(world_->snapshots());
  SnapshotRow& row = snapshots.snapshots.at(StreamId{agent});
  ActorState state = *decode_state(row.state);
  row.seen = next(world_->log().records(home(agent)).back().offset);
  apply_part(state, ahead, ahead.parts.front(), row.seen, true);
  row.sequence = state.sequence;
  row.state = encode_state(state);
  row.hash = xxh64(row.state);
  expect(404, "PATCH", "/v1/agents/" + agent + "/core-memory/blocks/zzz", "{}");  // It is activated.
  EXPECT_EQ(row.sequence, shard_of(agent).peek(StreamId{agent})->sequence);
  EXPECT_EQ(row.seen, land(ahead).offset);
  EXPECT_EQ(200, status(agent));
  EXPECT_EQ("eve", name_of(agent));
}

// An older program could not read the renaming, and has left this snapshot.
TEST_F(RulingTest, ANewerProgramReadsWhatACorruptSnapshotCouldNot) {
  const std::string agent = create_agent();
  run_for(120'000);
  expect(200, "PATCH", "/v1/agents/" + agent, R"({"name":"eve"})");
  auto& snapshots = const_cast<MemorySnapshotStorage&>(world_->snapshots());
  SnapshotRow& row = snapshots.snapshots.at(StreamId{agent});
  ActorState state = *decode_state(row.state);
  EXPECT_EQ(Sequence{1}, state.sequence);
  state.corrupt = row.corrupt = true;
  state.bad_offset = row.bad_offset = row.seen = world_->log().records(home(agent)).back().offset;
  row.state = encode_state(state);
  row.hash = xxh64(row.state);
  restart();
  EXPECT_EQ(200, status(agent));
  EXPECT_EQ("eve", name_of(agent));
  run_for(120'000);
  EXPECT_FALSE(snapshots.snapshots.at(StreamId{agent}).corrupt);
}

TEST(Rulings, AnAbsentEventKeepsItsSequence) {
  ActorState state;
  const StreamId stream{"block-1"};
  BlockValue changed = test::sample_block();
  changed.value = "new";
  const Part part{stream,
                  Sequence{1},
                  {BlockCreated{test::sample_block()}, UnreadableEvent{"BlockSang", 1, "", "{}"},
                   BlockUpdated{changed, WallTime{1}}}};
  const Commit commit{Epoch{1}, Index{1}, "n", WallTime{1}, test::sample_command(), {part}};
  ActorState corrupt;
  apply_part(corrupt, commit, part, Offset{7}, true);
  EXPECT_TRUE(corrupt.corrupt);
  EXPECT_EQ(Sequence{1}, corrupt.sequence);
  apply_part(state, commit, part, Offset{7}, true, {{stream, Offset{7}, 1}});
  EXPECT_FALSE(state.corrupt);
  EXPECT_EQ(Sequence{3}, state.sequence);
  EXPECT_EQ("new", state.block()->value.value);
  EXPECT_NE(nullptr, state.recent.find(commit.command.id));
}

}  // namespace
}  // namespace varve
