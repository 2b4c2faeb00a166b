// The parser of expressions: a recursive descent of bounded depth, which knows the views' columns and their
// types.
//
//   expression = conjunction { "or" conjunction }
//   conjunction = factor { "and" factor }
//   factor = "not" factor | "(" expression ")" | condition
//   condition = rows "exists" | rows "." "count" comparison number | rows "." column comparison value
//             | "event" "." field comparison value
//   rows = name [ "(" text ")" ]
#include "inspect/expression.h"

#include <algorithm>
#include <array>

#include "inspect/columns.h"
#include "inspect/expression_tokens.h"
#include "runtime/time.h"

namespace varve {
namespace {

using Token = ExpressionToken;
using Node = ExpressionNode;

using Type = Meaning;

struct RowsName {
  std::string_view one;
  std::string_view many;
  View view;
  bool context = false;
};
constexpr std::array<RowsName, 11> kRowsNames{{
    {"agent", "agents", View::agents},
    {"block", "blocks", View::blocks},
    {"message", "messages", View::messages},
    {"context", "context", View::messages, true},
    {"run", "runs", View::runs},
    {"step", "steps", View::steps},
    {"tool", "tools", View::tools},
    {"tag", "tags", View::tags},
    {"attachment", "attachments", View::attachments},
    {"activity", "activity", View::agent_activity},
    {"owner", "owners", View::shard_owners},
}};

struct EventName {
  std::string_view name;
  EventField field;
  Type type;
};
constexpr std::array<EventName, 13> kEventNames{{
    {"type", EventField::type, Type::text},
    {"stream", EventField::stream, Type::text},
    {"partition", EventField::partition, Type::integer},
    {"offset", EventField::offset, Type::integer},
    {"sequence", EventField::sequence, Type::integer},
    {"time", EventField::time, Type::time},
    {"command", EventField::command, Type::text},
    {"request", EventField::request, Type::text},
    {"node", EventField::node, Type::text},
    {"epoch", EventField::epoch, Type::integer},
    {"verdict", EventField::verdict, Type::text},
    {"run", EventField::run, Type::text},
    {"data", EventField::data, Type::text},
}};

struct ComparisonName {
  std::string_view name;
  Comparison comparison;
};
constexpr std::array<ComparisonName, 7> kComparisons{{
    {"=", Comparison::equal},
    {"!=", Comparison::unequal},
    {"<", Comparison::less},
    {"<=", Comparison::at_most},
    {">", Comparison::more},
    {">=", Comparison::at_least},
    {"contains", Comparison::contains},
}};

std::string name_of(Comparison comparison) {
  for (const ComparisonName& one : kComparisons) {
    if (one.comparison == comparison) return std::string(one.name);
  }
  return "?";
}

// Columns of the view by name, for a message to whoever mistyped one.
std::string columns_of(View view) {
  std::string all = view == View::messages ? "count, in_context" : "count";
  for (const Column& column : schema_of(view).columns) all.append(", ").append(column.name);
  return all;
}

std::string rows_names() {
  std::string all = "event";
  for (const RowsName& name : kRowsNames) all.append(", ").append(name.one);
  return all;
}

// What is compared: its type, and whether it may be null.
struct Operand {
  std::string name;
  Type type = Type::text;
  bool nullable = false;
};

class Parser {
 public:
  Parser(std::string_view text, std::vector<Token> tokens, Expression::Asks asks)
      : text_(text), tokens_(std::move(tokens)), asks_(asks) {}

  Result<Node> whole() {
    auto root = expression(0);
    if (root && now().kind != Token::Kind::end) {
      return fault(now(), "expected 'and', 'or' or the end, found " + describe(now()));
    }
    return root;
  }

