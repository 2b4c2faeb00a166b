// Teleport archives: what a log holds of an agent is what an archive holds of it, and what a target makes of
// that is the agent again; whatever is done to an archive is found and named.
#include <zstd.h>

#include "actors/agent_teleport.h"
#include "inspect/teleport_export.h"
#include "tests/inspect/teleport_support.h"

namespace varve {
namespace {

using test::check_all;
using test::Checked;
using test::run;
using test::Target;
using test::Teleported;
using test::why;

std::string compressed(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 1));
  return out;
}

std::string decompressed(const std::string& bytes) {
  std::string out(std::size_t{1} << 20U, '\0');
  const std::size_t size = ZSTD_decompress(out.data(), out.size(), bytes.data(), bytes.size());
  EXPECT_EQ(0U, ZSTD_isError(size));
  out.resize(ZSTD_isError(size) != 0 ? 0 : size);
  return out;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = text.find('\n', begin);
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

TEST_F(Teleported, AnArchiveHoldsWhatTheLogHolds) {
  live(ann_);
  create_agent(other_, "eve");
  const std::string bytes = *exported({ann_});
  const Checked checked = check_all(bytes, 1);
  ASSERT_TRUE(checked.status) << checked.status.error().message;
  const auto& header = std::get<ArchiveHeader>(checked.frames.front());
  EXPECT_EQ("varve", header.source);
  EXPECT_EQ((std::array<std::int64_t, 5>{0, 1, 1, 6, 7}),
            (std::array<std::int64_t, 5>{header.tools, header.agents, header.blocks, header.records,
                                         header.events}));
  ASSERT_EQ(2U, checked.streams.size());
  EXPECT_EQ(ann_, checked.streams.front().stream.value());
  EXPECT_EQ(5U, checked.streams.front().events);
  // Every event as the log has it, and the request that it came by.
  std::string carried;
  for (const EventTeleported& event : events_of(checked, ann_)) {
    carried += event.type + ":" + event.request_id + " ";
  }
  EXPECT_EQ("AgentCreated: UserMessageReceived:request-1 AssistantReplied: TurnFinished: AgentUpdated: ",
            carried);
  // The same log and cut, the same archive.
  EXPECT_EQ(bytes, *exported({ann_}));
  EXPECT_NE(bytes, *exported({}));
}

TEST_F(Teleported, ATargetMakesTheSameAgentOfIt) {
  const Checked checked = check_all(archive_of_ann());
  for (const ArchiveStream& one : checked.streams) {
    const std::vector<EventTeleported> events = events_of(checked, one.stream.value());
    Target target;
    std::string chain;
    for (const EventTeleported& event : events) {
      const Sequence first = next(target.state.sequence);
      const AppendTeleport append{first, chain, {event}};
      ASSERT_TRUE(target.send(one.stream, Command{append}));
      EXPECT_FALSE(target.state.exists()) << "nobody sees it before it is sealed";
      EXPECT_TRUE(target.send(one.stream, Command{append})->events.empty()) << "again changes nothing";
      chain = next_chain(chain, event);
    }
    EXPECT_EQ(one.chain, chain);
    const SealTeleport seal{one.events, one.chain};
    ASSERT_TRUE(target.send(one.stream, Command{seal}));
    EXPECT_TRUE(target.send(one.stream, Command{seal})->events.empty());
    EXPECT_TRUE(target.state.exists());
    const ActorState source = at_source(one.stream.value());
    EXPECT_EQ(source.body, target.state.body);
    EXPECT_EQ(source.recent, target.state.recent);
    EXPECT_EQ(source.created_at, target.state.created_at);
    EXPECT_EQ(source.created_by.id, target.state.created_by.id);
    EXPECT_EQ(one.events + 1, target.state.sequence.value()) << "the seal is the only event of its own";
    const AppendTeleport whole{Sequence{1}, "", events};
    EXPECT_TRUE(target.send(one.stream, Command{whole})->events.empty())
        << "nor does the whole archive again";
  }
}

TEST_F(Teleported, WhatIsThereAlreadyIsGoneOnWithOrRefused) {
  const Checked checked = check_all(archive_of_ann());
  const StreamId ann{ann_};
  const std::vector<EventTeleported> events = events_of(checked, ann_);
  Target target;
  ASSERT_TRUE(target.send(ann, AppendTeleport{Sequence{1}, "", {events[0], events[1]}}));
  const auto gap = target.send(ann, AppendTeleport{Sequence{4}, "x", {events[3]}});
  ASSERT_FALSE(gap);
  EXPECT_EQ(Errc::conflict, gap.error().code);
  EXPECT_NE(std::string::npos, gap.error().message.find("waits for its event 3")) << gap.error().message;
  // Pieces may be cut in another way.
  EXPECT_EQ(3U, target.send(ann, AppendTeleport{Sequence{1}, "", events})->events.size());
  std::vector<EventTeleported> others = events;
  others[4].at = WallTime{others[4].at.value() + 1};
  const auto differs = target.send(ann, AppendTeleport{Sequence{1}, "", others});
  ASSERT_FALSE(differs);
  EXPECT_EQ(Errc::conflict, differs.error().code);
  EXPECT_FALSE(target.send(ann, SealTeleport{5, "00"})) << "another chain cannot be sealed";
  EXPECT_FALSE(target.send(ann, SealTeleport{4, checked.streams[0].chain}));
  ASSERT_TRUE(target.send(ann, SealTeleport{5, checked.streams[0].chain}));
  EXPECT_FALSE(target.send(ann, AppendTeleport{Sequence{6}, checked.streams[0].chain, {events[1]}}))
      << "what is sealed is not gone on with";

  Target native;
  CreateAgent create;
  create.settings = test::sample_settings();
  ASSERT_TRUE(native.send(ann, Command{create}));
  const auto refused = native.send(ann, Command{AppendTeleport{}});
  ASSERT_FALSE(refused) << "an agent that was made here is another one, also to who only looks";
  EXPECT_EQ(Errc::conflict, refused.error().code);
}

TEST_F(Teleported, WhatNoFoldCouldFoldIsRefused) {
  const Checked checked = check_all(archive_of_ann());
  const StreamId ann{ann_};
  const std::vector<EventTeleported> events = events_of(checked, ann_);
  const auto refused = [&](const Event& event, std::size_t behind) {
    Target target;
    std::vector<EventTeleported> sent(events.begin(), events.begin() + static_cast<std::ptrdiff_t>(behind));
    EventTeleported bad = events[0];
    JsonWriter out;
    write_event(out, event);
    const auto json = Json::parse(out.text());
    bad.type = std::string(type_of(event));
    bad.version = version_of(event);
    bad.data = json->find("data")->dump();
    EXPECT_TRUE(read_inner(bad));
    sent.push_back(bad);
    const auto decision = target.send(ann, AppendTeleport{Sequence{1}, "", sent});
    return decision ? std::string("taken") : decision.error().message;
  };
  const Usage usage;
  EXPECT_NE("taken", refused(BlockDetached{StreamId{"block-x"}}, 1));
  EXPECT_NE("taken", refused(ContextTrimmed{{"message-x"}}, 1));
  EXPECT_NE("taken", refused(TurnFinished{"run-x", "end_turn", usage, WallTime{1}, "{}"}, 1));
  EXPECT_NE("taken", refused(AgentUpdated{test::sample_settings(), {}, {"violet"}, WallTime{1}}, 1));
  EXPECT_NE("taken", refused(AgentDeleted{}, 1));
  EXPECT_NE("taken", refused(AgentMoved{"http://x"}, 1));
  EXPECT_NE("taken", refused(BlockCreated{test::sample_block()}, 1));
  EXPECT_NE("taken", refused(ToolDeleted{"tool-1"}, 1));
  EXPECT_NE("taken", refused(BlockAttached{{StreamId{block_}, "human"}}, 0)) << "before there is an agent";
  EXPECT_EQ("taken", refused(TurnResumed{"run-1", 1}, 2));
}

TEST_F(Teleported, AnOpenTurnIsCancelledByTheSeal) {
  create_agent(ann_, "ann");
  says(ann_, "run-1", "hello");
  const Checked checked = check_all(*exported({ann_}));
  const StreamId ann{ann_};
  Target target;
  ASSERT_TRUE(target.send(ann, AppendTeleport{Sequence{1}, "", events_of(checked, ann_)}));
  EXPECT_TRUE(target.state.agent()->turn);
  EXPECT_FALSE(target.state.has_open_turn()) << "nobody drives it";
  const auto sealed = target.send(ann, SealTeleport{checked.streams[0].events, checked.streams[0].chain});
  ASSERT_TRUE(sealed);
  EXPECT_EQ("TurnCancelled", type_of(sealed->events.front()));
  EXPECT_FALSE(target.state.agent()->turn);
}

TEST_F(Teleported, EveryFrameThatIsChangedIsNamed) {
  const std::vector<std::string> lines = lines_of(decompressed(archive_of_ann()));
  ASSERT_EQ(8U, lines.size());
  ASSERT_EQ("", why(compressed(joined(lines))));
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string named = "frame " + std::to_string(i + 1) + ":";
    for (const std::size_t place : {std::size_t{3}, std::size_t{70}, lines[i].size() - 1}) {
      std::vector<std::string> changed = lines;
      changed[i][place] = changed[i][place] == '0' ? '1' : '0';
      const std::string said = why(compressed(joined(changed)));
      EXPECT_NE(std::string::npos, said.find(named)) << i << " " << place << ": " << said;
    }
    std::vector<std::string> without = lines;
    without.erase(without.begin() + static_cast<std::ptrdiff_t>(i));
    const std::string said = why(compressed(joined(without)));
    const bool last = i + 1 == lines.size();
    EXPECT_NE(std::string::npos, said.find(last ? "without its seal" : named)) << i << ": " << said;
    if (last) continue;
    std::vector<std::string> swapped = lines;
    std::swap(swapped[i], swapped[i + 1]);
    EXPECT_NE(std::string::npos, why(compressed(joined(swapped))).find(named)) << i;
    const std::vector<std::string> cut(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(i + 1));
    const std::string ends = "ends behind its frame " + std::to_string(i + 1);
    EXPECT_NE(std::string::npos, why(compressed(joined(cut))).find(ends)) << i;
  }
  std::vector<std::string> longer = lines;
  longer.push_back(lines.back());
  EXPECT_NE(std::string::npos, why(compressed(joined(longer))).find("goes on behind its seal"));
}

