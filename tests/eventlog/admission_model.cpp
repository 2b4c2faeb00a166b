#include "tests/eventlog/admission_model.h"

#include <algorithm>

namespace varve::test {
namespace {

constexpr std::size_t kSteps = 90;
constexpr std::size_t kCommitsInFlightMax = 2;
constexpr std::uint64_t kCommands = 4;
constexpr std::uint64_t kStreams = 2;

std::uint64_t stream_of(std::uint64_t command) {
  return command % kStreams;
}

CommandId id_of(std::uint64_t number) {
  CommandId id;
  for (std::size_t i = 0; i < 8; ++i) id.bytes[i] = static_cast<std::uint8_t>(number >> (8 * i));
  return id;
}

const Commit* commit_in(const Record& record) {
  return std::get_if<Commit>(&record);
}
const Claim* claim_in(const Record& record) {
  return std::get_if<Claim>(&record);
}

}  // namespace

std::ostream& operator<<(std::ostream& out, Mutant mutant) {
  constexpr const char* kNames[] = {"none",
                                    "no_epoch_check",
                                    "no_index_check",
                                    "ack_on_append",
                                    "retry_same_epoch",
                                    "claim_by_node_name",
                                    "unadmitted_claim_serves",
                                    "refill",
                                    "skip_means_failed",
                                    "retry_in_flight",
                                    "reader_without_index",
                                    "reader_without_epoch",
                                    "forgetful_window",
                                    "told_before_the_claim"};
  return out << kNames[static_cast<std::size_t>(mutant)];
}

std::ostream& operator<<(std::ostream& out, Oracle oracle) {
  constexpr const char* kNames[] = {"acknowledged", "once",           "one_writer",
                                    "decided_on",   "no_late_effect", "agree"};
  return out << kNames[static_cast<std::size_t>(oracle)];
}

// ---- the rule ----

Verdict AdmissionModel::judge(AdmissionState& state, const Record& record) const {
  const Commit* commit = commit_in(record);
  if (commit != nullptr && mutant_ == Mutant::no_epoch_check) {
    if (commit->n != next(state.index)) return commit->n <= state.index ? Verdict::duplicate : Verdict::gap;
    state.index = commit->n;
    return Verdict::admitted;
  }
  if (commit != nullptr && mutant_ == Mutant::no_index_check) {
    if (commit->epoch != state.epoch) return Verdict::fenced;
    state.index = commit->n;
    return Verdict::admitted;
  }
  return admit(state, record);
}

// What a reader that starts in the middle of the log begins with.
AdmissionState AdmissionModel::checkpoint_at(std::size_t position) const {
  AdmissionState state = points_[position].admission;
  if (mutant_ == Mutant::reader_without_index) state.index = Index{};
  if (mutant_ == Mutant::reader_without_epoch && position > 0 && position < log_.size()) {
    const Record& first = log_[position].record;
    state.epoch =
        commit_in(first) != nullptr ? commit_in(first)->epoch : Epoch{claim_in(first)->epoch.value() - 1};
  }
  return state;
}

// ---- the schedule ----

std::set<Oracle> AdmissionModel::run() {
  for (std::size_t i = 0; i < kSteps && violated_.empty(); ++i) step();
  if (violated_.empty()) check_agreement();
  return violated_;
}

void AdmissionModel::step() {
  const std::uint64_t number = rng_.below(nodes_.size());
  Node& node = nodes_[number];
  const std::uint64_t action = rng_.below(100);
  if (action < 8) return claim(node, number);
  if (action < 44) return read(node, number);
  if (action < 66) return decide(node);
  if (action < 70) return outcome_unknown(node);
  if (action < 73) return not_written(node);
  if (action < 74) return crash(node);
  if (action < 97) return land();
  lose();
}

// On the knowledge of any prefix: assignment is a hint, and a node may have slept.
void AdmissionModel::claim(Node& node, std::uint64_t number) {
  if (node.state == Node::State::serving) return;
  node.state = Node::State::claiming;
  node.attempt = ++attempts_;
  const std::size_t known = rng_.chance(2, 3) ? log_.size() : pick(log_.size() + 1);
  Claim claim;
  claim.epoch = next(points_[known].admission.epoch);
  claim.id = id_of(node.attempt);
  claim.cluster = "c";
  claim.node = std::to_string(number);
  if (rng_.chance(1, 2)) {  // Loads a checkpoint; otherwise it reads on.
    node.position = pick(log_.size() + 1);
    node.admission = checkpoint_at(node.position);
    node.history.assign(history_.begin(),
                        history_.begin() + static_cast<std::ptrdiff_t>(points_[node.position].admitted));
  }
  transport_.push_back({Record{std::move(claim)}, ++serials_, node.attempt, 0, 0, {}});
  ++tally_["claims"];
}

void AdmissionModel::read(Node& node, std::uint64_t number) {
  // Several at once now and then: a reader is usually faster than the world.
  for (std::uint64_t more = rng_.between(1, 4); more > 0 && node.position < log_.size(); --more) {
    const Entry& entry = log_[node.position];
    const Verdict verdict = judge(node.admission, entry.record);
    if (verdict != verdicts_[node.position]) violate(Oracle::agree);
    ++node.position;
    if (claim_in(entry.record) != nullptr) {
      read_claim(node, number, entry, verdict);
    } else {
      read_commit(node, entry, verdict);
    }
  }
}

void AdmissionModel::read_claim(Node& node, std::uint64_t number, const Entry& entry, Verdict verdict) {
  const Claim& claim = *claim_in(entry.record);
  const bool admitted = verdict == Verdict::admitted;
  bool mine = claim.id == id_of(node.attempt);
  if (mutant_ == Mutant::claim_by_node_name) mine = claim.node == std::to_string(number);
  if (node.state == Node::State::claiming && mine) {
    if (admitted || mutant_ == Mutant::unadmitted_claim_serves) {
      settle(node);
      node.state = Node::State::serving;
      node.epoch = claim.epoch;
      ++tally_["served"];
    } else {
      node.state = Node::State::idle;  // Draws a new id for the next attempt.
      ++tally_["claims_skipped"];
    }
    return;
  }
  if (!admitted) return;
  // Anybody's newer claim decides what was open, and ends an ownership.
  const bool newer = node.in_flight.empty() || commit_in(node.in_flight.front().record)->epoch < claim.epoch;
  if (newer) settle(node);
  if (node.state == Node::State::serving && claim.epoch > node.epoch) {
    node.state = Node::State::idle;
    ++tally_["fenced_by_claim"];
  }
}

void AdmissionModel::read_commit(Node& node, const Entry& entry, Verdict verdict) {
  const Commit& commit = *commit_in(entry.record);
  if (verdict == Verdict::admitted)
    node.history.push_back({entry.command, entry.stream, commit.epoch, commit.n});
  if (node.state != Node::State::serving) return;
  const auto own = std::find_if(node.in_flight.begin(), node.in_flight.end(), [&](const Entry& open) {
    const Commit& mine = *commit_in(open.record);
    return mine.epoch == commit.epoch && mine.n == commit.n && open.command == entry.command;
  });
  if (own == node.in_flight.end()) return;
  if (verdict == Verdict::admitted) {
    node.in_flight.erase(own);
    acknowledge(entry.command);
    ++tally_["read_back"];
  } else if (mutant_ == Mutant::skip_means_failed) {
    tell_dead(*own);
    node.in_flight.erase(own);
  } else {
    ++tally_["own_skipped"];
    stop(node);
  }
}

// A client sends a command, perhaps again, perhaps one that was answered long ago.
void AdmissionModel::decide(Node& node) {
  if (node.state != Node::State::serving) return;
  const std::uint64_t command = rng_.between(1, kCommands);
  const std::uint64_t stream = stream_of(command);
  if (knows(node, command, stream)) {
    ++tally_["answered_again"];
    return acknowledge(command);
  }
  const bool open = std::any_of(node.in_flight.begin(), node.in_flight.end(),
                                [command](const Entry& entry) { return entry.command == command; });
  if (open && mutant_ != Mutant::retry_in_flight) return;  // It waits for the one in flight.
  if (node.in_flight.size() >= kCommitsInFlightMax) return;

  Entry entry;
  entry.serial = ++serials_;
  entry.attempt = node.attempt;
  entry.command = command;
  entry.stream = stream;
  for (const Done& done : node.history) {
    if (done.stream == stream) entry.decided_on.push_back(done.command);
  }
  Commit commit;
  commit.epoch = node.epoch;
  commit.n = next(node.admission.index);
  commit.command.id = id_of(command);
  for (const Entry& before : node.in_flight) {
    if (before.stream == stream) entry.decided_on.push_back(before.command);
    // The lowest free one; without holes among those in flight that is the one behind them.
    if (commit_in(before.record)->n == commit.n) commit.n = next(commit.n);
  }
  entry.record = std::move(commit);
  transport_.push_back(entry);
  // Kept in the order of n, also where a mutant has filled a hole.
  const auto behind = std::find_if(
      node.in_flight.begin(), node.in_flight.end(),
      [&entry](const Entry& other) { return commit_in(entry.record)->n < commit_in(other.record)->n; });
  node.in_flight.insert(behind, std::move(entry));
  ++tally_["decided"];
}

// ---- what goes wrong ----

void AdmissionModel::outcome_unknown(Node& node) {
  if (node.state != Node::State::serving || node.in_flight.empty()) return;
  ++tally_["unknown"];
  if (mutant_ == Mutant::retry_same_epoch) {
    const auto one = node.in_flight.begin() + static_cast<std::ptrdiff_t>(pick(node.in_flight.size()));
    tell_dead(*one);
    node.in_flight.erase(one);
    return;
  }
  stop(node);
}

// The log proves that an append was not and will not be written.
void AdmissionModel::not_written(Node& node) {
  if (node.state != Node::State::serving || node.in_flight.empty()) return;
  const std::size_t which = pick(node.in_flight.size());
  const std::uint64_t serial = node.in_flight[which].serial;
  const auto is_it = [serial](const Entry& entry) { return entry.serial == serial; };
  if (std::any_of(log_.begin(), log_.end(), is_it)) return;
  if (std::erase_if(transport_, is_it) == 0) return;  // Lost already: its outcome is unknown.
  ++tally_["not_written"];
  const bool alone = node.in_flight.size() == 1;
  if (!alone && mutant_ != Mutant::refill) return stop(node);
  tell_dead(node.in_flight[which]);
  node.in_flight.erase(node.in_flight.begin() + static_cast<std::ptrdiff_t>(which));
}

void AdmissionModel::crash(Node& node) {
  node = Node{};
  ++tally_["crashes"];
}

void AdmissionModel::land() {
  if (transport_.empty()) return;
  // Mostly in order, as good logs do; the rules may not rely on it.
  const std::size_t which = rng_.chance(2, 3) ? 0 : pick(transport_.size());
  const Entry entry = transport_[which];
  if (rng_.chance(9, 10)) {
    transport_.erase(transport_.begin() + static_cast<std::ptrdiff_t>(which));
  } else {
    ++tally_["landed_twice"];
  }
  const Point before = points_.back();
  Point after = before;
  const Verdict verdict = judge(after.admission, entry.record);
  ++tally_[std::string(to_string(verdict)) + (claim_in(entry.record) != nullptr ? " claim" : " commit")];
  if (verdict == Verdict::admitted) {
    if (const Commit* commit = commit_in(entry.record)) {
      check_admitted(entry, before);
      history_.push_back({entry.command, entry.stream, commit->epoch, commit->n});
      after.admitted = history_.size();
    } else {
      after.attempt = entry.attempt;
    }
  }
  log_.push_back(entry);
  verdicts_.push_back(verdict);
  points_.push_back(after);
  if (mutant_ == Mutant::ack_on_append && commit_in(entry.record) != nullptr) acknowledge(entry.command);
}

void AdmissionModel::lose() {
  if (transport_.empty()) return;
  transport_.erase(transport_.begin() + static_cast<std::ptrdiff_t>(pick(transport_.size())));
  ++tally_["lost"];
}

// ---- answers ----

// No new decisions; what was in flight is open until a newer claim is read.
void AdmissionModel::stop(Node& node) {
  node.state = Node::State::idle;
  ++tally_["stops"];
  if (mutant_ == Mutant::told_before_the_claim) settle(node);
}

void AdmissionModel::settle(Node& node) {
  for (const Entry& entry : node.in_flight) {
    const Commit& commit = *commit_in(entry.record);
    const Done as_done{entry.command, entry.stream, commit.epoch, commit.n};
    if (std::find(node.history.begin(), node.history.end(), as_done) != node.history.end()) {
      acknowledge(entry.command);
      ++tally_["settled_done"];
    } else {
      tell_dead(entry);
      ++tally_["settled_dead"];
    }
  }
  node.in_flight.clear();
}

void AdmissionModel::acknowledge(std::uint64_t command) {
  const bool admitted = std::any_of(history_.begin(), history_.end(),
                                    [command](const Done& done) { return done.command == command; });
  if (!admitted) violate(Oracle::acknowledged);
}

void AdmissionModel::tell_dead(const Entry& entry) {
  dead_.insert(entry.serial);
  for (std::size_t i = 0; i < log_.size(); ++i) {
    if (log_[i].serial == entry.serial && verdicts_[i] == Verdict::admitted) violate(Oracle::no_late_effect);
  }
}

bool AdmissionModel::knows(const Node& node, std::uint64_t command, std::uint64_t stream) const {
  for (auto done = node.history.rbegin(); done != node.history.rend(); ++done) {
    if (done->stream != stream) continue;
    if (done->command == command) return true;
    if (mutant_ == Mutant::forgetful_window) return false;
  }
  return false;
}

// ---- oracles ----

void AdmissionModel::check_admitted(const Entry& entry, const Point& before) {
  if (entry.attempt != before.attempt) violate(Oracle::one_writer);
  if (dead_.contains(entry.serial)) violate(Oracle::no_late_effect);
  std::vector<std::uint64_t> follows;
  for (const Done& done : history_) {
    if (done.command == entry.command) violate(Oracle::once);
    if (done.stream == entry.stream) follows.push_back(done.command);
  }
  if (follows != entry.decided_on) violate(Oracle::decided_on);
}

void AdmissionModel::check_agreement() {
  for (std::size_t start = 0; start <= log_.size(); ++start) {
    AdmissionState state = checkpoint_at(start);
    for (std::size_t i = start; i < log_.size(); ++i) {
      if (judge(state, log_[i].record) != verdicts_[i]) return violate(Oracle::agree);
    }
  }
}

std::string AdmissionModel::story() const {
  std::string text;
  for (std::size_t i = 0; i < log_.size(); ++i) {
    const Entry& entry = log_[i];
    if (const Claim* claim = claim_in(entry.record)) {
      text += "C(" + std::to_string(claim->epoch.value()) + ") of node " + claim->node;
    } else {
      const Commit& commit = *commit_in(entry.record);
      text += "c" + std::to_string(entry.command) + " (" + std::to_string(commit.epoch.value()) + "," +
              std::to_string(commit.n.value()) + ")";
    }
    text += std::string(" ") + to_string(verdicts_[i]) + "\n";
  }
  return text;
}

}  // namespace varve::test
