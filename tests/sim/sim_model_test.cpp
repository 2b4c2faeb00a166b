// The simulated provider: what it says follows from the request, how it fails is chance, and the journal
// outlives who asked.
#include "sim/sim_model.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

#include "actors/agent_block.h"
#include "actors/decide.h"
#include "actors/memory_tools.h"
#include "runtime/json.h"

namespace varve::sim {
namespace {

constexpr std::uint32_t kAlways = 1'000'000;

std::shared_ptr<const Message> message(Role role, const std::string& text, const std::string& step_id) {
  auto made = std::make_shared<Message>();
  made->id = "message-" + text;
  made->role = role;
  made->content.clear();
  append_json_string(made->content, text);
  made->step_id = step_id;
  return made;
}

ModelRequest asking(const std::string& text) {
  ModelRequest request;
  request.model = "varve/sim";
  request.messages = {message(Role::user, text, "step-1")};
  return request;
}

// With the memory tools, and a block to edit.
ModelRequest with_tools(const std::string& text) {
  ModelRequest request = asking(text);
  for (const ToolSchema& tool : builtin_tools()) {
    request.tools.push_back({std::string(tool.name), "", std::string(tool.parameters)});
  }
  BlockValue block;
  block.label = "persona";
  block.value = "line one\nline two";
  request.system = compile_prompt({}, {block});
  return request;
}

class SimModelTest : public ::testing::Test {
 protected:
  ~SimModelTest() override { node_->kill(); }

  static Task<> keep(Task<ModelOutcome> task, std::shared_ptr<std::optional<Result<ModelOutcome>>> out) {
    *out = co_await std::move(task);
    co_return ok();
  }
  auto begin(ModelRequest request, MonoTime deadline = kNever) {
    auto out = std::make_shared<std::optional<Result<ModelOutcome>>>();
    node_->spawn("test", keep(model_->complete(std::move(request), deadline), out));
    return out;
  }
  ModelOutcome ask(ModelRequest request, MonoTime deadline = kNever) {
    const auto out = begin(std::move(request), deadline);
    while (!out->has_value() && scheduler_.step()) {
    }
    if (out->has_value() && **out) return ***out;
    ADD_FAILURE() << "no outcome";
    return ModelReply{};
  }
  // "reply: text" or "429: sentence".
  static std::string show(const ModelOutcome& outcome) {
    if (const auto* failed = std::get_if<ModelFailure>(&outcome)) {
      return std::to_string(failed->status) + ": " + failed->message;
    }
    return "reply: " + std::get<ModelReply>(outcome).text;
  }
  // The askings of every step: "replied failed | open".
  std::string journal() const {
    std::string out;
    for (const auto& [step, askings] : provider_.journal().all()) {
      if (!out.empty()) out += " | ";
      for (const ModelAsking& one : askings) {
        constexpr std::array<const char*, 4> names{"open", "replied", "failed", "broken"};
        out += std::string(&one == &askings.front() ? "" : " ") + names.at(static_cast<std::size_t>(one.end));
      }
    }
    return out;
  }

