// What a node tells people about its cluster: as JSON, from real nodes, and while the log does not answer.
#include "api/cluster_routes.h"

#include "api/presence.h"

#include "tests/cluster/cluster_fixture.h"

namespace varve {
namespace {

using test::ClusterFixture;

TEST(ClusterJson, HasNodesAndPartitions) {
  ClusterStatus status;
  status.node = {"blue", "n1", "http://a:1"};
  status.roles = {"api", "actors"};
  status.partitions = {
      {Partition{0}, Owner{Epoch{3}, "n1", "http://a:1"}, "serving", Offset{40}, Offset{42}},
      {Partition{1}, Owner{Epoch{7}, "n2", "http://b:1"}, "", Offset{9}, Offset{9}},
      {Partition{2}, {}, "", Offset{}, {}},
  };
  status.processes = {{"n1", "http://a:1", {"api", "actors"}, 3}, {"n3", "http://c:1", {"projections"}, 4}};
  EXPECT_EQ(
      R"({"cluster":"blue","node":{"id":"n1","url":"http://a:1","roles":["api","actors"],"leaving":false},)"
      R"("nodes":[{"id":"n1","url":"http://a:1","partitions":1,"roles":["api","actors"],"seen_seconds":0},)"
      R"({"id":"n2","url":"http://b:1","partitions":1,"roles":null,"seen_seconds":null},)"
      R"({"id":"n3","url":"http://c:1","partitions":0,"roles":["projections"],"seen_seconds":4}],)"
      R"("partitions":[{"partition":0,"owner":"n1","url":"http://a:1","epoch":3,"here":"serving","folded":40,)"
      R"("end":42,"lag":2},{"partition":1,"owner":"n2","url":"http://b:1","epoch":7,"here":"","folded":9,)"
      R"("end":9,"lag":0},{"partition":2,"owner":null,"url":null,"epoch":null,"here":"","folded":0,)"
      R"("end":null,"lag":null}],"log_fault":null,"processes_fault":null})",
      cluster_json(status));
}

TEST(ClusterJson, TheNodeThatWasAskedIsListedWithoutPartitions) {
  ClusterStatus status;
  status.node = {"blue", "n1", "http://a:1"};
  status.log_fault = "no broker";
  EXPECT_EQ(R"({"cluster":"blue","node":{"id":"n1","url":"http://a:1","roles":[],"leaving":false},)"
            R"("nodes":[{"id":"n1","url":"http://a:1","partitions":0,"roles":[],"seen_seconds":0}],)"
            R"("partitions":[],"log_fault":"no broker","processes_fault":null})",
            cluster_json(status));
}

// A log whose ends cannot be asked for.
class MuteLog final : public EventLog {
 public:
  MuteLog(Env& env, bool hangs) : env_(env), hangs_(hangs) {}
  std::uint32_t partitions() const override { return ClusterFixture::kPartitions; }
  Result<Delivery> append(Partition /*partition*/, std::string /*key*/, std::string /*bytes*/) override {
    return Error{Errc::unavailable, "mute"};
  }
  Task<ReadBatch> read(Partition /*partition*/, Offset /*from*/, ReadOptions /*options*/) override {
    co_return Error{Errc::unavailable, "mute"};
  }
  Task<Offset> end(Partition /*partition*/) override {
    ++asked;
    if (hangs_) co_await sleep_until(env_, kNever);
    co_return Error{Errc::unavailable, "no broker"};
  }
  int asked = 0;

 private:
  Env& env_;
  bool hangs_;
};

// What processes say of themselves, in virtual time.
class ListedProcesses final : public ProcessTable {
 public:
  explicit ListedProcesses(Env& env) : env_(env) {}

  Task<> keep(ProcessSelf self) override {
    ++kept;
    if (broken) co_return Error{Errc::unavailable, "away"};
    rows_[self.node] = {self, env_.now()};
    co_return ok();
  }
  Task<> leave(std::string node) override {
    rows_.erase(node);
    co_return ok();
  }
  Task<std::vector<ProcessSeen>> seen(std::string cluster) override {
    if (hangs) co_await sleep_until(env_, kNever);
    if (broken) co_return Error{Errc::unavailable, "away"};
    std::vector<ProcessSeen> seen;
    for (const auto& [node, row] : rows_) {
      const Duration age = env_.now() - row.second;
      const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(age).count();
      if (row.first.cluster != cluster || age > kProcessLife) continue;
      seen.push_back({node, row.first.url, row.first.roles, seconds});
    }
    co_return seen;
  }

