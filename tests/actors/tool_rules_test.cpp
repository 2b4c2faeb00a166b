// Tool rules: what they let a model call next, as a table over what the turn has called already; and turns
// of a whole simulated server that keep to them.
#include "actors/tool_rules.h"

#include "tests/support/sim_server.h"

namespace varve {
namespace {

using Names = std::vector<std::string>;

ToolRules rules(const std::string& listed) {
  AgentSettings settings;
  settings.extra = R"({"tool_rules":[)" + listed + "]}";
  return tool_rules_of(settings);
}

// "a b" or "a b, forced"
std::string allowed(const ToolRules& by, const Names& called, const Names& offered = {"a", "b", "c"}) {
  const AllowedTools tools = allowed_tools(by, called, offered);
  std::string line;
  for (const std::string& name : tools.names) line += (line.empty() ? "" : " ") + name;
  return line + (tools.forced ? ", forced" : "");
}

TEST(ToolRules, WithoutRulesEverythingMayBeCalled) {
  EXPECT_EQ("a b c", allowed(rules(""), {}));
  EXPECT_EQ("a b c",
            allowed(rules(R"({"type":"something_else","tool_name":"a"},{"type":"run_first"},3)"), {}));
  AgentSettings damaged;
  damaged.extra = R"({"tool_rules":"none"})";
  EXPECT_EQ("a b c", allowed(tool_rules_of(damaged), {}));
}

TEST(ToolRules, WhatRunsFirstIsTheOnlyThingAtTheBeginningAndMustBeCalled) {
  const ToolRules one = rules(R"({"type":"run_first","tool_name":"b"})");
  EXPECT_EQ("b, forced", allowed(one, {}));
  EXPECT_EQ("a b c", allowed(one, {"b"}));
  const ToolRules two = rules(R"({"type":"run_first","tool_name":"c"},{"type":"run_first","tool_name":"a"})");
  EXPECT_EQ("a c, forced", allowed(two, {}));
  // A tool that the agent does not have cannot be waited for.
  EXPECT_EQ("a c", allowed(one, {}, {"a", "c"}));
}

TEST(ToolRules, ChildrenComeBehindTheirParent) {
  const ToolRules by = rules(R"({"type":"constrain_child_tools","tool_name":"a","children":["c","zzz"]})");
  EXPECT_EQ("a b c", allowed(by, {}));
  EXPECT_EQ("c, forced", allowed(by, {"a"}));
  EXPECT_EQ("c, forced", allowed(by, {"b", "a"}));
  EXPECT_EQ("a b c", allowed(by, {"a", "c"}));
  EXPECT_EQ("a b", allowed(by, {"a"}, {"a", "b"}));
}

TEST(ToolRules, ACountIsALimit) {
  const ToolRules by = rules(R"({"type":"max_count_per_step","tool_name":"a","max_count_limit":2})");
  EXPECT_EQ("a b c", allowed(by, {"a"}));
  EXPECT_EQ("b c", allowed(by, {"a", "b", "a"}));
  EXPECT_EQ("", allowed(by, {"a", "a"}, {"a"}));
  // It wins over what would be forced.
  const ToolRules both = rules(R"({"type":"constrain_child_tools","tool_name":"b","children":["a"]},)"
                               R"({"type":"max_count_per_step","tool_name":"a","max_count_limit":1})");
  EXPECT_EQ("", allowed(both, {"a", "b"}));
}

TEST(ToolRules, SomeAreReadForTheTurnItself) {
  const ToolRules by =
      rules(R"({"type":"exit_loop","tool_name":"a"},{"type":"requires_approval","tool_name":"b"})");
  EXPECT_TRUE(by.last.contains("a"));
  EXPECT_FALSE(by.last.contains("b"));
  EXPECT_TRUE(by.approval.contains("b"));
  EXPECT_EQ("a b c", allowed(by, {"a"}));
}

class RuledTurns : public test::SimServer {
 public:
  std::string ruled(const std::string& listed) {
    return "/v1/agents/" +
           create_agent(R"({"memory_blocks":[{"label":"human","value":"Ann"}],"tool_rules":[)" + listed +
                        "]}") +
           "/messages";
  }
  // "memory_insert conversation_search, choice": what the model would be offered.
  std::string offered(const std::string& path) {
    const Json request = expect(200, "POST", path + "/preview-raw-payload", say("hi"));
    std::string line;
    const Json* tools = request.find("tools");
    for (const Json& tool : tools != nullptr ? tools->items() : std::vector<Json>{}) {
      line += (line.empty() ? "" : " ") + text(*tool.find("function"), "name");
    }
    const Json* choice = request.find("tool_choice");
    return line + ", " + (choice == nullptr ? "free" : choice->dump());
  }
};

TEST_F(RuledTurns, TheModelIsOfferedWhatTheRulesLeave) {
  const std::string all = offered(ruled(""));
  EXPECT_NE(std::string::npos, all.find("conversation_search")) << all;
  EXPECT_NE(std::string::npos, all.find("memory_insert")) << all;
  const std::string first = offered(ruled(R"({"type":"run_first","tool_name":"conversation_search"})"));
  EXPECT_TRUE(first.starts_with("conversation_search, ")) << first;
  EXPECT_NE(std::string::npos, first.substr(first.find(", ")).find("conversation_search")) << first;
  const std::string two =
      R"({"type":"run_first","tool_name":"conversation_search"},{"type":"run_first","tool_name":"memory_insert"})";
  const std::string either = offered(ruled(two));
  EXPECT_NE(std::string::npos, either.find("required")) << either;
}

TEST_F(RuledTurns, AToolThatEndsTheLoopEndsTheTurn) {
  start(R"({"replies":[{"match":"tea","then":"one more word","tool_calls":
    [{"name":"memory_insert","arguments":{"label":"human","new_string":"Tea."}}]}]})");
  const Json free = expect(200, "POST", ruled(""), say("tea"));
  EXPECT_EQ("end_turn", text(*free.find("stop_reason"), "stop_reason"));
  EXPECT_NE(std::string::npos, free.dump().find("one more word"));
  const Json last =
      expect(200, "POST", ruled(R"({"type":"exit_loop","tool_name":"memory_insert"})"), say("tea"));
  EXPECT_EQ("tool_rule", text(*last.find("stop_reason"), "stop_reason"));
  EXPECT_EQ(std::string::npos, last.dump().find("one more word"));
  EXPECT_NE(std::string::npos, last.dump().find("Tea."));
}

}  // namespace
}  // namespace varve