TEST_F(Teleported, EveryByteThatIsFlippedOrMissingIsFound) {
  const std::string bytes = archive_of_ann();
  const Checked whole = check_all(bytes);
  int harmless = 0;
  std::string harmless_at;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x10);
    // zstd itself looks over a bit or two, in its header and where two encodings mean the same.
    const Checked checked = check_all(flipped);
    EXPECT_TRUE(!checked.status || checked.hash == whole.hash) << "byte " << i;
    harmless += checked.status ? 1 : 0;
    if (checked.status) harmless_at += std::to_string(i) + " of " + std::to_string(bytes.size()) + " ";
    if (i > 0) EXPECT_NE("", why(bytes.substr(0, i))) << "the first " << i << " bytes";
  }
  EXPECT_LE(harmless, 8) << harmless_at;
  EXPECT_NE("", why(bytes + "x"));
}

TEST_F(Teleported, WhatIsNoArchiveIsCalledSo) {
  for (const std::string& file : {std::string("{\"agents\":[]}"), std::string(5000, '\0')}) {
    EXPECT_TRUE(why(file).starts_with("this is no archive of agents: ")) << why(file);
  }
  EXPECT_TRUE(why("").starts_with("the archive has no frame: ")) << why("");
}

// Whoever makes an archive by hand makes its hashes, too.
TEST_F(Teleported, AnArchiveWithRightHashesIsCheckedAllTheSame) {
  const Checked whole = check_all(archive_of_ann());
  const auto rewritten = [&](const std::function<void(std::vector<ArchiveFrame>&)>& change) {
    std::vector<ArchiveFrame> frames = whole.frames;
    frames.pop_back();
    change(frames);
    ArchiveWriter writer;
    for (const ArchiveFrame& frame : frames) writer.write(frame);
    writer.seal();
    return why(writer.take());
  };
  const auto record = [](std::vector<ArchiveFrame>& frames, std::size_t i) -> ArchiveRecord& {
    return std::get<ArchiveRecord>(frames[i]);
  };
  EXPECT_EQ("", rewritten([](auto& /*frames*/) {}));
  EXPECT_NE(std::string::npos, rewritten([&](auto& frames) {
                                 record(frames, 2).first = Sequence{3};
                               }).find("event 3, expected 2"));
  EXPECT_NE(std::string::npos, rewritten([&](auto& frames) {
                                 record(frames, 2).events[0].type = "AgentSang";
                               }).find("'AgentSang' is not known"));
  EXPECT_NE(std::string::npos,
            rewritten([&](auto& frames) { record(frames, 2).events[0].version = 9; }).find("upgrade first"));
  EXPECT_NE(std::string::npos,
            rewritten([&](auto& frames) { record(frames, 2).events[0].data = "{}"; }).find("is missing"));
  EXPECT_NE(std::string::npos,
            rewritten([&](auto& frames) { frames.erase(frames.begin() + 3); }).find("expected 3"));
  EXPECT_NE(std::string::npos, rewritten([&](auto& frames) { frames.pop_back(); }).find("the header counts"));
  EXPECT_NE(std::string::npos,
            rewritten([&](auto& frames) { std::swap(frames[2], frames[6]); }).find("expected"));
  EXPECT_NE(std::string::npos, rewritten([&](auto& frames) {
                                 std::get<ArchiveHeader>(frames[0]).agents = 2;
                               }).find("the header counts"));
}

