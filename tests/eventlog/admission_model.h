// A model of one partition, the nodes that try to own it and the clients that send commands to them, run by
// random schedules: the executable sibling of Admission.tla, with the real admission rule in it. Records land
// now, late, never, twice and in any order; nodes claim on stale knowledge, stop, crash and come back from
// any checkpoint.
//
// A Mutant breaks one rule; the oracles must notice. One seed gives one schedule.
#pragma once

#include <cstdint>
#include <map>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "eventlog/admission.h"
#include "runtime/rng.h"

namespace varve::test {

enum class Mutant : unsigned char {
  none,
  no_epoch_check,           // Admission takes a commit of any epoch.
  no_index_check,           // Admission takes any n.
  ack_on_append,            // A command is answered when its append is reported written.
  retry_same_epoch,         // Unknown is taken for "failed", and the shard goes on.
  claim_by_node_name,       // An admitted claim of this node is taken for the newest one.
  unadmitted_claim_serves,  // An own claim that was skipped is taken for ownership.
  refill,                   // Going on after "not written" with others in flight.
  skip_means_failed,        // An own record read back and skipped is taken for one that never counts.
  retry_in_flight,          // A retry of a command in flight is decided again.
  reader_without_index,     // A checkpoint carries the epoch only.
  reader_without_epoch,     // A checkpoint carries nothing: the first epoch that is seen is believed.
  forgetful_window,         // A stream remembers one command id.
  told_before_the_claim,    // A stopped shard says "failed" without waiting for a newer claim.
};

enum class Oracle : unsigned char {
  acknowledged,    // I1: an acknowledged command is admitted.
  once,            // I2: a command id is admitted at most once.
  one_writer,      // An admitted commit was written under the very claim that holds its epoch.
  decided_on,      // It was decided on exactly the history of its stream that it follows.
  no_late_effect,  // It is none of which a client was told that it never takes effect.
  agree,           // Every reader gives every record the verdict of a reader from the start.
};
std::ostream& operator<<(std::ostream& out, Mutant mutant);
std::ostream& operator<<(std::ostream& out, Oracle oracle);

// How often the interesting things happened, so that a test can show that they did.
using Tally = std::map<std::string, std::uint64_t>;

class AdmissionModel {
 public:
  AdmissionModel(std::uint64_t seed, Mutant mutant) : rng_(seed), mutant_(mutant) {}

  // The oracles that the first bad step of one schedule violates; none if there is no bad step.
  std::set<Oracle> run();
  const Tally& tally() const { return tally_; }
  // The log as a reader from the start sees it.
  std::string story() const;

 private:
  struct Done {  // One admitted commit.
    std::uint64_t command;
    std::uint64_t stream;
    Epoch epoch;
    Index n;
    friend bool operator==(const Done&, const Done&) = default;
  };
  using History = std::vector<Done>;

  struct Entry {
    Record record;
    std::uint64_t serial = 0;   // Of the decision; copies share it.
    std::uint64_t attempt = 0;  // The claim attempt under which it was written; of a claim, itself.
    std::uint64_t command = 0;
    std::uint64_t stream = 0;
    std::vector<std::uint64_t> decided_on;  // Commands of the stream.
  };

  struct Node {
    enum class State : unsigned char { idle, claiming, serving };
    State state = State::idle;
    std::size_t position = 0;
    AdmissionState admission;
    History history;
    std::uint64_t attempt = 0;     // Of its newest claim.
    Epoch epoch;                   // Under which it serves.
    std::vector<Entry> in_flight;  // Commits whose fate is open, decided in this order.
  };

  struct Point {  // What a reader from the start knows after so many records.
    AdmissionState admission;
    std::size_t admitted = 0;   // Length of the history.
    std::uint64_t attempt = 0;  // The claim that holds the epoch.
  };

  Verdict judge(AdmissionState& state, const Record& record) const;
  AdmissionState checkpoint_at(std::size_t position) const;

  void step();
  void claim(Node& node, std::uint64_t number);
  void read(Node& node, std::uint64_t number);
  void read_claim(Node& node, std::uint64_t number, const Entry& entry, Verdict verdict);
  void read_commit(Node& node, const Entry& entry, Verdict verdict);
  void decide(Node& node);
  void outcome_unknown(Node& node);
  void not_written(Node& node);
  void crash(Node& node);
  void land();
  void lose();

  void stop(Node& node);
  void settle(Node& node);
  void acknowledge(std::uint64_t command);
  void tell_dead(const Entry& entry);
  void violate(Oracle oracle) { violated_.insert(oracle); }
  void check_agreement();
  void check_admitted(const Entry& entry, const Point& before);
  bool knows(const Node& node, std::uint64_t command, std::uint64_t stream) const;
  std::size_t pick(std::size_t count) { return static_cast<std::size_t>(rng_.below(count)); }

  Rng rng_;
  Mutant mutant_;
  std::set<Oracle> violated_;
  std::vector<Entry> log_;
  std::vector<Verdict> verdicts_;       // Of a reader from the start.
  std::vector<Point> points_{Point{}};  // points_[i] is the truth after i records.
  History history_;
  std::vector<Entry> transport_;  // Appended, not landed.
  std::vector<Node> nodes_{3};
  std::set<std::uint64_t> dead_;  // Serials of decisions that will never count, clients were told.
  std::uint64_t attempts_ = 0;
  std::uint64_t serials_ = 0;
  Tally tally_;
};

}  // namespace varve::test
