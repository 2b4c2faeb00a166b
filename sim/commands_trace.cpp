// The command that draws a run as a page.
// lint: allow(files) Of the command line, outside of every run.
#include <fstream>
#include <iostream>

#include "sim/commands.h"
#include "sim/trace_html.h"

namespace varve::sim {

int trace_command(const std::string& target, const std::string& html, SelfTest trip) {
  auto one = read_target(target);
  if (!one) return refuse(one.error().message);
  TracePage page;
  if (trip == SelfTest::none) {
    one->run.on_line = [&page](MonoTime at, std::uint64_t step, std::string_view line) {
      page.lines.push_back({at, step, std::string(line)});
    };
  }
  const ScenarioResult result = armed_run(one->run, trip);
  page.title = target;
  page.config = result.config + ", " + std::to_string(result.steps) + " steps";
  page.violations = result.violations;
  // lint: allow(files) The command line writes what it was asked for, after the run.
  std::ofstream file(html, std::ios::trunc);
  file << html_of(page);
  file.close();
  if (!file) return refuse("cannot write '" + html + "'");
  print_result(one->run, result);
  std::cout << page.lines.size() << " lines, drawn in " << html;
  if (page.lines.size() > kTraceLinesMax) std::cout << ", which holds the last " << kTraceLinesMax;
  std::cout << "\n";
  return result.violations.empty() ? 0 : 1;
}

}  // namespace varve::sim
