// SoakReport: what many runs have come to: how much was simulated, which faults were injected, which
// situations were met. A worker tells of a run in lines, the soak adds them up.
//
// Pure: text in, text out.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "sim/scenario.h"

namespace varve::sim {

struct SoakSums {
  std::uint64_t runs = 0;
  std::uint64_t failed = 0;
  std::uint64_t died = 0;  // Workers.
  std::uint64_t steps = 0;
  std::uint64_t simulated_ms = 0;
  std::uint64_t operations = 0;
  std::uint64_t answered = 0;
  std::map<std::string, std::uint64_t, std::less<>> counters;
};

// Of one run, in lines; the last is "done". `replay`: the command line that makes it again.
std::string report_of(const ScenarioResult& result, const std::string& replay);

// Adds a line of a report. What it returns is for people: of a failure, else empty.
std::string add_report_line(std::string_view line, SoakSums& sums);

// "20000 seeds .." and so on, with every counter by class.
std::string summary_of(const SoakSums& sums, std::uint64_t seconds);

// "1234 of 20000 seeds, 0 failed, 96 seeds/s, 195 s left". `runs_max` and `seconds_max`: where it ends; 0 =
// it does not end there.
std::string progress_of(const SoakSums& sums, std::uint64_t seconds, std::uint64_t runs_max,
                        std::uint64_t seconds_max);

// Situations (sim/sometimes.h) that so many runs must have met and have not, with why they matter.
std::vector<std::string> never_met(const SoakSums& sums);

}  // namespace varve::sim
