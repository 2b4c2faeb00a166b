// The views by HTTP: how far they are, and making them anew, in a data directory with a history in its log.
#include "api/projection_routes.h"

#include <filesystem>

#include "projections/sqlite_generations.h"
#include "runtime/json.h"
#include "tests/projections/rebuild_world.h"
#include "tests/projections/temp_directory.h"

namespace varve {
namespace {

using test::run;

RealEnv::Options quiet() {
  RealEnv::Options options;
  options.read_threads = 2;
  options.log_sink = [](LogLevel, std::string_view) {};
  return options;
}

// Another's generations, at whose beginning a rebuild can be held.
class HeldGenerations final : public Generations {
 public:
  HeldGenerations(Env& env, Generations& behind) : env_(env), behind_(behind) {}

  void hold() { held_ = true; }
  void release() {
    held_ = false;
    changed_.notify_all();
  }
  void fail_with(const Error& error) { failure_ = error; }

  Task<GenerationsSeen> look() override { co_return co_await behind_.look(); }
  Task<> begin() override {
    while (held_) co_await changed_.wait(env_, env_.now() + std::chrono::seconds{10});
    if (failure_) co_return *failure_;
    co_return co_await behind_.begin();
  }
  Task<> keep() override { co_return co_await behind_.keep(); }
  Task<> leave() override { co_return co_await behind_.leave(); }
  std::shared_ptr<ViewStore> next() override { return behind_.next(); }
  bool is_loading() const override { return behind_.is_loading(); }
  Task<> finish_loading() override { co_return co_await behind_.finish_loading(); }
  Task<bool> show(std::uint32_t partitions) override { co_return co_await behind_.show(partitions); }
  Task<> drop_old() override { co_return co_await behind_.drop_old(); }
  Task<bool> abort() override { co_return co_await behind_.abort(); }

 private:
  Env& env_;
  Generations& behind_;
  bool held_ = false;
  std::optional<Error> failure_;
  Notifier changed_;
};

Task<Response> answer_of(ProjectionRoutes& routes, Request request) {
  co_return co_await routes.handle(std::move(request));
}

class ProjectionRoutesTest : public testing::Test {
 public:
  void SetUp() override {
    history_.write(200);
    history_.poison(1);
    auto store = SqliteViewStore::open(env_, {directory_.path(), kViewsGeneration});
    ASSERT_TRUE(store) << to_string(store.error());
    live_ = std::make_unique<ActiveViewStore>(env_, std::shared_ptr<ViewStore>{std::move(*store)});
    workers_ = std::make_unique<test::Workers>(env_, port_, *live_);
    ASSERT_TRUE(workers_->catch_up()) << workers_->failure();
    files_ = std::make_unique<SqliteGenerations>(env_, directory_.path(), control_.get(), live_.get());
    generations_ = std::make_unique<HeldGenerations>(env_, *files_);
    routes_ = std::make_unique<ProjectionRoutes>(env_, ProjectionRoutes::Ports{port_, *live_, *generations_});
  }
  void TearDown() override {
    if (workers_) workers_->stop();
    env_.shut_down();
  }

  Response call(const std::string& method, std::string_view path, const std::string& body = "") {
    Request request;
    request.method = method;
    request.target = path;
    request.body = body;
    auto answer = run(env_, answer_of(*routes_, std::move(request)));
    EXPECT_TRUE(answer) << method << " " << path;
    return answer ? *answer : Response{};
  }
  Json expect(int status, const std::string& method, std::string_view path, const std::string& body = "") {
    const Response response = call(method, path, body);
    EXPECT_EQ(status, response.status) << method << " " << path << " " << body << " -> " << response.body;
    auto json = Json::parse(response.body);
    EXPECT_TRUE(json) << response.body;
    return json ? *json : Json{};
  }
  static std::string text(const Json& json, const char* field) {
    const Json* value = json.find(field);
    return value == nullptr ? "-" : value->is_string() ? value->as_string() : value->dump();
  }
  // Until it is in another state than this one.
  Json after(const std::string& state) {
    for (int look = 0; look < 3000; ++look) {
      Json progress = expect(200, "GET", kRebuildPath);
      if (text(progress, "state") != state) return progress;
      EXPECT_TRUE(run(env_, rest(env_)));
    }
    ADD_FAILURE() << "it stays " << state;
    return {};
  }
  static Task<> rest(Env& env) {
    co_await sleep_for(env, std::chrono::milliseconds{5});
    co_return ok();
  }

