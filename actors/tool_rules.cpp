#include "actors/tool_rules.h"

#include <algorithm>

namespace varve {
namespace {

std::string text_of(const Json& rule, std::string_view key) {
  const Json* found = rule.find(key);
  return found != nullptr && found->is_string() ? found->as_string() : "";
}

std::set<std::string> texts_of(const Json& rule, std::string_view key) {
  std::set<std::string> texts;
  if (const Json* found = rule.find(key); found != nullptr && found->is_array()) {
    for (const Json& item : found->items()) {
      if (item.is_string()) texts.insert(item.as_string());
    }
  }
  return texts;
}

void read_rule(const Json& rule, ToolRules& rules) {
  const std::string name = text_of(rule, "tool_name");
  const std::string type = text_of(rule, "type");
  if (name.empty()) return;
  if (type == "run_first") rules.first.insert(name);
  if (type == "exit_loop") rules.last.insert(name);
  if (type == "requires_approval") rules.approval.insert(name);
  if (type == "constrain_child_tools") rules.children[name] = texts_of(rule, "children");
  if (type == "max_count_per_step") {
    const Json* limit = rule.find("max_count_limit");
    if (limit != nullptr && limit->is_number()) rules.count_max[name] = limit->as_integer().value_or(1);
  }
}

}  // namespace

ToolRules tool_rules_of(const AgentSettings& settings) {
  ToolRules rules;
  const auto extra = Json::parse(settings.extra);
  const Json* listed = extra ? extra->find("tool_rules") : nullptr;
  if (listed == nullptr || !listed->is_array()) return rules;
  for (const Json& rule : listed->items()) read_rule(rule, rules);
  return rules;
}

std::vector<std::string> tools_called(const AgentState& agent) {
  std::vector<std::string> called;
  if (!agent.turn) return called;
  // From the newest on: no other run's messages come behind the open turn's, and before them may be any
  // number.
  for (auto entry = agent.context.rbegin(); entry != agent.context.rend(); ++entry) {
    if (entry->run_id.empty()) continue;
    if (entry->run_id != agent.turn->run_id) break;
    const auto& calls = entry->message->tool_calls;
    for (auto call = calls.rbegin(); call != calls.rend(); ++call) called.push_back(call->name);
  }
  std::reverse(called.begin(), called.end());
  return called;
}

AllowedTools allowed_tools(const ToolRules& rules, const std::vector<std::string>& called,
                           const std::vector<std::string>& names) {
  AllowedTools allowed;
  const auto limit_to = [&](const std::set<std::string>& wanted) {
    for (const std::string& name : names) {
      if (wanted.contains(name)) allowed.names.push_back(name);
    }
    allowed.forced = !allowed.names.empty();
  };
  if (called.empty() && !rules.first.empty()) limit_to(rules.first);
  if (!called.empty()) {
    const auto children = rules.children.find(called.back());
    if (children != rules.children.end()) limit_to(children->second);
  }
  if (!allowed.forced) allowed.names = names;
  std::erase_if(allowed.names, [&](const std::string& name) {
    const auto limit = rules.count_max.find(name);
    return limit != rules.count_max.end() && std::count(called.begin(), called.end(), name) >= limit->second;
  });
  if (allowed.names.empty()) allowed.forced = false;
  return allowed;
}

}  // namespace varve
