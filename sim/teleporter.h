// Teleporter: an operator of a cluster who carries agents away, beside those who work with them: as forks
// into the same cluster, to another place under their own ids or as forks, and for good (`move`), by the
// routes of the servers. His program is killed between pieces and started again, the other place dies, a
// second program imports the same archive at the same time; everything is imported twice.
//
// Promises to be told by name: I4, what was carried shows what its source showed at the cut of the export;
// I2, a repeated import finds nothing to do and changes nothing; I1, what has moved is whole at its new
// place, and its source answers 410 with that. At rest both logs are compared (sim/carried_oracle.h). Its
// decisions are on a track of its own.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sim/carried_oracle.h"
#include "sim/history.h"
#include "sim/other_place.h"
#include "sim/teleport_client.h"

namespace varve::sim {

class Teleporter {
 public:
  struct Site {
    Scheduler& scheduler;
    Network& network;
    Counters& counters;
    std::vector<std::string> urls;
    std::uint64_t seed = 0;
    OtherPlace& elsewhere;
    bool deaths = false;         // Of the other place.
    bool views_go_back = false;  // A failover may take back what the cluster's views have shown.
    std::function<std::vector<std::string>()> agents;                   // That somebody has asked for.
    std::function<void(const std::vector<LogPosition>&)> acknowledged;  // By the cluster.
    std::function<void(std::string)> adopt;  // An agent that clients of the cluster may work with.
  };
  // `history` outlives it; in it the teleporter is this client.
  Teleporter(Site site, History& history, ClientId id);
  ~Teleporter();
  Teleporter(const Teleporter&) = delete;
  Teleporter& operator=(const Teleporter&) = delete;

  void start();
  // From now on nothing dies.
  void settle() { settling_ = true; }
  bool done() const { return done_; }
  // At rest: what it has found, and what the logs hold of what it has carried.
  void check(const LogOracle& cluster, Violations& violations) const;

 private:
  enum class Where : unsigned char { here, elsewhere };
  struct Shown {
    bool answered = false;
    int status = 0;
    std::string text;
  };

  static Task<> work(Teleporter* self);
  Task<> copy(Where where, std::string query, std::string fork_key);
  Task<> move(std::string agent);
  // Null: refused, as may be.
  Task<ArchivePtr> fetch(std::string query);
  // `left`: its agents have left their source, as in TeleportClient::check().
  // To its end, however often it is cut off. Nothing: refused, as may be.
  Task<std::optional<TeleportPlan>> import(ArchivePtr archive, std::string fork_key, Where where, bool left);
  Task<TeleportPlan> import_once(ArchivePtr archive, std::string fork_key, Where where, bool left);
  static Task<> rival(Teleporter* self, ArchivePtr archive, std::string fork_key, Where where, bool left);
  Task<> import_again(TeleportPlan plan, std::string fork_key, Where where, bool left);
  // Carries what is there, and lets the agent go, until nothing has come between. False: it cannot be.
  Task<bool> carry_and_leave(std::string agent);
  Task<Exchange> leave(std::string agent, std::uint64_t events);
  Task<> expect_gone(std::string agent);
  Task<> compare(TeleportPlan plan, Where where);
  Task<Shown> shown(Where where, std::string agent, std::string cut);
  Task<> talk(std::string agent);

  void begin_births(const TeleportPlan& plan);
  void end_births(bool settled);
  bool may_pass(const Error& error, const char* what);
  void may_die();
  void note(const TeleportPlan& plan, Where where);
  TeleportClient client_to(Where where);
  TeleportClient::Ask ask(Where where);
  Task<Exchange> insist(std::vector<std::string> urls, Request request);
  Task<Exchange> get(Where where, std::string target);
  std::uint64_t choose(std::uint64_t bound);
  void met(const char* what) { site_.counters.add(what); }

  Site site_;
  History& history_;
  ClientId id_;
  SimEnv env_;
  SimClient http_;
  std::uint64_t asked_ = 0;
  std::uint64_t fuse_ = 0;  // Pieces until the program is killed; 0 = it is not.
  bool settling_ = false;
  bool two_ = false;  // A second program imports the same.
  std::size_t rivals_ = 0;
  std::vector<LogPosition> seen_here_;       // The newest of each partition that it was told.
  std::vector<LogPosition> seen_elsewhere_;  // The same.
  std::vector<OpId> births_;                 // That are open in the history.
  std::map<std::pair<Where, StreamId>, CarriedStream> carried_;
  std::map<StreamId, std::string> left_;  // Agents that have moved.
  std::set<std::string> in_doubt_;        // Agents that may have moved.
  std::set<std::string> talked_to_;       // Agents that have lived on elsewhere.
  Violations found_;
  bool done_ = false;
};

}  // namespace varve::sim
