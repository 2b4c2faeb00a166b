#include "inspect/expression_tokens.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "runtime/utf8.h"

namespace varve {
namespace {

using Kind = ExpressionToken::Kind;

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
// Of the bytes of a character all but the first.
bool continues_character(char c) {
  return (static_cast<unsigned char>(c) & 0xc0U) == 0x80U;
}

class Tokenizer {
 public:
  explicit Tokenizer(std::string_view text) : text_(text) {}

  Result<std::vector<ExpressionToken>> all() {
    for (;;) {
      while (at_ < text_.size() && is_space(text_[at_])) ++at_;
      ExpressionToken token;
      token.at = at_;
      if (at_ < text_.size()) {
        if (Status read = next(token); !read) return read.error();
      }
      tokens_.push_back(std::move(token));
      if (tokens_.back().kind == Kind::end) return std::move(tokens_);
    }
  }

 private:
  Error error(std::size_t at, const std::string& what) const { return expression_error(text_, at, what); }

  Status next(ExpressionToken& token) {
    const char first = text_[at_];
    if (is_letter(first)) {
      while (at_ < text_.size() && (is_letter(text_[at_]) || is_digit(text_[at_]))) ++at_;
      token.kind = Kind::word;
      token.text = text_.substr(token.at, at_ - token.at);
      return ok();
    }
    if (first == '"' || first == '\'') return quoted(token);
    const bool negative = first == '-' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1]);
    if (is_digit(first) || negative) return number(token);
    return symbol(token);
  }

  Status quoted(ExpressionToken& token) {
    const char quote = text_[at_++];
    token.kind = Kind::text;
    while (at_ < text_.size() && text_[at_] != quote) {
      char c = text_[at_++];
      if (c == '\\') {
        if (at_ >= text_.size()) break;
        c = text_[at_++];
        if (c == 'n') {
          c = '\n';
        } else if (c != '\\' && c != '"' && c != '\'') {
          return error(at_ - 2, R"(a text knows \n, \\, \" and \', and no other \)");
        }
      }
      token.text.push_back(c);
    }
    if (at_ >= text_.size()) return error(token.at, "this text has no end: a second quote is missing");
    ++at_;
    return ok();
  }

  Status number(ExpressionToken& token) {
    const char* const begin = text_.data() + at_;
    const char* const end = text_.data() + text_.size();
    const auto [behind, failure] = std::from_chars(begin, end, token.number);
    if (failure != std::errc{}) return error(token.at, "this number has more than 64 bits");
    at_ += static_cast<std::size_t>(behind - begin);
    if (at_ < text_.size() && (is_letter(text_[at_]) || text_[at_] == '.')) {
      return error(at_, "numbers are whole; anything else is a text in quotes");
    }
    token.kind = Kind::number;
    token.text = text_.substr(token.at, at_ - token.at);
    return ok();
  }

  Status symbol(ExpressionToken& token) {
    constexpr std::array<std::string_view, 9> kSymbols{"!=", "<=", ">=", "=", "<", ">", "(", ")", "."};
    const std::string_view rest = text_.substr(at_);
    const auto found = std::find_if(kSymbols.begin(), kSymbols.end(),
                                    [&](std::string_view symbol) { return rest.starts_with(symbol); });
    if (found == kSymbols.end()) {
      return error(at_,
                   "nothing begins with this character; texts are in quotes, comparisons are = != < <= "
                   "> >= contains");
    }
    if (*found == "=" && rest.starts_with("==")) return error(at_, "equality is written with one =");
    token.kind = Kind::symbol;
    token.text = *found;
    at_ += found->size();
    return ok();
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<ExpressionToken> tokens_;
};

}  // namespace

std::string describe(const ExpressionToken& token) {
  if (token.kind == Kind::end) return "the end";
  if (token.kind == Kind::text) return "a text";
  return "'" + token.text + "'";
}

Error expression_error(std::string_view expression, std::size_t at, const std::string& what) {
  std::string line;
  std::size_t column = 0;
  for (std::size_t i = 0; i < expression.size(); ++i) {
    const char c = expression[i];
    line.push_back(is_space(c) ? ' ' : c);  // A caret needs one line.
    if (i < at && !continues_character(c)) ++column;
  }
  return Error{Errc::invalid_argument,
               what + "\n  " + mend_text(line) + "\n  " + std::string(column, ' ') + "^"};
}

Result<std::vector<ExpressionToken>> expression_tokens(std::string_view expression) {
  return Tokenizer{expression}.all();
}

}  // namespace varve