  test::TempDirectory directory_;
  RealEnv env_{quiet()};
  std::shared_ptr<MemoryLogStorage> log_ =
      std::make_shared<MemoryLogStorage>(MemoryLogStorage::Options{3, 7});
  MemoryEventLog port_{env_, log_};
  test::RandomHistory history_{log_, 1};
  std::unique_ptr<SqliteSnapshotStore> control_ = *SqliteSnapshotStore::open(env_, directory_.path());
  std::unique_ptr<ActiveViewStore> live_;
  std::unique_ptr<test::Workers> workers_;
  std::unique_ptr<SqliteGenerations> files_;
  std::unique_ptr<HeldGenerations> generations_;
  std::unique_ptr<ProjectionRoutes> routes_;
};

TEST_F(ProjectionRoutesTest, TheStatusNamesEveryPartitionAndWhatIsParked) {
  const Json status = expect(200, "GET", kProjectionsPath);
  EXPECT_EQ("core", text(status, "projection"));
  EXPECT_EQ(std::to_string(kViewsGeneration), text(status, "generation"));
  EXPECT_EQ("null", text(status, "next"));
  EXPECT_EQ(kViews, status.find("views")->items().size());
  ASSERT_EQ(3U, status.find("partitions")->items().size());
  for (const Json& partition : status.find("partitions")->items()) {
    EXPECT_EQ("0", text(partition, "lag"));
    EXPECT_EQ(text(partition, "end"), text(partition, "next_offset"));
  }
  ASSERT_EQ(1U, status.find("quarantined")->items().size());
  const Json& parked = status.find("quarantined")->items().front();
  EXPECT_EQ("AgentSang", text(parked, "type"));
  EXPECT_EQ("1", text(parked, "partition"));
  EXPECT_EQ("null", text(status, "log_fault"));
}

TEST_F(ProjectionRoutesTest, ARebuildIsBegunWatchedAndDone) {
  EXPECT_EQ("none", text(expect(200, "GET", kRebuildPath), "state"));
  generations_->hold();
  EXPECT_EQ("running", text(expect(200, "POST", kRebuildPath, R"({"jobs":3,"grace_seconds":0})"), "state"));
  const Json refused = expect(409, "POST", kRebuildPath, "{}");
  EXPECT_EQ("this server rebuilds its views already", text(refused, "detail"));
  generations_->release();
  const Json done = after("running");
  EXPECT_EQ("done", text(done, "state")) << done.dump();
  EXPECT_EQ("done", text(done, "phase"));
  EXPECT_EQ("null", text(done, "error"));
  EXPECT_EQ(std::to_string(kViewsGeneration + 1), text(done, "generation"));
  EXPECT_EQ(text(done, "end"), text(done, "folded"));
  const Json status = expect(200, "GET", kProjectionsPath);
  EXPECT_EQ(std::to_string(kViewsGeneration + 1), text(status, "generation"));
  EXPECT_FALSE(std::filesystem::exists(SqliteViewStore::path_of({directory_.path(), kViewsGeneration})));
  // And another one.
  EXPECT_EQ("running", text(expect(200, "POST", kRebuildPath, R"({"grace_seconds":0})"), "state"));
  EXPECT_EQ("done", text(after("running"), "state"));
}

TEST_F(ProjectionRoutesTest, ARebuildThatFailsSaysWhyAndMayBeTriedAgain) {
  generations_->fail_with({Errc::conflict, "somebody else rebuilds"});
  expect(200, "POST", kRebuildPath);
  const Json failed = after("running");
  EXPECT_EQ("failed", text(failed, "state"));
  EXPECT_EQ("somebody else rebuilds", text(failed, "error"));
  generations_->fail_with({Errc::conflict, "somebody else still does"});
  expect(200, "POST", kRebuildPath);
  EXPECT_EQ("somebody else still does", text(after("running"), "error"));
}

TEST_F(ProjectionRoutesTest, AnAbortEndsItAndLeavesNothing) {
  EXPECT_EQ("false", text(expect(200, "DELETE", kRebuildPath), "removed"));
  // What somebody has left half way.
  ASSERT_TRUE(run(env_, files_->begin()));
  ASSERT_TRUE(run(env_, files_->leave()));
  EXPECT_NE("null", text(expect(200, "GET", kProjectionsPath), "next"));
  EXPECT_EQ("true", text(expect(200, "DELETE", kRebuildPath), "removed"));
  EXPECT_EQ("null", text(expect(200, "GET", kProjectionsPath), "next"));
  EXPECT_FALSE(std::filesystem::exists(SqliteViewStore::path_of({directory_.path(), kViewsGeneration + 1})));
  EXPECT_EQ(std::to_string(kViewsGeneration), text(expect(200, "GET", kProjectionsPath), "generation"));
}

TEST_F(ProjectionRoutesTest, RefusesWhatItDoesNotUnderstandAndBeginsNothing) {
  const auto detail = [&](const std::string& body) {
    return text(expect(422, "POST", kRebuildPath, body), "detail");
  };
  EXPECT_EQ("the body must be a JSON object", detail("[]"));
  EXPECT_EQ("the body must be a JSON object", detail("{"));
  EXPECT_EQ("jobs: expected an integer from 1 to 64", detail(R"({"jobs":0})"));
  EXPECT_EQ("jobs: expected an integer from 1 to 64", detail(R"({"jobs":65})"));
  EXPECT_EQ("jobs: expected an integer from 1 to 64", detail(R"({"jobs":"2"})"));
  EXPECT_EQ("grace_seconds: expected an integer from 0 to 86400", detail(R"({"grace_seconds":-1})"));
  EXPECT_EQ("grace_seconds: expected an integer from 0 to 86400", detail(R"({"grace_seconds":1.5})"));
  EXPECT_EQ("none", text(expect(200, "GET", kRebuildPath), "state"));
  EXPECT_EQ("GET", call("POST", kProjectionsPath).headers.find("allow")->second);
  EXPECT_EQ(405, call("DELETE", kProjectionsPath).status);
  const Response wrong = call("PUT", kRebuildPath);
  EXPECT_EQ(405, wrong.status);
  EXPECT_EQ("GET, POST, DELETE", wrong.headers.find("allow")->second);
  EXPECT_TRUE(ProjectionRoutes::serves("/v1/varve/projections"));
  EXPECT_FALSE(ProjectionRoutes::serves("/v1/varve/projections/other"));
}

}  // namespace
}  // namespace varve
