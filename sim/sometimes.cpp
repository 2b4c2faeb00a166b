#include "sim/sometimes.h"

namespace varve::sim {
namespace {

std::string_view take_word(std::string_view& text) {
  const std::size_t end = std::min(text.find(' '), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(std::min(text.size(), end + 1));
  return word;
}

// "e=7" -> 7, with `name` "e"; 0 if there is none.
std::uint64_t number_of(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    const std::string_view word = take_word(text);
    if (word.size() <= name.size() + 1 || !word.starts_with(name) || word[name.size()] != '=') continue;
    std::uint64_t number = 0;
    for (const char digit : word.substr(name.size() + 1)) {
      if (digit < '0' || digit > '9') break;
      number = number * 10 + static_cast<std::uint64_t>(digit - '0');
    }
    return number;
  }
  return 0;
}

}  // namespace

void SometimesWatch::on_line(std::string_view line) {
  if (line.starts_with("crash ")) return crashed(Node(line.substr(6)));
  if (line.starts_with("pause ")) return paused(Node(line.substr(6)));
  if (line.starts_with("resume ")) return resumed(Node(line.substr(7)));
  const std::size_t colon = line.find(": owner ");
  if (colon == std::string_view::npos) return;
  of_owner(Node(line.substr(0, colon)), line.substr(colon + 8));
}

void SometimesWatch::of_owner(const Node& node, std::string_view rest) {
  const std::string partition(take_word(rest));
  const std::string_view verb = take_word(rest);
  Belief& belief = partitions_[partition][node];
  const std::uint64_t index = number_of(rest, "n");
  if (verb == "claim-sent") {
    for (const auto& [other, its] : partitions_[partition]) {
      if (other != node && its.claiming) counters_.add("sometimes.owner.two_claims_at_once");
    }
    belief.claiming = true;
  } else if (verb == "read") {
    of_read(rest);
  } else if (verb == "serve") {
    serves(node, partition, number_of(rest, "e"));
  } else if (verb == "stop" || verb == "end") {
    belief = {};
  } else if (verb == "commit-sent") {
    if (overtaken(node, partition, belief)) counters_.add("sometimes.owner.zombie_sent");
    belief.under_way.insert(index);
  } else if (verb == "done" || verb == "never") {
    belief.under_way.erase(index);
  } else if (verb == "unknown") {
    counters_.add("sometimes.owner.unknown_outcome");
  } else if (verb == "not-written") {
    counters_.add("sometimes.owner.not_written");
  }
}

void SometimesWatch::of_read(std::string_view rest) {
  const bool claim = rest.find("kind=claim") != std::string_view::npos;
  const bool admitted = rest.ends_with("v=admitted");
  if (claim && rest.ends_with("v=foreign")) {
    counters_.add("sometimes.owner.foreign_claim");
  } else if (claim && !admitted) {
    counters_.add("sometimes.owner.claim_came_too_late");
  }
  if (claim || admitted) return;
  if (rest.ends_with("v=fenced")) counters_.add("sometimes.owner.read_fenced");
  if (rest.ends_with("v=duplicate")) counters_.add("sometimes.owner.read_duplicate");
  if (rest.ends_with("v=gap")) counters_.add("sometimes.owner.read_gap");
}

void SometimesWatch::serves(const Node& node, const std::string& partition, std::uint64_t epoch) {
  for (const auto& [other, its] : partitions_[partition]) {
    if (other == node || !its.serving || its.epoch >= epoch) continue;
    counters_.add("sometimes.owner.two_believe_they_serve");
    if (!its.under_way.empty()) counters_.add("sometimes.owner.takeover_during_append");
  }
  Belief& belief = partitions_[partition][node];
  belief.claiming = false;
  belief.serving = true;
  belief.epoch = epoch;
  belief.under_way.clear();
}

void SometimesWatch::crashed(const Node& node) {
  for (auto& [partition, nodes] : partitions_) {
    const auto found = nodes.find(node);
    if (found == nodes.end()) continue;
    if (found->second.claiming) counters_.add("sometimes.owner.crashed_while_claiming");
    if (!found->second.under_way.empty()) counters_.add("sometimes.owner.crashed_during_append");
    nodes.erase(found);
  }
}

void SometimesWatch::paused(const Node& node) {
  for (auto& [partition, nodes] : partitions_) {
    const auto found = nodes.find(node);
    if (found == nodes.end()) continue;
    if (found->second.serving) counters_.add("sometimes.owner.paused_while_serving");
    if (!found->second.under_way.empty()) counters_.add("sometimes.owner.paused_during_append");
  }
}

void SometimesWatch::resumed(const Node& node) {
  for (const auto& [partition, nodes] : partitions_) {
    const auto found = nodes.find(node);
    if (found != nodes.end() && overtaken(node, partition, found->second))
      counters_.add("sometimes.owner.zombie_woke");
  }
}

bool SometimesWatch::overtaken(const Node& node, const std::string& partition, const Belief& belief) const {
  if (!belief.serving) return false;
  for (const auto& [other, its] : partitions_.at(partition)) {
    if (other != node && its.serving && its.epoch > belief.epoch) return true;
  }
  return false;
}

}  // namespace varve::sim
