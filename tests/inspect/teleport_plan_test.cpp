// What an import sends: what the target lacks, in requests that fit, and nothing else.
#include "inspect/teleport_plan.h"

#include "tests/inspect/teleport_support.h"

namespace varve {
namespace {

using test::check_all;
using test::Checked;
using test::Teleported;

ImportPlan plan_of(const Checked& checked) {
  ImportPlan plan;
  plan.hash = checked.hash;
  plan.header = std::get<ArchiveHeader>(checked.frames.front());
  plan.streams = checked.streams;
  return plan;
}

std::vector<Json> pieces_of(const ImportPlan& plan, const Checked& checked, std::size_t bytes_max) {
  std::vector<Json> bodies;
  ImportPieces pieces(plan, bytes_max, [&bodies](std::string body) {
    bodies.push_back(*Json::parse(body));
    return ok();
  });
  for (const ArchiveFrame& frame : checked.frames) {
    const auto* record = std::get_if<ArchiveRecord>(&frame);
    if (record != nullptr) EXPECT_TRUE(pieces.take(*record));
  }
  EXPECT_TRUE(pieces.flush());
  return bodies;
}

TEST_F(Teleported, PiecesCarryWhatIsNotThereAndNothingElse) {
  const Checked checked = check_all(archive_of_ann());
  const std::vector<EventTeleported> events = events_of(checked, ann_);
  std::vector<std::string> chains{""};
  for (const EventTeleported& event : events) chains.push_back(next_chain(chains.back(), event));
  for (const std::size_t bytes_max : {std::size_t{1}, std::size_t{900}, std::size_t{1} << 20U}) {
    for (std::uint64_t there = 0; there <= events.size(); ++there) {
      ImportPlan plan = plan_of(checked);
      plan.there[StreamId{ann_}] = {there, chains[there], false};
      plan.kept.insert(StreamId{block_});
      std::uint64_t sent = there;
      for (const Json& body : pieces_of(plan, checked, bytes_max)) {
        ASSERT_EQ(ann_, body.find("stream")->as_string()) << "the block is kept";
        const Json& append = *body.find("append");
        EXPECT_EQ(static_cast<std::int64_t>(sent) + 1, append.find("first")->as_integer());
        EXPECT_EQ(chains[sent], append.find("chain")->as_string());
        const auto& items = append.find("events")->items();
        ASSERT_FALSE(items.empty());
        if (items.size() > 1) EXPECT_LE(append.find("events")->dump().size(), bytes_max + items.size() + 1);
        sent += items.size();
      }
      EXPECT_EQ(events.size(), sent);
    }
  }
  EXPECT_EQ(7U, pieces_of(plan_of(checked), checked, 1).size()) << "one event in each, of both streams";
  EXPECT_EQ(2U, pieces_of(plan_of(checked), checked, std::size_t{1} << 20U).size());
}

TEST_F(Teleported, APlanKnowsWhatIsDoneAndWhatIsInTheWay) {
  const Checked checked = check_all(archive_of_ann());
  ImportPlan plan = plan_of(checked);
  EXPECT_EQ(std::vector<std::string>{ann_}, plan.agents());
  EXPECT_FALSE(plan.has_begun());
  ASSERT_EQ(2U, plan.seals().size());
  EXPECT_NE(std::string::npos, plan.seals()[0].find(block_)) << "who sees an agent sees its blocks";
  for (const ArchiveStream& one : plan.streams) {
    EXPECT_FALSE(plan.nothing_to_do());
    plan.there[one.stream] = {one.events, one.chain, true};
  }
  EXPECT_TRUE(plan.has_begun());
  EXPECT_TRUE(plan.nothing_to_do());
  EXPECT_TRUE(plan.settle(false));
  EXPECT_TRUE(plan.kept.empty());

  plan.there[StreamId{block_}].carried = 1;  // Sealed with less: it has lived on there.
  EXPECT_FALSE(plan.nothing_to_do());
  const Status refused = plan.settle(false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(Errc::conflict, refused.error().code);
  EXPECT_NE(std::string::npos, refused.error().message.find(block_));
  EXPECT_TRUE(plan.settle(true)) << "the agents have left their source";
  EXPECT_EQ(std::set<StreamId>{StreamId{block_}}, plan.kept);
  EXPECT_EQ(1U, plan.seals().size());
  EXPECT_TRUE(plan.nothing_to_do());
  plan.there[StreamId{ann_}].carried = 1;
  EXPECT_FALSE(plan.settle(true)) << "an agent's own past is never passed over";
}

}  // namespace
}  // namespace varve
