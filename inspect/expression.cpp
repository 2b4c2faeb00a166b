#include "inspect/expression.h"

#include <algorithm>

namespace varve {
namespace {

using Node = ExpressionNode;

char folded(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool contains_folded(const std::string& text, const std::string& part) {
  const auto same = [](char left, char right) { return folded(left) == folded(right); };
  return std::search(text.begin(), text.end(), part.begin(), part.end(), same) != text.end() || part.empty();
}

bool fits(const ExpressionNode& node, const RowNow& now) {
  if (node.column == Node::kInContext) {
    return compares(Value{std::int64_t{now.open ? 1 : 0}}, node.comparison, node.value);
  }
  return compares(now.row.values[node.column], node.comparison, node.value);
}

}  // namespace

std::size_t name_column(View view) {
  switch (view) {
    case View::messages:
      return messages::role;
    case View::blocks:
      return blocks::label;
    case View::agents:
      return agents::name;
    case View::agent_activity:
      return agent_activity::agent_id;
    case View::runs:
      return runs::status;
    case View::attachments:
      return attachments::label;
    case View::tags:
      return tags::tag;
    case View::shard_owners:
      return shard_owners::node;
    case View::tools:
      return tools::name;
    case View::steps:
      return steps::run_id;
  }
  return 0;
}

bool compares(const Value& seen, Comparison comparison, const Value& wanted) {
  if (comparison == Comparison::equal) return seen == wanted;
  if (comparison == Comparison::unequal) return seen != wanted;
  if (comparison == Comparison::contains) {
    const auto* text = std::get_if<std::string>(&seen);
    const auto* part = std::get_if<std::string>(&wanted);
    return text != nullptr && part != nullptr && contains_folded(*text, *part);
  }
  const auto* left = std::get_if<std::int64_t>(&seen);
  const auto* right = std::get_if<std::int64_t>(&wanted);
  if (left == nullptr || right == nullptr) return false;
  if (comparison == Comparison::less) return *left < *right;
  if (comparison == Comparison::at_most) return *left <= *right;
  if (comparison == Comparison::more) return *left > *right;
  return *left >= *right;
}

// As deep as the expression is nested: kExpressionDepthMax bounds it.
Result<bool> Expression::holds(const ExpressionNode& node, Facts& facts) {
  switch (node.kind) {
    case Node::Kind::all:
    case Node::Kind::any: {
      const bool decides = node.kind == Node::Kind::any;
      for (const ExpressionNode& part : node.parts) {
        const auto held = holds(part, facts);
        if (!held || *held == decides) return held;
      }
      return !decides;
    }
    case Node::Kind::none: {
      const auto held = holds(node.parts.front(), facts);
      if (!held) return held;
      return !*held;
    }
    case Node::Kind::exists:
      return facts.any(node.selector, [](const RowNow& /*now*/) { return true; });
    case Node::Kind::count: {
      const auto count = facts.count(node.selector);
      if (!count) return count.error();
      return compares(Value{*count}, node.comparison, node.value);
    }
    case Node::Kind::column:
      return facts.any(node.selector, [&node](const RowNow& now) { return fits(node, now); });
    case Node::Kind::event:
      return compares(facts.event(node.field), node.comparison, node.value);
  }
  return false;
}

}  // namespace varve