  Scheduler scheduler_{1};
  Counters counters_;
  ModelProvider provider_{scheduler_, counters_};
  std::unique_ptr<SimEnv> node_ = std::make_unique<SimEnv>(scheduler_, "node", 2);
  std::unique_ptr<SimModel> model_ = std::make_unique<SimModel>(*node_, "node-1", provider_);
};

TEST_F(SimModelTest, CalmItAnswersWithTheUsersWords) {
  EXPECT_EQ(show(ask(with_tools("hello you"))), "reply: You said: hello you");
  ModelRequest later = with_tools("hello you");
  later.messages.push_back(message(Role::assistant, "", "step-1"));
  later.messages.push_back(message(Role::tool, "found", "step-1"));
  EXPECT_EQ(show(ask(later)), "reply: Done with: hello you");
  EXPECT_EQ(journal(), "replied | replied");
  EXPECT_TRUE(model_->serves("varve/sim"));
  EXPECT_FALSE(model_->serves("nobody/nothing"));
}

TEST_F(SimModelTest, AStreamIsTheReplyInPieces) {
  provider_.set_habits({.reasoning_ppm = kAlways});
  ModelRequest request = asking("one two three");
  auto heard = std::make_shared<std::string>();
  auto pieces = std::make_shared<int>(0);
  request.on_delta = [heard, pieces](const ModelDelta& delta) {
    if (delta.kind == ModelDelta::Kind::text) *heard += delta.text;
    ++*pieces;
  };
  EXPECT_EQ(show(ask(request)), "reply: " + *heard);
  EXPECT_EQ(*pieces, 6);
}

TEST_F(SimModelTest, ItsToolCallsFitTheToolsThatItIsOffered) {
  provider_.set_habits({.tools_ppm = kAlways, .more_tools_ppm = 500'000});
  std::set<std::string> names;
  std::set<std::string> ids;
  for (int i = 0; i < 60; ++i) {
    const ModelOutcome outcome = ask(with_tools("find apples"));
    for (const ToolCall& call : std::get<ModelReply>(outcome).tool_calls) {
      names.insert(call.name);
      EXPECT_TRUE(ids.insert(call.id).second) << call.id;
      ASSERT_NE(provider_.journal().step_of_call(call.id), nullptr);
      if (call.name == kConversationSearch) {
        EXPECT_TRUE(parse_search_call(call)) << call.arguments;
        continue;
      }
      const auto parsed = parse_memory_tool_call(call);
      ASSERT_TRUE(parsed) << call.arguments;
      EXPECT_EQ(parsed->label, "persona");
      BlockValue block;
      block.value = "line one\nline two";
      EXPECT_TRUE(edit_block_text(block, parsed->edit)) << call.arguments;
    }
  }
  EXPECT_EQ(names.size(), builtin_tools().size());
}

TEST_F(SimModelTest, SomeCallsCannotSucceed) {
  provider_.set_habits({.tools_ppm = kAlways, .wrong_tools_ppm = kAlways});
  std::set<std::string> kinds;
  for (int i = 0; i < 40; ++i) {
    const ModelOutcome outcome = ask(with_tools("x"));
    const ToolCall& call = std::get<ModelReply>(outcome).tool_calls.front();
    if (call.name == "no_such_tool") {
      kinds.insert("tool");
    } else if (!Json::parse(call.arguments)) {
      kinds.insert("arguments");
    } else {
      kinds.insert("block");
    }
  }
  EXPECT_EQ(kinds, (std::set<std::string>{"tool", "arguments", "block"}));
}

TEST_F(SimModelTest, ItKeepsToTheToolChoice) {
  ModelRequest request = with_tools("x");
  request.tool_choice = "memory_insert";
  ModelOutcome outcome = ask(request);
  ASSERT_EQ(std::get<ModelReply>(outcome).tool_calls.size(), 1U);
  EXPECT_EQ(std::get<ModelReply>(outcome).tool_calls.front().name, "memory_insert");
  provider_.set_habits({.tools_ppm = kAlways});
  request.tool_choice = "none";
  outcome = ask(request);
  EXPECT_TRUE(std::get<ModelReply>(outcome).tool_calls.empty());
  request.tool_choice = "auto";
  for (std::size_t i = 0; i < ModelProvider::kStepsMax; ++i) {
    request.messages.push_back(message(Role::assistant, "", "step-1"));
  }
  outcome = ask(request);  // A turn comes to its end.
  EXPECT_TRUE(std::get<ModelReply>(outcome).tool_calls.empty());
}

TEST_F(SimModelTest, EveryFaultCanBeProvoked) {
  std::set<std::string> seen;
  provider_.set_faults({.busy_ppm = kAlways});
  for (int i = 0; i < 30; ++i) seen.insert(show(ask(asking("x"))));
  EXPECT_EQ(seen, (std::set<std::string>{"429: the provider is busy", "500: the provider is busy",
                                         "503: the provider is busy"}));
  provider_.set_faults({.refusal_ppm = kAlways});
  EXPECT_TRUE(show(ask(asking("x"))).starts_with("40"));

  provider_.set_faults({.silence_ppm = kAlways});
  const MonoTime deadline = node_->now() + std::chrono::seconds{9};
  EXPECT_TRUE(show(ask(asking("x"), deadline)).starts_with("504: "));
  EXPECT_GE(node_->now(), deadline);
  provider_.set_faults({.think_us = 1'000'000'000});
  bool in_time = false;
  bool too_late = false;
  for (int i = 0; i < 50; ++i) {
    const bool failed = show(ask(asking("x"), node_->now() + std::chrono::seconds{1})).starts_with("504: ");
    (failed ? too_late : in_time) = true;
  }
  EXPECT_TRUE(in_time && too_late);
}

TEST_F(SimModelTest, AReplyThatBreaksOffHasSaidAPartOfIt) {
  provider_.set_faults({.broken_ppm = kAlways});
  ModelRequest request = asking("one two three four five six");
  auto heard = std::make_shared<std::string>();
  request.on_delta = [heard](const ModelDelta& delta) { *heard += delta.text; };
  bool some = false;
  for (int i = 0; i < 10; ++i) {
    heard->clear();
    EXPECT_TRUE(show(ask(request)).starts_with("500: "));
    const std::string whole = "You said: one two three four five six";
    EXPECT_TRUE(whole.starts_with(*heard));
    EXPECT_NE(*heard, whole);
    some = some || !heard->empty();
  }
  EXPECT_TRUE(some);
  EXPECT_TRUE(journal().starts_with("broken broken"));
}

TEST_F(SimModelTest, TheJournalShowsAStepThatWasAskedAgainAfterACrash) {
  provider_.set_faults({.think_us = 1'000'000});
  provider_.set_habits({.tools_ppm = kAlways});
  const auto lost = begin(with_tools("x"));
  scheduler_.step();
  node_->kill();
  model_.reset();
  node_ = std::make_unique<SimEnv>(scheduler_, "node", 3);
  model_ = std::make_unique<SimModel>(*node_, "node-2", provider_);
  const ModelOutcome outcome = ask(with_tools("x"));
  EXPECT_FALSE(lost->has_value());
  EXPECT_EQ(journal(), "open replied");
  const auto& askings = provider_.journal().all().begin()->second;
  EXPECT_EQ(askings.front().node, "node-1");
  EXPECT_EQ(askings.back().node, "node-2");
  EXPECT_EQ(askings.back().calls.front(), std::get<ModelReply>(outcome).tool_calls.front().id);
  EXPECT_EQ(provider_.journal().askings(), 2U);
}

TEST(ModelStep, IsTheTurnOfTheNewestUserMessageAndWhatWasSaidSince) {
  ModelRequest request;
  request.messages = {message(Role::user, "old", "step-old"), message(Role::assistant, "a", "step-old"),
                      message(Role::user, "new", "step-new"), message(Role::assistant, "b", "step-new"),
                      message(Role::tool, "t", "step-new")};
  EXPECT_EQ(step_of(request), (ModelStep{"step-new", 1}));
  request.messages.push_back(message(Role::user, "imported", ""));
  EXPECT_EQ(step_of(request), (ModelStep{"message-imported", 0}));
}

}  // namespace
}  // namespace varve::sim
