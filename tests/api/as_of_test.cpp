// as_of, as a client sees it: every read of the past gives what it gave then, byte by byte, and says which
// cut it read; what is malformed, not there yet or not a read is refused.
#include "runtime/rng.h"
#include "tests/support/sim_server.h"

namespace varve {
namespace {

using test::Pending;
using test::SimServer;

constexpr const char* kFuture = "2999-01-01T00:00:00Z";

class AsOfRoutes : public SimServer {
 public:
  static std::string with(const std::string& path, const std::string& as_of) {
    return path + (path.find('?') == std::string::npos ? "?" : "&") + "as_of=" + as_of;
  }
  Response read(const std::string& path, const std::string& as_of) { return call("GET", with(path, as_of)); }
  std::string cut_now() { return read("/v1/agents/count", kFuture).header("varve-as-of").value_or(""); }
  std::string block(const std::string& label, const std::string& value) {
    return text(
        expect(200, "POST", "/v1/blocks/", R"({"label":")" + label + R"(","value":")" + value + R"("})"),
        "id");
  }
  std::string position_of(const Response& written) { return written.header("varve-position").value_or(""); }
};

// ---- everything that can be read ----

struct Kept {
  std::string path;
  std::string cut;
  int status;
  std::string body;
};

class AsOfHistory : public AsOfRoutes {
 public:
  // Something that a client does, to what is there.
  void do_something(Rng& rng) {
    const std::uint64_t kind = rng.below(agents_.empty() ? 2 : 12);
    const std::string word = "w" + std::to_string(++words_);
    if (kind == 0) {
      agents_.push_back(create_agent(R"({"name":")" + word + R"(","tags":["t)" +
                                     std::to_string(rng.below(3)) +
                                     R"("],"memory_blocks":[{"label":"human","value":")" + word + R"("}]})"));
    } else if (kind == 1) {
      blocks_.push_back(block("l" + std::to_string(words_), word));
    } else if (kind < 5) {
      call("POST", "/v1/agents/" + any(rng, agents_) + "/messages", say(word));
    } else if (kind < 7) {
      call("PATCH", "/v1/agents/" + any(rng, agents_) + "/core-memory/blocks/human",
           R"({"value":")" + word + R"("})");
    } else if (kind == 7) {
      call("PATCH", "/v1/agents/" + any(rng, agents_),
           R"({"name":")" + word + R"(","tags":["t)" + std::to_string(rng.below(3)) + R"("]})");
    } else if (!blocks_.empty() && kind < 11) {
      const std::string id = any(rng, blocks_);
      const std::string agent = "/v1/agents/" + any(rng, agents_) + "/core-memory/blocks/";
      const std::uint64_t what = rng.below(4);
      if (what == 0) call("PATCH", agent + "attach/" + id);
      if (what == 1) call("PATCH", agent + "detach/" + id);
      if (what == 2) call("PATCH", "/v1/blocks/" + id, R"({"value":")" + word + R"("})");
      if (what == 3 && rng.chance(1, 3)) call("DELETE", "/v1/blocks/" + id);
    } else if (rng.chance(1, 2)) {
      call("DELETE", "/v1/agents/" + any(rng, agents_));
    } else {
      call("PATCH", "/v1/agents/" + any(rng, agents_) + "/reset-messages", "{}");
    }
  }

  std::vector<std::string> paths() const {
    std::vector<std::string> paths{"/v1/agents/",         "/v1/agents/?order=asc&limit=2",
                                   "/v1/agents/?tags=t1", "/v1/agents/?include=agent.blocks&limit=3",
                                   "/v1/agents/count",    "/v1/blocks/?limit=0",
                                   "/v1/blocks/count",    "/v1/messages/?limit=1000",
                                   "/v1/runs/",           "/v1/tags/",
                                   "/v1/steps/"};
    for (const std::string& id : agents_) {
      const std::string agent = "/v1/agents/" + id;
      for (const char* more : {"", "/messages?limit=1000", "/messages?limit=2", "/core-memory",
                               "/core-memory/blocks", "/core-memory/blocks/human", "/context", "/tools"})
        paths.push_back(agent + more);
    }
    for (const std::string& id : blocks_) {
      paths.push_back("/v1/blocks/" + id);
      paths.push_back("/v1/blocks/" + id + "/agents");
    }
    return paths;
  }

  static std::string any(Rng& rng, const std::vector<std::string>& all) { return all[rng.below(all.size())]; }

  std::vector<std::string> agents_;
  std::vector<std::string> blocks_;
  int words_ = 0;
};

