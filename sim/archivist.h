// Archivist: a client of a cluster that looks into its past, beside those who make it: forks agents as of a
// moment, twice with one key, and asks for the event at which something came about, by halving and by a scan.
//
// Promises to be told by name: I2, a key makes one fork; I4, a fork shows what its origin showed at its cut;
// I4, the event that halving finds is the one that a scan of its neighbours finds. Its decisions are on a
// track of its own.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "runtime/json.h"
#include "sim/counters.h"
#include "sim/history.h"
#include "sim/log_oracle.h"
#include "sim/sim_client.h"

namespace varve::sim {

class Archivist {
 public:
  struct Site {
    Scheduler& scheduler;
    Network& network;
    Counters& counters;
    std::vector<std::string> urls;
    std::uint64_t seed = 0;
    bool views_go_back = false;  // A failover may take back what the views have shown: a fork may lack it.
    std::function<std::vector<std::string>()> agents;   // That somebody has asked for.
    std::function<std::vector<LogPosition>()> written;  // Positions that clients were told.
    std::function<void(const std::vector<LogPosition>&)> acknowledged;
  };
  // `history` outlives it; in it the archivist is this client.
  Archivist(Site site, History& history, ClientId id);
  ~Archivist();
  Archivist(const Archivist&) = delete;
  Archivist& operator=(const Archivist&) = delete;

  void start();
  bool done() const { return done_; }
  // At rest: what it has found, and what the log holds of its forks.
  void check(const LogOracle& log, Violations& violations) const;

 private:
  static Task<> work(Archivist* self);
  Task<> fork();
  Task<Exchange> ask_twice(Request request, OpId id);
  Task<> compare(std::string origin, std::string fork, std::string cut);
  Task<> bisect();
  Task<Json> find(std::string query);
  // The agent and its messages, without what differs between two agents; nothing: it cannot be read.
  Task<std::optional<std::string>> shown(std::string agent, std::string cut);
  Task<Exchange> get(std::string target);
  Task<Exchange> insist(Request request);
  std::uint64_t choose(std::uint64_t bound);

  Site site_;
  History& history_;
  ClientId id_;
  SimEnv env_;
  SimClient http_;
  std::uint64_t asked_ = 0;        // Forks.
  std::vector<LogPosition> seen_;  // Positions of its own forks, the newest of each partition.
  std::vector<std::string> names_;
  Violations found_;
  bool done_ = false;
};

}  // namespace varve::sim
