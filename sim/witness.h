// Witness: what clients were shown and told of turns and imports, against the log that counts:
//
// - I6: every message that a stream has shown is the message of that number in its run, with that text; what
//   was told of a turn's end is its end.
// - I2: a turn ends once; an import makes one agent, whoever repeats it with its key, and a whole one; what
// was
//   sent without a key is in the log once at most.
// - I8: see sim/effects.h.
//
// Clients write down an Evidence while they work; check() is asked once, at rest.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sim/client_answers.h"
#include "sim/history.h"
#include "sim/log_oracle.h"

namespace varve::sim {

struct Evidence {
  struct Streamed {  // One connection.
    std::int64_t after = 0;
    bool tokens = false;  // It may have shown pieces of a reply that was never committed.
    StreamRead read;
  };
  struct Import {
    OpId operation = 0;
    std::string name;  // No other agent was ever created with it.
    std::size_t messages = 0;
    Texts answered;     // The agents that its answer names; empty: no success.
    std::string agent;  // As its key says; empty: without a key.
  };
  std::vector<Streamed> streams;
  std::vector<TurnTold> ends;
  Texts cancelled;  // Runs.
  std::vector<Import> imports;
  std::set<std::string> keyless;  // Values of blocks that were written without a key, each once.
};

class Witness {
 public:
  // Reads the whole log. `log` outlives it.
  explicit Witness(const LogOracle& log);

  // Tells the history which agents imports without a key have made.
  void resolve(const Evidence& evidence, History& history) const;
  void check(const Evidence& evidence, Violations& violations) const;

 private:
  struct Run {
    std::vector<const Message*> messages;
    std::size_t ends = 0;
    std::string stop_reason;  // Of its first end.
  };
  struct Created {
    std::string agent;
    std::int64_t records = -1;  // As its beginning says; -1: no import.
    std::int64_t records_found = 0;
    std::size_t messages = 0;
    bool sealed = false;
  };

  void take(const StreamId& stream, const Event& event);
  void check_stream(const Evidence::Streamed& seen, Violations& violations) const;
  void check_import(const Evidence::Import& import, Violations& violations) const;

  std::map<std::string, Run> runs_;
  std::map<std::string, std::vector<Created>> by_name_;
  std::map<std::string, std::size_t> sent_;   // Texts of users' messages: how many turns they began.
  std::map<std::string, std::size_t> set_;    // Values of blocks: how many updates made them.
  std::map<std::string, std::string> names_;  // By agent: what it was created with.
};

}  // namespace varve::sim