TEST_F(AsOfHistory, EveryReadOfThePastIsWhatItWasThen) {
  int found = 0;
  int missing = 0;
  for (std::uint64_t seed = 1; seed <= 5 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    start("{}", seed);
    agents_.clear();
    blocks_.clear();
    Rng rng(seed);
    std::vector<Kept> kept;
    for (int i = 0; i < 80; ++i) {
      do_something(rng);
      if (i % 4 != 3) continue;
      const std::string cut = cut_now();
      for (const std::string& path : paths()) {
        const Response now = call("GET", path);
        kept.push_back({path, cut, now.status, now.body});
      }
    }
    for (const Kept& then : kept) {
      const Response past = read(then.path, then.cut);
      ASSERT_EQ(then.status, past.status) << then.path << " as of " << then.cut;
      ASSERT_EQ(then.body, past.body) << then.path << " as of " << then.cut;
      EXPECT_EQ(then.cut, past.header("varve-as-of")) << then.path;
      ++(then.status == 404 ? missing : found);
    }
  }
  EXPECT_GT(found, 3000);
  EXPECT_GT(missing, 300);  // Of what had been deleted.
}

TEST_F(AsOfRoutes, SearchFindsWhatWasThereThen) {
  const std::string agent = create_agent();
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("tea, please"));
  const std::string before = cut_now();
  expect(200, "POST", "/v1/agents/" + agent + "/messages", say("more tea"));
  expect(200, "DELETE", "/v1/agents/" + agent);
  EXPECT_EQ(0U, expect(200, "POST", "/v1/messages/search", R"({"query":"tea"})").items().size());
  const Json found =
      expect(200, "POST", with("/v1/messages/search", before), R"({"query":"tea","roles":["user"]})");
  ASSERT_EQ(1U, found.items().size());
  EXPECT_EQ("tea, please", text(found.items().front(), "content"));
}

// ---- cursors ----

TEST_F(AsOfRoutes, CursorsPageWithinTheCut) {
  const std::string agent = create_agent();
  const std::string path = "/v1/agents/" + agent + "/messages";
  for (const char* word : {"1", "2", "3"}) expect(200, "POST", path, say(word));
  const std::string cut = cut_now();
  const Response whole = call("GET", path + "?limit=1000&order=asc");
  for (const char* word : {"4", "5"}) expect(200, "POST", path, say(word));

  const auto ids = [](const Json& list) {
    std::vector<std::string> all;
    for (const Json& message : list.items()) all.push_back(text(message, "id"));
    return all;
  };
  const std::vector<std::string> expected = ids(*Json::parse(whole.body));
  ASSERT_EQ(7U, expected.size());
  std::vector<std::string> forward;
  std::vector<std::string> page = ids(expect(200, "GET", with(path + "?order=asc&limit=3", cut)));
  while (!page.empty()) {
    forward.insert(forward.end(), page.begin(), page.end());
    page = ids(expect(200, "GET", with(path + "?order=asc&limit=3&after=" + page.back(), cut)));
  }
  EXPECT_EQ(expected, forward);
  std::vector<std::string> backward;
  page = ids(expect(200, "GET", with(path + "?limit=2", cut)));
  while (!page.empty()) {
    backward.insert(backward.begin(), page.begin(), page.end());
    page = ids(expect(200, "GET", with(path + "?limit=2&before=" + page.front(), cut)));
  }
  EXPECT_EQ(expected, backward);
  // A message that came later is no cursor there.
  const Json newest = expect(200, "GET", path + "?limit=1");
  EXPECT_EQ(404, read(path + "?before=" + text(newest.items().front(), "id"), cut).status);
}

// ---- times and positions ----

TEST_F(AsOfRoutes, ATimeIsReadAsTheCutThatTheAnswerNames) {
  const std::string id = block("human", "old");
  const std::string path = "/v1/blocks/" + id;
  run_for(10);
  const std::string then = format_rfc3339_micros(world_->client().wall_now());
  run_for(10);
  expect(200, "PATCH", path, R"({"value":"new"})");

  const Response past = read(path, then);
  ASSERT_EQ(200, past.status);
  EXPECT_EQ("old", text(*Json::parse(past.body), "value"));
  const std::string cut = past.header("varve-as-of").value_or("");
  const Response again = read(path, cut);
  EXPECT_EQ(past.body, again.body);
  EXPECT_EQ(cut, again.header("varve-as-of"));

  EXPECT_EQ("new", text(*Json::parse(read(path, kFuture).body), "value"));
  const Response before = read(path, "2000-01-01");
  EXPECT_EQ(404, before.status);
  EXPECT_EQ(",", before.header("varve-as-of"));
  EXPECT_FALSE(call("GET", path).header("varve-as-of"));
}

