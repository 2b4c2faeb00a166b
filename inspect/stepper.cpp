#include "inspect/stepper.h"

#include <charconv>
#include <vector>

namespace varve {
namespace {

std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : line) {
    if (c != ' ' && c != '\t' && c != '\r') {
      word.push_back(c);
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

bool names(const std::string& word, std::string_view command) {
  return !word.empty() && command.starts_with(word);
}

Error unknown(const std::string& what) {
  return Error{Errc::invalid_argument, what + "; there is\n" + kStepHelp};
}

Result<StepCommand> go_to(const std::vector<std::string>& words) {
  if (words.size() != 2) return unknown("'to' wants an offset or the type of an event");
  const std::string& where = words[1];
  StepCommand command;
  if (where.front() < '0' || where.front() > '9') {
    command.kind = StepCommand::Kind::to_type;
    command.text = where;
    return command;
  }
  std::uint64_t offset = 0;
  const char* const end = where.data() + where.size();
  const auto [behind, failure] = std::from_chars(where.data(), end, offset);
  if (failure != std::errc{} || behind != end) return unknown("'" + where + "' is no offset");
  command.kind = StepCommand::Kind::to_offset;
  command.offset = Offset{offset};
  return command;
}

}  // namespace

Result<StepCommand> parse_step_command(std::string_view line) {
  const std::vector<std::string> words = words_of(line);
  StepCommand command;
  if (words.empty()) return command;
  const std::string& first = words.front();
  if (names(first, "to")) return go_to(words);
  if (names(first, "print") && words.size() <= 2) {
    command.kind = StepCommand::Kind::print;
    if (words.size() == 2) command.text = words[1];
    return command;
  }
  if (words.size() == 1) {
    if (names(first, "next")) return command;
    command.kind = StepCommand::Kind::back;
    if (names(first, "back")) return command;
    command.kind = StepCommand::Kind::help;
    if (names(first, "help") || first == "?") return command;
    command.kind = StepCommand::Kind::quit;
    if (names(first, "quit")) return command;
  }
  return unknown("'" + std::string(line) + "' is no command");
}

}  // namespace varve