TEST_F(Teleported, AnOldEventIsCarriedAsItWasWritten) {
  const std::string golden = R"({"label":"human","value":"v1","char_limit":7,"metadata":{},"extra":{}})";
  commit(block_, {UnreadableEvent{"BlockCreated", 1, "", golden}});
  create_agent(ann_, "ann", {{StreamId{block_}, "human"}});
  const Checked checked = check_all(*exported({ann_}));
  ASSERT_TRUE(checked.status) << checked.status.error().message;
  const std::vector<EventTeleported> events = events_of(checked, block_);
  ASSERT_EQ(1U, events.size());
  EXPECT_EQ(1, events[0].version);
  EXPECT_EQ(golden, events[0].data);
  Target target;
  ASSERT_TRUE(target.send(StreamId{block_}, AppendTeleport{Sequence{1}, "", events}));
  EXPECT_EQ("v1", target.state.block()->value.value);
  EXPECT_EQ(7, target.state.block()->value.limit);
}

TEST_F(Teleported, WhatARulingSkippedIsAbsentAndWhatIsDamagedIsRefused) {
  create_agent(ann_, "ann");
  const LogPosition poison_at = poison(ann_);
  says(ann_, "run-1", "hello");
  const auto damaged = exported({ann_});
  ASSERT_FALSE(damaged);
  EXPECT_EQ(Errc::conflict, damaged.error().code);
  EXPECT_NE(std::string::npos, damaged.error().message.find("its event 2 at 0:")) << damaged.error().message;
  land(0, next_ruling(0, ann_, poison_at.offset));
  const auto bytes = exported({ann_});
  ASSERT_TRUE(bytes) << bytes.error().message;
  const Checked checked = check_all(*bytes);
  ASSERT_TRUE(checked.status) << checked.status.error().message;
  const std::vector<EventTeleported> events = events_of(checked, ann_);
  ASSERT_EQ(3U, events.size());
  EXPECT_EQ("", events[1].type);
  Target target;
  ASSERT_TRUE(target.send(StreamId{ann_}, AppendTeleport{Sequence{1}, "", events}));
  EXPECT_EQ(3U, target.state.sequence.value()) << "an absent event keeps its sequence";
}