TEST_F(AsOfRoutes, APositionIsTheMomentBehindAWrite) {
  const std::string id = block("human", "0");
  const std::string path = "/v1/blocks/" + id;
  std::vector<std::string> positions;
  for (const char* value : {"1", "2", "3"}) {
    positions.push_back(position_of(call("PATCH", path, R"({"value":")" + std::string(value) + R"("})")));
    run_for(5);
  }
  for (std::size_t i = 0; i < positions.size(); ++i) {
    const Response past = read(path, positions[i]);
    EXPECT_EQ(std::to_string(i + 1), text(*Json::parse(past.body), "value"));
    // The agents of the other partitions are there, too.
    EXPECT_NE(std::string::npos, past.header("varve-as-of").value_or("").find(positions[i]));
  }
}

TEST_F(AsOfRoutes, WhatIsBeyondTheEndIsAwaitedForFiveSeconds) {
  const std::string id = block("human", "x");
  const MonoTime asked = world_->scheduler().now();
  const Response beyond = read("/v1/blocks/" + id, "2:4000");
  EXPECT_EQ(404, beyond.status);
  EXPECT_GE(world_->scheduler().now() - asked, std::chrono::seconds{5});
  const std::string detail = text(*Json::parse(beyond.body), "detail");
  EXPECT_EQ("query.as_of: 2:4000 lies beyond the log's end: partition 2 ends before offset " +
                std::to_string(world_->log().end(Partition{2}).value()),
            detail);

  // One that comes in time is there.
  const Partition home = partition_of(StreamId{id}, 4);
  const std::string next = to_string(LogPosition{home, world_->log().end(home)});
  const Pending waits = begin("GET", with("/v1/blocks/" + id, next));
  run_for(1000);
  EXPECT_FALSE(waits->has_value());
  expect(200, "PATCH", "/v1/blocks/" + id, R"({"value":"y"})");
  EXPECT_EQ("y", text(*Json::parse(finish(waits).body), "value"));
}

// ---- refusals ----

TEST_F(AsOfRoutes, WhatIsMalformedIsRefusedWithWhatWasExpected) {
  const std::string agent = create_agent();
  const auto refusal = [&](const std::string& as_of) {
    return text(expect(422, "GET", with("/v1/agents/" + agent, as_of)), "detail");
  };
  EXPECT_EQ(
      "query.as_of: expected a time as 2026-01-31T12:00:00Z, a position as 0:17 or a cut as 0:17,1:88, got "
      "'yesterday'",
      refusal("yesterday"));
  EXPECT_EQ(
      "query.as_of: expected a time as 2026-01-31T12:00:00Z, a position as 0:17 or a cut as 0:17,1:88, got "
      "''",
      refusal(""));
  EXPECT_EQ("query.as_of: partition 0 is named twice", refusal("0:1,0:2"));
  EXPECT_EQ("query.as_of: 7:1 names no partition of this log, which has 4, numbered from 0", refusal("7:1"));
  EXPECT_NE("", refusal("0:1,,"));
}

TEST_F(AsOfRoutes, ThePastCannotBeWrittenTo) {
  const std::string agent = create_agent();
  const std::size_t before = records();
  const Json refused = expect(422, "PATCH", with("/v1/agents/" + agent, "0:1"), R"({"name":"x"})");
  EXPECT_EQ("query.as_of: only reads take it; the past cannot be written to", text(refused, "detail"));
  expect(422, "DELETE", with("/v1/agents/" + agent, "0:1"));
  expect(422, "POST", with("/v1/agents/", "0:1"), R"({"name":"x"})");
  EXPECT_EQ(before, records());
}

// ---- answers of writes ----

// Two changes that are under way together: the views show the later one when the first is answered.
TEST_F(AsOfRoutes, AWriteIsAnsweredWithItsOwnValue) {
  const std::string agent = create_agent();
  const std::string id = block("human", "0");
  std::vector<Pending> blocks;
  std::vector<Pending> agents;
  for (int i = 1; i <= 4; ++i) {
    const std::string value = std::to_string(i);
    blocks.push_back(begin("PATCH", "/v1/blocks/" + id, R"({"value":")" + value + R"("})"));
    agents.push_back(begin("PATCH", "/v1/agents/" + agent, R"({"name":"n)" + value + R"("})"));
  }
  for (int i = 1; i <= 4; ++i) {
    const auto place = static_cast<std::size_t>(i - 1);
    const auto changed = Json::parse(finish(blocks[place]).body);
    ASSERT_TRUE(changed);
    EXPECT_EQ(std::to_string(i), text(*changed, "value"));
    const auto renamed = Json::parse(finish(agents[place]).body);
    ASSERT_TRUE(renamed);
    EXPECT_EQ("n" + std::to_string(i), text(*renamed, "name"));
    EXPECT_EQ(1U, renamed->find("message_ids")->items().size());
  }
}

}  // namespace
}  // namespace varve
