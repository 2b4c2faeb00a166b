// History: what clients asked, when, and what they were told; and its judgement:
//
// - `Linearizable`: the commands of every agent and of every block had their answers in some order of single
//   moments (their place in the log), and everything that was read, together with what was written, too
//   (their place in the views).
// - `I6`: who waited reads it. A client sees its own and everybody's settled writes, never goes back to an
//   older state, and sees nothing that nobody wrote; the same for lists.
//
// One entry is one operation with all its retries: they carry one key, so it takes effect at most once.
// Whatever was not answered for certain is `unknown`. Values and messages are best never written twice: a
// value that two operations wrote hides who is right. Time is the order of begin() and end(), as the one
// thread of the world makes it.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "sim/linearizable.h"
#include "sim/violation.h"

namespace varve::sim {

using ClientId = std::uint32_t;
using OpId = std::size_t;

class History {
 public:
  struct Entry {
    ClientId client = 0;
    Op op;
    Outcome outcome;  // `unknown` until it ends.
    std::uint64_t begin = 0;
    std::uint64_t end = kForever;
    bool ended = false;
    bool asked = true;     // False: it may happen because of another one, and nobody is told.
    bool excused = false;  // Its views had been lost meanwhile: what it showed is not compared.
  };

  OpId begin(ClientId client, Op op);
  // What an operation of the client may bring about at any time from now on.
  void add_consequence(ClientId client, Op op);
  void end(OpId id, Outcome outcome);
  // What has become known of an operation later: the id of what it created.
  void resolve(OpId id, Op op) { entries_.at(id).op = std::move(op); }

  // A declared failover took the newest views back; until they have caught up, reads may show the past.
  void views_lost();
  void views_caught_up() { views_lost_ = false; }

  const std::vector<Entry>& entries() const { return entries_; }
  std::size_t open() const { return open_.size(); }
  // One of the open ones, for reports; the oldest.
  std::string oldest_open() const;

 private:
  std::vector<Entry> entries_;
  std::set<OpId> open_;
  std::uint64_t time_ = 0;
  bool views_lost_ = false;
};

struct HistoryOptions {
  std::size_t states_max = 200'000;  // Per entity and question.
  bool lists_are_ours = true;        // A list shows no agent that no operation of the history created.
};

struct HistoryVerdict {
  std::vector<Violation> violations;
  std::size_t entities = 0;
  std::size_t gave_up = 0;  // Questions that were too large to be answered.
  std::size_t states = 0;
};

HistoryVerdict check(const History& history, const HistoryOptions& options);

// ---- for the parts of the judgement ----

// A call of one entity, taken from an entry. A read is one of the views.
struct EntityCall {
  Call call;
  ClientId client = 0;
  bool read = false;
};
using EntityCalls = std::vector<EntityCall>;

// I6 for one entity; at most one violation of a kind.
void check_sessions(const std::string& entity, const EntityCalls& calls, std::vector<Violation>& violations);

}  // namespace varve::sim