TEST_F(Teleported, WhatBuildsOnASkippedEventCannotBeCarried) {
  create_agent(ann_, "ann");
  const LogPosition poison_at = poison(ann_);
  commit(ann_, {BlockDetached{StreamId{"block-of-a-newer-program"}}});
  land(0, next_ruling(0, ann_, poison_at.offset));
  const auto bytes = exported({ann_});
  ASSERT_TRUE(bytes);
  EXPECT_NE(std::string::npos, why(*bytes).find("its event 3 builds on one that is not there"))
      << why(*bytes);
}

TEST_F(Teleported, OfAllWhatIsNotThereIsLeftOut) {
  live(ann_);
  create_agent(other_, "eve");
  commit(other_, {AgentDeleted{}});
  const std::string moved = test::stream_in("agent", 0) + "-moved";
  create_agent(moved, "gone");
  commit(moved, {AgentMoved{"http://there"}});
  const std::string poisoned = test::stream_in("agent", 1) + "-poisoned";
  create_agent(poisoned, "sick");
  poison(poisoned);
  const Checked checked = check_all(*exported({}));
  ASSERT_TRUE(checked.status) << checked.status.error().message;
  EXPECT_EQ(2U, checked.streams.size());
  const auto& header = std::get<ArchiveHeader>(checked.frames.front());
  ASSERT_EQ(1U, header.left_out.size());
  EXPECT_NE(std::string::npos, header.left_out[0].find(poisoned));
  EXPECT_FALSE(exported({other_}));
  // One that has moved can be asked for: a move that was stopped goes on with it.
  const Checked again = check_all(*exported({moved}));
  ASSERT_TRUE(again.status) << again.status.error().message;
  EXPECT_EQ(1U, again.streams.front().events) << "what it was before it left";
}

