// Tool rules: what they let a model call next, as a table over what the turn has called already.
#include "actors/tool_rules.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace varve
