#include "sim/stories/rebuild.h"

#include "api/projection_routes.h"

namespace varve::sim {
namespace {

constexpr std::chrono::milliseconds kLookEvery{40};
constexpr int kLooksMax = 400;
constexpr int kSaidBefore = 5;
constexpr int kWritesBeside = 2;  // Of each rebuild.
constexpr int kChangesBeside = 10;
constexpr int kFailuresMax = 40;  // On a disk that fails.

constexpr const char* kCreate =
    R"({"name":"ann","tags":["a","b"],"memory_blocks":[{"label":"human","value":"Name: Ann."}]})";

StoryClient::Options client_options() {
  StoryClient::Options options;
  options.name = "rebuild";
  options.policy.attempts = 60;
  options.policy.patience = std::chrono::seconds{3};
  options.policy.first_wait = std::chrono::milliseconds{50};
  options.policy.longest_wait = std::chrono::seconds{1};
  return options;
}

}  // namespace

RebuildStory::RebuildStory(Stage& stage, StoryClient::Ears ears, LeftOver left_over, bool disk_fails)
    : client_(stage, client_options(), std::move(ears)),
      left_over_(std::move(left_over)),
      failures_left_(disk_fails ? kFailuresMax : 0) {}

Task<> RebuildStory::play() {
  auto created = co_await client_.ask("POST", "/v1/agents/", kCreate, "create");
  if (!created) co_return created.error();
  path_ = "/v1/agents/" + text_of(*created, "id");
  for (int i = 0; i < kSaidBefore; ++i) {
    if (Status written = co_await write(i); !written) co_return written;
  }
  if (Status done = co_await rebuild(1); !done) co_return done;
  if (Status done = co_await begin_and_end(); !done) co_return done;
  if (Status done = co_await rebuild(2); !done) co_return done;
  co_return co_await expect_history();
}

Task<> RebuildStory::write(int round) {
  const std::string text = "word " + std::to_string(said_++);
  auto said = co_await client_.ask("POST", path_ + "/messages", body_of("input", text), text);
  if (!said) co_return said.error();
  history_ += "user_message:" + text + ";assistant_message:You said: " + text + ";";
  // A value that replaces another closes a row.
  const std::string name = "ann " + std::to_string(said_);
  auto renamed = co_await client_.ask("PATCH", path_, body_of("name", name), "name " + text);
  if (!renamed) co_return renamed.error();
  if (round % 2 == 0) co_return ok();
  co_return co_await expect_history();
}

Task<> RebuildStory::begin() {
  auto begun =
      co_await client_.insist("POST", std::string{kRebuildPath}, R"({"jobs":2,"grace_seconds":0})", "");
  if (!begun) co_return begun.error();
  // 409: it goes on already.
  if (begun->status != 200 && begun->status != 409) co_return unexpected("a rebuild: " + begun->body);
  co_return ok();
}

Task<> RebuildStory::rebuild(int round) {
  if (Status begun = co_await begin(); !begun) co_return begun;
  for (int look = 0; look < kLooksMax; ++look) {
    if (look < kWritesBeside) {
      if (Status written = co_await write(round); !written) co_return written;
    } else if (look < kChangesBeside) {
      // Nobody waits for these: some are folded while the views are switched.
      const std::string tag = "beside " + std::to_string(round) + "." + std::to_string(look);
      client_.fire("PATCH", path_, body_of("description", tag), tag);
      auto seen = co_await client_.get(path_);
      if (!seen) co_return seen.error();
    }
    auto told = co_await client_.get(std::string{kRebuildPath});
    if (!told) co_return told.error();
    const std::string state = text_of(*told, "state");
    if (state == "done") co_return co_await expect_nothing_left(DiskNode::Rest::all);
    if (state == "failed" && --failures_left_ < 0)
      co_return unexpected("a rebuild failed: " + text_of(*told, "error"));
    // The server was booted meanwhile, and knows of none: whoever wants it asks again.
    if (state == "none" || state == "failed") {
      if (Status begun = co_await begin(); !begun) co_return begun;
    }
    co_await sleep_for(client_.env(), kLookEvery);
  }
  co_return unexpected("a rebuild was never done");
}

Task<> RebuildStory::begin_and_end() {
  if (Status begun = co_await begin(); !begun) co_return begun;
  auto ended = co_await client_.insist("DELETE", std::string{kRebuildPath}, "", "");
  if (!ended) co_return ended.error();
  if (ended->status != 200) co_return unexpected("the end of a rebuild: " + ended->body);
  co_return co_await expect_nothing_left(DiskNode::Rest::newer);
}

Task<> RebuildStory::expect_nothing_left(DiskNode::Rest rest) {
  for (const std::string& file : left_over_(rest)) {
    co_return unexpected("I5: " + file + " was left behind by a rebuild");
  }
  co_return ok();
}

Task<> RebuildStory::expect_history() {
  auto got = co_await client_.messages(path_);
  if (!got) co_return got.error();
  if (*got != history_) co_return unexpected("the history is " + *got + " instead of " + history_);
  co_return ok();
}

}  // namespace varve::sim
