#include "sim/failure_case.h"

#include <charconv>

#include "sim/mutants.h"

namespace varve::sim {
namespace {

constexpr std::string_view kFirstLine = "varve-sim case 2";

std::string one_line(std::string text) {
  for (char& letter : text) {
    if (letter == '\n' || letter == '\r') letter = ' ';
  }
  return text;
}

std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(text.size(), end + 1));
  return line;
}

bool read_number(std::string_view text, std::uint64_t& number) {
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  return read.ec == std::errc{} && read.ptr == text.data() + text.size();
}

// One line of the header. False: it is none.
bool take_field(std::string_view name, std::string_view value, FailureCase& one) {
  if (name == "scenario") {
    one.run.scenario = std::string(value);
    return is_scenario(value);
  }
  if (name == "seed") return read_number(value, one.run.seed);
  if (name == "crash-at") return read_number(value, one.run.crash_at);
  if (name == "node") {
    const bool read = read_number(value, one.run.node) && one.run.node > 0;
    --one.run.node;
    return read && one.run.node < nodes_of(one.run.scenario);
  }
  if (name == "mutant") {
    one.mutant = std::string(value);
    return find_mutant(value) != nullptr;
  }
  if (name == "sparse") {
    one.run.sparse_log = true;
    return value.empty();
  }
  if (name == "death") {
    one.run.process_dies = value == "process";
    return value == "process" || value == "power";
  }
  if (name == "faults") {
    one.run.faults = std::string(value);
    return value == "none" || value == "syncs" || value == "all";
  }
  if (name == "invariant") one.invariant = std::string(value);
  if (name == "what") one.what = std::string(value);
  if (name == "config") one.config = std::string(value);
  return name == "invariant" || name == "what" || name == "config";
}

}  // namespace

std::string FailureCase::encode() const {
  std::string text{kFirstLine};
  text += "\n";
  std::string_view rest = notes;
  while (!rest.empty()) text += "# " + std::string(take_line(rest)) + "\n";
  text += "scenario " + run.scenario + "\nseed " + std::to_string(run.seed) + "\n";
  if (run.crash_at > 0) text += "crash-at " + std::to_string(run.crash_at) + "\n";
  if (run.node > 0) text += "node " + std::to_string(run.node + 1) + "\n";
  if (run.sparse_log) text += "sparse\n";
  if (run.process_dies) text += "death process\n";
  if (run.faults != "none") text += "faults " + run.faults + "\n";
  if (!mutant.empty()) text += "mutant " + mutant + "\n";
  text += "invariant " + invariant + "\nwhat " + one_line(what) + "\n";
  if (!config.empty()) text += "config " + one_line(config) + "\n";
  if (run.tape) text += "tape\n" + run.tape->encode();
  return text;
}

Result<FailureCase> FailureCase::decode(std::string_view text) {
  FailureCase one;
  if (take_line(text) != kFirstLine) {
    return Error{Errc::invalid_argument, "a case begins with '" + std::string(kFirstLine) + "'"};
  }
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    if (line.empty()) continue;
    if (line.starts_with('#')) {
      one.notes += std::string(line.substr(line.starts_with("# ") ? 2 : 1)) + "\n";
      continue;
    }
    if (line == "tape") {
      auto tape = Tape::decode(text);
      if (!tape) return tape.error();
      one.run.tape = std::move(*tape);
      break;
    }
    const std::size_t space = std::min(line.find(' '), line.size());
    const std::string_view value = space < line.size() ? line.substr(space + 1) : std::string_view{};
    if (!take_field(line.substr(0, space), value, one)) {
      return Error{Errc::invalid_argument, "a case has no line '" + std::string(line) + "'"};
    }
  }
  if (one.invariant.empty()) return Error{Errc::invalid_argument, "the case names no invariant"};
  return one;
}

}  // namespace varve::sim