// Streams whose records lie between each other's, and which are too large to be held together.
TEST_F(Teleported, StreamsAreWholeHoweverManyAreHeldAtOnce) {
  std::vector<std::string> agents;
  for (const char* name : {"-a", "-b", "-c", "-d", "-e"}) agents.push_back(ann_ + name);
  for (const std::string& agent : agents) create_agent(agent, "ann" + agent);
  for (int turn = 0; turn < 300; ++turn) {
    for (const std::string& agent : agents) {
      const std::string run = "run-" + std::to_string(turn) + agent;
      says(agent, run, "hello");
      reply(agent, run, "You said: hello");
    }
  }
  std::map<StreamId, std::string> chains;
  for (const std::size_t group_bytes : {kExportGroupBytes, std::size_t{1}, std::size_t{300'000}}) {
    const Checked checked = check_all(*exported(agents, group_bytes), 100'000);
    ASSERT_TRUE(checked.status) << checked.status.error().message;
    ASSERT_EQ(agents.size(), checked.streams.size());
    for (const ArchiveStream& one : checked.streams) {
      EXPECT_EQ(901U, one.events);
      const auto& [stream, chain] = *chains.emplace(one.stream, one.chain).first;
      EXPECT_EQ(chain, one.chain) << stream.value() << " with " << group_bytes;
    }
  }
}

TEST_F(Teleported, WhatWasCarriedHereIsCarriedOn) {
  const Checked first = check_all(archive_of_ann());
  // The next log: every event wrapped, then the seal, then one of its own.
  std::vector<StoredEvent> carried;
  const std::string there = ann_ + "-there";
  for (EventTeleported& event : events_of(first, ann_)) carried.emplace_back(Event{std::move(event)});
  commit(there, carried);
  AgentSettings settings = test::sample_settings();
  settings.tags = {"red", "green"};
  commit(there, {TeleportSealed{settings, std::nullopt, WallTime{1}, WallTime{2}}});
  says(there, "run-2", "again");
  const auto bytes = exported({there});
  ASSERT_TRUE(bytes) << bytes.error().message;
  const Checked second = check_all(*bytes);
  ASSERT_TRUE(second.status) << second.status.error().message;
  const std::vector<EventTeleported> events = events_of(second, there);
  ASSERT_EQ(7U, events.size());
  EXPECT_EQ("AgentCreated", events[0].type);
  EXPECT_EQ("TeleportSealed", events[5].type);
  const std::vector<EventTeleported> before = events_of(first, ann_);
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(before[i].at, events[i].at);
    EXPECT_EQ(before[i].command, events[i].command);
    EXPECT_EQ(before[i].data, events[i].data);
  }
}

TEST_F(Teleported, AForkHasOtherIdsAndTheSameWords) {
  Rng rng(1);
  const std::string agent = "agent-" + uuid4(rng);
  const std::string message = "message-" + uuid4(rng);
  ArchiveRecord record{StreamId{agent}, Sequence{1}, WallTime{1}, test::sample_command(), {}};
  record.events.push_back({"UserMessageReceived", 1,
                           R"({"run_id":"run-x","messages":[{"id":")" + message +
                               R"(","role":"user","content":")" + message + R"("}],"request":{"a":")" +
                               message + R"("}})"});
  const Renaming fork = Renaming::fork("seed");
  const ArchiveRecord renamed = fork.record(record);
  EXPECT_NE(agent, renamed.stream.value());
  EXPECT_TRUE(renamed.stream.value().starts_with("agent-"));
  const auto data = Json::parse(renamed.events[0].data);
  const Json& said = data->find("messages")->items().front();
  EXPECT_NE(message, said.find("id")->as_string());
  EXPECT_EQ(message, said.find("content")->as_string());
  EXPECT_EQ(message, data->find("request")->find("a")->as_string());
  EXPECT_FALSE(renamed.command.client);
  EXPECT_EQ(renamed, Renaming::fork("seed").record(record)) << "the same seed, the same fork";
  EXPECT_NE(renamed.stream, Renaming::fork("other").record(record).stream);
}

}  // namespace
}  // namespace varve
