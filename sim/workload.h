// Workload: clients that ask a simulated server or cluster for random things over its API: agents, blocks,
// attachments, turns (waited for, streamed, in the background), cancels, imports, exports, lists. They retry
// as the official clients do, always with the same key, and write down what they asked and what they were
// told, for the oracles. A client that streams may stall, leave in the middle and come back. Some have no
// keys (a person with curl): they send again only what was certainly not done, and expect it done at most
// once.
//
// Every value and every message is written once only, so that what is read tells who wrote it. Which kinds of
// commands there are is drawn for the whole run.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "sim/counters.h"
#include "sim/erasure_oracle.h"
#include "sim/history.h"
#include "sim/sim_client.h"
#include "sim/witness.h"

namespace varve::sim {

class Workload {
 public:
  // In the order of `Kind` in workload.cpp.
  static constexpr std::size_t kKinds = 21;
  struct Options {
    std::size_t clients = 2;
    std::size_t operations = 10;              // Of each client.
    std::vector<bool> kinds;                  // Which are asked for; creations always are.
    bool tools = false;                       // Agents have memory tools.
    bool compare_values = true;               // Of blocks: somebody writes down what tools make of them.
    bool shared_labels = false;               // Some blocks have the same label as others.
    bool restless = false;                    // Clients of streams stall, leave, and come back.
    bool keyless = false;                     // Every other client has no keys, but for what it creates.
    bool erasable = false;                    // Half of the agents are made so that they can be erased.
    bool streams_settle = false;              // Views are never behind the end of a stream.
    Duration pause{std::chrono::seconds{1}};  // The longest between two operations.
  };
  // Where they work. All must outlive the workload.
  struct Site {
    Scheduler& scheduler;
    Network& network;
    Counters& counters;
    std::vector<std::string> urls;
    std::uint32_t partitions = 0;
    std::uint64_t seed = 0;
  };
  using Acknowledged = std::function<void(const std::vector<LogPosition>&)>;

  Workload(Site site, History& history, Options options, Acknowledged acknowledged);
  ~Workload();

  void start();
  // Every client has done what it wanted to.
  bool done() const { return running_ == 0; }
  std::uint64_t answered() const { return answered_; }
  // Asked at the moment at which somebody is told that an agent is erased.
  void on_erased(std::function<void(const std::string& agent)> told) { told_erased_ = std::move(told); }
  const Evidence& evidence() const { return evidence_; }
  // Agents that somebody has asked for; some may not be there.
  const std::vector<std::string>& agents() const { return agents_; }
  // An agent that somebody else has made: clients work with it from now on.
  void adopt(std::string agent) { agents_.push_back(std::move(agent)); }
  // Whether some client has sent this command.
  bool has_sent(const CommandId& command) const { return commands_.contains(command); }
  // Whether some client without a key has written this value.
  bool has_written(const std::string& value) const { return evidence_.keyless.contains(value); }

 private:
  struct Client;
  struct Block {
    std::string id;
    std::string label;
    std::string agent;  // With which it was born; empty: by itself.
  };
  struct Planned {
    enum class Way : unsigned char { plain, steps, tokens };
    Op op;
    Request request;
    Way way = Way::plain;
    int attempts = 12;
    bool keyless = false;   // A write without a key.
    bool by_label = false;  // A block's, of an agent that may not have it: not the block's to say.
  };
  static Task<> work(Workload* workload, Client* client);
  static Task<Outcome> ask(Workload* workload, Client* client, Planned planned, OpId id);
  static Task<Outcome> stream(Workload* workload, Client* client, Planned planned);
  Planned plan(Client& client);
  Planned plan(const std::string& creating, const std::string& key);
  Planned create_agent(const std::string& key);
  Planned create_block(const std::string& key);
  Planned import_agent(const std::string& key, bool keyed);
  Planned of_agent(std::size_t kind, const std::string& key);
  Planned of_block(std::size_t kind, const std::string& key);
  Planned send(std::size_t kind, const std::string& key);
  Planned edit_core(const std::string& key);
  void take_import(OpId id, const Exchange& came);
  Reading draw_reading(const Client& client);
  std::vector<std::string> rotated_urls(const Client& client);
  Request write(std::string method, std::string target, std::string body, std::string key);
  std::string one_of(const std::vector<std::string>& all);
  bool is_erasable(const std::string& agent) const { return erasable_.contains(agent); }
  // Of an erasable agent: a text that begins with kSecret.
  std::string fresh_of(const std::string& agent, const char* what) {
    return is_erasable(agent) ? std::string(kSecret) + fresh(what) : fresh(what);
  }
  void may_end_blocks(const Client& client, const op::EraseAgent& op);
  std::string fresh(const char* what) { return std::string(what) + "-" + std::to_string(next_++); }
  std::uint64_t choose(std::uint64_t bound) { return site_.scheduler.choices().choose(track_, bound); }
  bool chance(std::uint64_t numerator, std::uint64_t denominator) {
    return site_.scheduler.choices().chance(track_, numerator, denominator);
  }
  void think_as(const Client& client);
  RetryPolicy policy_of(const Planned& planned) const;

  Site site_;
  History& history_;
  Options options_;
  Acknowledged acknowledged_;
  std::vector<std::unique_ptr<Client>> clients_;
  Track track_{Domain::workload};  // Of the client that decides at present.
  Evidence evidence_;
  std::vector<std::string> agents_;
  std::vector<Block> blocks_;
  std::set<std::string> erasable_;  // Agents.
  std::function<void(const std::string&)> told_erased_;
  std::set<CommandId> commands_;      // Of all writes with a key.
  std::vector<std::string> talking_;  // Agents to which somebody talks.
  std::size_t running_ = 0;
  std::uint64_t next_ = 1;
  std::uint64_t answered_ = 0;
};

}  // namespace varve::sim
