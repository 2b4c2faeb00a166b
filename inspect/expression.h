// Expression: the language of `replay --until` and `bisect --where`, parsed and evaluated;
// docs/expressions.md describes it for those who write it.
//
//   block("human").value contains "Anna" and not (messages.count < 3 or agent("ann").description = null)
//
// Total: what parses can be evaluated on every state. Names, types and what an operator fits are checked by
// the parser, so that a mistake is told at its character and never half way through a log. A condition holds
// if it holds for one of the rows that its selector finds. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "projections/schema.h"
#include "runtime/result.h"

namespace varve {

inline constexpr std::size_t kExpressionBytesMax = 4096;
inline constexpr std::size_t kExpressionDepthMax = 32;       // Of parentheses and nots.
inline constexpr std::size_t kExpressionConditionsMax = 64;  // Each may read rows.

// Which rows a condition is about: those that are there at the moment in question.
struct Selector {
  View view = View::agents;
  bool context = false;            // Of the messages only those in an agent's context window.
  std::optional<std::string> key;  // Those with this id, or this name (name_column).
};
// What `NAME("key")` looks at besides the id: a block's label, an agent's or a tool's name, a message's role.
std::size_t name_column(View view);

enum class EventField : std::uint8_t {
  type,
  stream,
  partition,
  offset,
  sequence,
  time,
  command,
  request,
  node,
  epoch,
  verdict,
  run,
  data,
};

// A row at the moment in question.
struct RowNow {
  const Row& row;
  bool open = true;  // Of a message: in the context window.
};

// What an expression can ask: the state at a moment, and the event at which a replay stands.
class Facts {
 public:
  Facts() = default;
  Facts(const Facts&) = delete;
  Facts& operator=(const Facts&) = delete;
  virtual ~Facts() = default;

  virtual Result<std::int64_t> count(const Selector& selector) = 0;
  // Whether `fits` says yes to one of the rows; the others need not be looked at.
  virtual Result<bool> any(const Selector& selector, const std::function<bool(const RowNow&)>& fits) = 0;
  // Null if the event has no such field.
  virtual Value event(EventField field) = 0;
};

enum class Comparison : std::uint8_t { equal, unequal, less, at_most, more, at_least, contains };

// One node of the tree.
struct ExpressionNode {
  enum class Kind : std::uint8_t { all, any, none, exists, count, column, event };
  static constexpr std::size_t kInContext = 1000;  // Stands for a column that messages have not.

  Kind kind = Kind::all;
  std::vector<ExpressionNode> parts;  // Of all, any, none.
  Selector selector;
  std::size_t column = 0;
  EventField field = EventField::type;
  Comparison comparison = Comparison::equal;
  Value value;
};

class Expression {
 public:
  // `about_event`: whether there is an event to ask about.
  enum class Asks : bool { states_only, states_and_event };
  // Errc::invalid_argument; the message is what was expected, the text, and a caret under the character:
  //
  //   expected a value after 'contains'
  //     block("human").value contains
  //                                  ^
  static Result<Expression> parse(std::string_view text, Asks asks);

  // An Error only if `facts` gives one.
  Result<bool> holds(Facts& facts) const { return holds(root_, facts); }
  const std::string& text() const { return text_; }

 private:
  Expression(std::string text, ExpressionNode root) : text_(std::move(text)), root_(std::move(root)) {}
  static Result<bool> holds(const ExpressionNode& node, Facts& facts);

  std::string text_;
  ExpressionNode root_;
};

// Whether `seen` compares with `wanted` like that. Null is unequal to everything but null, and neither less
// nor more; `contains` folds case in ASCII, as the searches of the API do.
bool compares(const Value& seen, Comparison comparison, const Value& wanted);

}  // namespace varve