  int kept = 0;
  bool broken = false;
  bool hangs = false;

 private:
  Env& env_;
  std::map<std::string, std::pair<ProcessSelf, MonoTime>> rows_;
};

class ClusterRoutesTest : public ClusterFixture {
 protected:
  static Task<Response> ask(ClusterRoutes& routes, std::string method) {
    Request request;
    request.method = std::move(method);
    Response response = co_await routes.status(std::move(request));
    co_return response;
  }
  // What the node tells, from the log given.
  Response told(Life& at, EventLog& log, const std::string& method = "GET") {
    ClusterRoutes routes(at.env, {log, at.views, at.node.member()}, {"varve", at.url, at.url}, {"api"});
    auto response = finish(begin(at, ask(routes, method)));
    EXPECT_TRUE(response.has_value());
    return response ? std::move(*response) : Response{};
  }
  Json told_with(Life& at, ProcessTable& processes) {
    ClusterRoutes routes(at.env, {at.log, at.views, at.node.member(), &processes}, {"varve", at.url, at.url},
                         {"api"});
    auto response = finish(begin(at, ask(routes, "GET")));
    EXPECT_TRUE(response.has_value());
    auto json = Json::parse(response ? response->body : "");
    EXPECT_TRUE(json);
    return json ? *json : Json{};
  }
  // "http://c [\"projections\"] 0; .."
  static std::string nodes_in(const Json& status) {
    std::string all;
    for (const Json& one : status.find("nodes")->items()) {
      all += one.find("url")->as_string() + " " + one.find("roles")->dump() + " " +
             one.find("partitions")->dump() + "; ";
    }
    return all;
  }
  // "0 http://a serving; 1 http://b ; .."
  static std::string owners_in(const Response& response) {
    const auto json = Json::parse(response.body);
    std::string all;
    for (const Json& one : json->find("partitions")->items()) {
      const Json* url = one.find("url");
      all += one.find("partition")->dump() + " " + (url->is_string() ? url->as_string() : "-") + " " +
             one.find("here")->as_string() + "; ";
    }
    return all;
  }
};

TEST_F(ClusterRoutesTest, EveryNodeNamesTheOwners) {
  two_nodes();
  move("a", "b", {Partition{1}, Partition{2}});
  ASSERT_TRUE(run_until([&] { return life("b").owns(Partition{1}) && life("b").owns(Partition{2}); }));
  run_for(std::chrono::seconds{2});
  EXPECT_EQ("0 http://a serving; 1 http://b ; 2 http://b ; 3 http://a serving; ",
            owners_in(told(life("a"), life("a").log)));
  const Response at_b = told(life("b"), life("b").log);
  EXPECT_EQ(200, at_b.status);
  EXPECT_EQ("0 http://a ; 1 http://b serving; 2 http://b serving; 3 http://a ; ", owners_in(at_b));
  const auto json = Json::parse(at_b.body);
  for (const Json& one : json->find("partitions")->items()) {
    EXPECT_EQ(0, one.find("lag")->as_integer()) << one.dump();
    EXPECT_LT(0, *one.find("end")->as_integer()) << one.dump();
  }
}

// The newest claim is in no view yet.
TEST_F(ClusterRoutesTest, AnOwnerKnowsItselfBeforeTheViewsDo) {
  Life& a = boot("a");
  a.assignment.assign(all());  // Nobody folds.
  ASSERT_TRUE(run_until([&] { return owns_all(a); }));
  const Response response = told(a, a.log);
  EXPECT_EQ("0 http://a serving; 1 http://a serving; 2 http://a serving; 3 http://a serving; ",
            owners_in(response));
  EXPECT_EQ(1, Json::parse(response.body)->find("partitions")->items()[0].find("lag")->as_integer());
}

TEST_F(ClusterRoutesTest, ALogThatFailsIsAskedOnceAndNamed) {
  two_nodes();
  run_for(std::chrono::seconds{2});
  MuteLog log(life("a").env, /*hangs=*/false);
  const Response response = told(life("a"), log);
  EXPECT_EQ(200, response.status);
  EXPECT_EQ(1, log.asked);
  const auto json = Json::parse(response.body);
  EXPECT_EQ("no broker", json->find("log_fault")->as_string());
  EXPECT_TRUE(json->find("partitions")->items()[0].find("end")->is_null());
}

TEST_F(ClusterRoutesTest, ALogThatHangsIsNotWaitedForForLong) {
  two_nodes();
  MuteLog log(life("a").env, /*hangs=*/true);
  const MonoTime begun = scheduler_.now();
  const Response response = told(life("a"), log);
  EXPECT_EQ("the log does not answer", Json::parse(response.body)->find("log_fault")->as_string());
  EXPECT_LE(scheduler_.now() - begun, ClusterRoutes::kLookTime + std::chrono::seconds{1});
}

TEST_F(ClusterRoutesTest, AProcessThatOwnsNothingIsListedWhileItSaysThatItLives) {
  two_nodes();
  move("a", "b", {Partition{1}});
  ASSERT_TRUE(run_until([&] { return life("b").owns(Partition{1}); }));
  run_for(std::chrono::seconds{2});
  Life& a = life("a");
  ListedProcesses table(a.env);
  auto worker = std::make_unique<Presence>(a.env, table,
                                           ProcessSelf{"varve", "worker", "http://worker", {"projections"}});
  Presence another(a.env, table, ProcessSelf{"another", "x", "http://x", {"api"}});
  worker->start();
  another.start();
  run_for(std::chrono::seconds{12});
  EXPECT_GE(table.kept, 6);
  const std::string listed = R"(http://worker ["projections"] 0; )";
  EXPECT_NE(std::string::npos, nodes_in(told_with(a, table)).find(listed)) << nodes_in(told_with(a, table));
  EXPECT_EQ(std::string::npos, nodes_in(told_with(a, table)).find("http://x"));
  // Its owners are listed as ever: what b does it has not said.
  EXPECT_NE(std::string::npos, nodes_in(told_with(a, table)).find("http://b null"));
  // It leaves by itself,
  ASSERT_TRUE(finish(begin(a, worker->stop(scheduler_.now() + std::chrono::seconds{1}))));
  EXPECT_EQ(std::string::npos, nodes_in(told_with(a, table)).find("http://worker"));
  run_for(std::chrono::seconds{12});
  EXPECT_EQ(std::string::npos, nodes_in(told_with(a, table)).find("http://worker"));
  // or is forgotten when it has said nothing for a while.
  auto dies = finish(begin(a, table.keep({"varve", "dead", "http://dead", {"api"}})));
  EXPECT_NE(std::string::npos, nodes_in(told_with(a, table)).find("http://dead"));
  run_for(kProcessLife + std::chrono::seconds{1});
  EXPECT_EQ(std::string::npos, nodes_in(told_with(a, table)).find("http://dead"));
  ASSERT_TRUE(finish(begin(a, another.stop(scheduler_.now() + std::chrono::seconds{1}))));
  run_for(kProcessBeat * 2);
}

TEST_F(ClusterRoutesTest, ATableThatIsAwayOrHangsIsSaidAndTheRestIsTold) {
  two_nodes();
  run_for(std::chrono::seconds{2});
  Life& a = life("a");
  ListedProcesses table(a.env);
  table.broken = true;
  const Json broken = told_with(a, table);
  EXPECT_EQ("away", broken.find("processes_fault")->as_string());
  EXPECT_EQ(4U, broken.find("partitions")->items().size());
  table.hangs = true;
  const MonoTime begun = scheduler_.now();
  EXPECT_EQ("the table of processes does not answer",
            told_with(a, table).find("processes_fault")->as_string());
  EXPECT_LE(scheduler_.now() - begun, ClusterRoutes::kLookTime + std::chrono::seconds{1});
}

TEST_F(ClusterRoutesTest, ItIsReadOnly) {
  two_nodes();
  EXPECT_EQ(405, told(life("a"), life("a").log, "POST").status);
}

}  // namespace
}  // namespace varve
