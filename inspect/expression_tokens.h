// The words of an expression, and what its parser says when one does not fit. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/result.h"

namespace varve {

struct ExpressionToken {
  enum class Kind : std::uint8_t { word, text, number, symbol, end };
  Kind kind = Kind::end;
  std::size_t at = 0;  // Its first byte.
  std::string text;    // A word, a symbol, or what a text says.
  std::int64_t number = 0;
};

// "'and'", "the text \"Anna\"", "the end"
std::string describe(const ExpressionToken& token);

// The message of an error at a byte of an expression: what, then the expression with a caret below it.
Error expression_error(std::string_view expression, std::size_t at, const std::string& what);

// Ends with a token of Kind::end. Errc::invalid_argument as expression_error() says.
Result<std::vector<ExpressionToken>> expression_tokens(std::string_view expression);

}  // namespace varve