 private:
  const Token& now() const { return tokens_[at_]; }
  Token take() {
    Token token = tokens_[at_];
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool is_word(std::string_view word) const { return now().kind == Token::Kind::word && now().text == word; }
  bool is_symbol(std::string_view symbol) const {
    return now().kind == Token::Kind::symbol && now().text == symbol;
  }
  Error fault(const Token& token, const std::string& what) const {
    return expression_error(text_, token.at, what);
  }

  // What stands between `word`s.
  using Part = Result<Node> (Parser::*)(std::size_t depth);
  Result<Node> list(std::string_view word, Node::Kind kind, Part part, std::size_t depth) {
    auto first = (this->*part)(depth);
    if (!first || !is_word(word)) return first;
    Node node;
    node.kind = kind;
    node.parts.push_back(std::move(*first));
    while (is_word(word)) {
      take();
      auto next = (this->*part)(depth);
      if (!next) return next;
      node.parts.push_back(std::move(*next));
    }
    return node;
  }
  Result<Node> expression(std::size_t depth) {
    return list("or", Node::Kind::any, &Parser::conjunction, depth);
  }
  Result<Node> conjunction(std::size_t depth) { return list("and", Node::Kind::all, &Parser::factor, depth); }

  Result<Node> factor(std::size_t depth) {
    if (depth >= kExpressionDepthMax) {
      return fault(now(),
                   "an expression is nested " + std::to_string(kExpressionDepthMax) + " levels deep at most");
    }
    if (is_word("not")) {
      take();
      auto inner = factor(depth + 1);
      if (!inner) return inner;
      Node node;
      node.kind = Node::Kind::none;
      node.parts.push_back(std::move(*inner));
      return node;
    }
    if (!is_symbol("(")) return condition();
    const Token open = take();
    auto inner = expression(depth + 1);
    if (!inner) return inner;
    if (is_symbol(")")) {
      take();
      return inner;
    }
    if (now().kind == Token::Kind::end) return fault(open, "this parenthesis is never closed");
    return fault(now(), "expected 'and', 'or' or ')', found " + describe(now()));
  }

  Result<Node> condition() {
    if (++conditions_ > kExpressionConditionsMax) {
      return fault(now(),
                   "an expression has " + std::to_string(kExpressionConditionsMax) + " conditions at most");
    }
    if (now().kind != Token::Kind::word) {
      return fault(now(), "expected a condition, as in block(\"human\").value contains \"Anna\", found " +
                              describe(now()));
    }
    if (is_word("event")) return event_condition();
    const auto found = std::find_if(kRowsNames.begin(), kRowsNames.end(), [this](const RowsName& name) {
      return is_word(name.one) || is_word(name.many);
    });
    if (found == kRowsNames.end()) return fault(now(), "expected one of " + rows_names());
    Node node;
    node.selector.view = found->view;
    node.selector.context = found->context;
    const Token name = take();
    if (is_symbol("(")) {
      if (Status read = key(node.selector); !read) return read.error();
    }
    if (is_word("exists")) {
      take();
      node.kind = Node::Kind::exists;
      return node;
    }
    if (!is_symbol(".")) {
      return fault(now(), "expected '.' and a column, 'exists' or a name in parentheses after '" + name.text +
                              "', found " + describe(now()));
    }
    take();
    return column_condition(std::move(node));
  }

  Status key(Selector& selector) {
    take();
    if (now().kind != Token::Kind::text) {
      const std::string_view name = schema_of(selector.view).columns[name_column(selector.view)].name;
      return fault(now(),
                   "expected an id or a " + std::string(name) + " in quotes, found " + describe(now()));
    }
    selector.key = take().text;
    if (!is_symbol(")")) return fault(now(), "expected ')', found " + describe(now()));
    take();
    return ok();
  }

  Result<Node> column_condition(Node node) {
    const View view = node.selector.view;
    const Token name = take();
    if (name.kind == Token::Kind::word && name.text == "count") {
      node.kind = Node::Kind::count;
      return comparison(std::move(node), {"a count", Type::integer, false});
    }
    node.kind = Node::Kind::column;
    if (name.kind == Token::Kind::word && name.text == "in_context" && view == View::messages) {
      node.column = Node::kInContext;
      return comparison(std::move(node), {name.text, Type::boolean, false});
    }
    const auto columns = schema_of(view).columns;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (name.kind != Token::Kind::word || columns[i].name != name.text) continue;
      node.column = i;
      return comparison(std::move(node), {name.text, meaning_of(view, i), columns[i].nullable});
    }
    return fault(name, "expected a column: " + columns_of(view));
  }

