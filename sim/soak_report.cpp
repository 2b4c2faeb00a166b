#include "sim/soak_report.h"

#include <algorithm>
#include <sstream>

#include "sim/sometimes.h"

namespace varve::sim {
namespace {

std::string one_line(std::string text) {
  for (char& letter : text) {
    if (letter == '\n') letter = ' ';
  }
  return text;
}

// The counters of one prefix, with a headline.
void add_class(std::ostringstream& out, const SoakSums& sums, const std::string& prefix,
               const std::string& headline) {
  std::uint64_t kinds = 0;
  std::uint64_t sum = 0;
  std::ostringstream lines;
  for (auto one = sums.counters.lower_bound(prefix);
       one != sums.counters.end() && one->first.starts_with(prefix); ++one) {
    ++kinds;
    sum += one->second;
    lines << "  " << one->first << " " << one->second << "\n";
  }
  if (kinds > 0) out << headline << ": " << sum << " of " << kinds << " kinds\n" << lines.str();
}

std::uint64_t count_of(const SoakSums& sums, std::string_view name) {
  const auto found = sums.counters.find(name);
  return found == sums.counters.end() ? 0 : found->second;
}

}  // namespace

std::string report_of(const ScenarioResult& result, const std::string& replay) {
  std::ostringstream out;
  out << "run " << result.steps << " " << result.simulated_ms << " " << result.operations << " "
      << result.answered << "\n";
  for (const auto& [name, count] : result.counters) out << "count " << name << " " << count << "\n";
  if (!result.violations.empty()) {
    const Violation& first = result.violations.front();
    out << "fail " << first.invariant << " " << one_line(first.what) << "\n"
        << "replay " << replay << "\n";
  }
  out << "done\n";
  return out.str();
}

std::string add_report_line(std::string_view line, SoakSums& sums) {
  std::istringstream in{std::string(line)};
  std::string word;
  in >> word;
  if (word == "run") {
    std::uint64_t steps = 0;
    std::uint64_t ms = 0;
    std::uint64_t operations = 0;
    std::uint64_t answered = 0;
    in >> steps >> ms >> operations >> answered;
    ++sums.runs;
    sums.steps += steps;
    sums.simulated_ms += ms;
    sums.operations += operations;
    sums.answered += answered;
  } else if (word == "count") {
    std::string name;
    std::uint64_t count = 0;
    in >> name >> count;
    sums.counters[name] += count;
  } else if (word == "fail") {
    ++sums.failed;
    return "FAIL " + std::string(line.substr(5));
  } else if (word == "replay") {
    return "  repro: varve-sim " + std::string(line.substr(7));
  }
  return {};
}

std::string summary_of(const SoakSums& sums, std::uint64_t seconds) {
  std::ostringstream out;
  out << sums.runs << " seeds, " << sums.failed << " failed, " << sums.steps << " steps, "
      << sums.simulated_ms / 3'600'000 << " h " << sums.simulated_ms / 60'000 % 60 << " min simulated, "
      << sums.answered << " of " << sums.operations << " operations answered with success\n";
  out << seconds << " s of wall time";
  if (seconds > 0) {
    out << ": " << sums.runs / seconds << " seeds and " << sums.steps / seconds << " steps a second, "
        << sums.simulated_ms / 1000 / seconds << " simulated seconds a second";
  }
  out << "\n"
      << count_of(sums, "fault.node.crash") << " crashes, " << count_of(sums, "fault.node.pause")
      << " pauses, " << count_of(sums, "fault.node.cut_off") << " isolations, "
      << count_of(sums, "fault.node.partition") << " one-way cuts\n";
  add_class(out, sums, "fault.", "faults injected");
  add_class(out, sums, "node.", "counted by nodes");
  add_class(out, sums, "spec.", "compared with the specification");
  add_class(out, sums, "sometimes.", "situations met");
  return out.str();
}

std::string progress_of(const SoakSums& sums, std::uint64_t seconds, std::uint64_t runs_max,
                        std::uint64_t seconds_max) {
  std::ostringstream out;
  out << sums.runs;
  if (runs_max > 0) out << " of " << runs_max;
  out << " seeds, " << sums.failed << " failed";
  if (seconds == 0 || sums.runs == 0) return out.str();
  out << ", " << sums.runs / seconds << " seeds/s";
  std::uint64_t left = seconds_max > seconds ? seconds_max - seconds : 0;
  if (runs_max >= sums.runs) {
    const std::uint64_t by_seeds = (runs_max - sums.runs) * seconds / sums.runs;
    left = seconds_max > 0 ? std::min(left, by_seeds) : by_seeds;
  }
  out << ", " << left << " s left";
  return out.str();
}

std::vector<std::string> never_met(const SoakSums& sums) {
  std::vector<std::string> missing;
  for (const Sometimes& one : sometimes()) {
    if (one.seeds > sums.runs || count_of(sums, one.id) > 0) continue;
    missing.push_back(std::string(one.id) + ": " + one.why);
  }
  return missing;
}

}  // namespace varve::sim