  Result<Node> event_condition() {
    const Token event = take();
    if (asks_ == Expression::Asks::states_only) {
      return fault(event, "'event' is what a replay stands at; here a state is asked, so name rows");
    }
    if (!is_symbol(".")) return fault(now(), "expected '.' after 'event', found " + describe(now()));
    take();
    const Token name = take();
    const auto found = std::find_if(kEventNames.begin(), kEventNames.end(), [&name](const EventName& one) {
      return name.kind == Token::Kind::word && one.name == name.text;
    });
    if (found == kEventNames.end()) {
      std::string all;
      for (const EventName& one : kEventNames) all.append(all.empty() ? "" : ", ").append(one.name);
      return fault(name, "expected a field of the event: " + all);
    }
    Node node;
    node.kind = Node::Kind::event;
    node.field = found->field;
    return comparison(std::move(node), {name.text, found->type, true});
  }

  Result<Node> comparison(Node node, const Operand& left) {
    const Token sign = take();
    const auto found = std::find_if(kComparisons.begin(), kComparisons.end(), [&](const ComparisonName& one) {
      return sign.kind != Token::Kind::text && one.name == sign.text;
    });
    if (found == kComparisons.end()) {
      return fault(sign,
                   "expected = != < <= > >= or contains after '" + left.name + "', found " + describe(sign));
    }
    node.comparison = found->comparison;
    const bool equality = node.comparison == Comparison::equal || node.comparison == Comparison::unequal;
    const bool contains = node.comparison == Comparison::contains;
    if (left.type == Type::text && !equality && !contains) {
      return fault(sign, "'" + left.name + "' is a text: compare it with =, != or contains");
    }
    if (left.type == Type::boolean && !equality) {
      return fault(sign, "'" + left.name + "' is true or false: compare it with = or !=");
    }
    if (left.type != Type::text && contains) {
      return fault(sign, "'" + left.name + "' is no text: compare it with = != < <= > >=");
    }
    auto wanted = value(left, node.comparison);
    if (!wanted) return wanted.error();
    node.value = std::move(*wanted);
    return node;
  }

  Result<Value> value(const Operand& left, Comparison comparison) {
    const Token token = take();
    const bool equality = comparison == Comparison::equal || comparison == Comparison::unequal;
    if (token.kind == Token::Kind::word && token.text == "null") {
      if (!left.nullable) return fault(token, "'" + left.name + "' is never null");
      if (!equality) return fault(token, "null is compared with = or !=");
      return Value{};
    }
    const bool text = token.kind == Token::Kind::text;
    const bool number = token.kind == Token::Kind::number;
    const auto wanted = [&](const std::string& what) {
      return fault(token,
                   "expected " + what + " after '" + name_of(comparison) + "', found " + describe(token));
    };
    switch (left.type) {
      case Type::text:
        return text ? Result<Value>{Value{token.text}} : wanted("a text in quotes");
      case Type::integer:
        return number ? Result<Value>{Value{token.number}} : wanted("a number");
      case Type::boolean: {
        const bool yes = token.kind == Token::Kind::word && token.text == "true";
        const bool no = token.kind == Token::Kind::word && token.text == "false";
        return yes || no ? Result<Value>{Value{std::int64_t{yes ? 1 : 0}}} : wanted("true or false");
      }
      case Type::time: {
        if (number) return Value{token.number};
        const auto time = text ? parse_rfc3339(token.text) : std::nullopt;
        return time ? Result<Value>{Value{time->value()}}
                    : wanted("a time, as \"2026-11-25T22:10\" or in microseconds,");
      }
    }
    return wanted("a value");
  }

  std::string_view text_;
  std::vector<Token> tokens_;
  Expression::Asks asks_;
  std::size_t at_ = 0;
  std::size_t conditions_ = 0;
};

}  // namespace

Result<Expression> Expression::parse(std::string_view text, Asks asks) {
  if (text.size() > kExpressionBytesMax) {
    return Error{Errc::invalid_argument,
                 "an expression has " + std::to_string(kExpressionBytesMax) + " bytes at most"};
  }
  auto tokens = expression_tokens(text);
  if (!tokens) return tokens.error();
  auto root = Parser{text, std::move(*tokens), asks}.whole();
  if (!root) return root.error();
  return Expression{std::string(text), std::move(*root)};
}

}  // namespace varve
