// Workload: clients that ask a simulated cluster for random things over its API: agents, blocks, attachments,
// turns, lists. They retry as the official clients do, always with the same key, and write down what they
// asked and what they were told, for the oracles.
//
// Every value and every message is written once only, so that what is read tells who wrote it. Which kinds of
// commands there are is drawn for the whole run.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sim/cluster_world.h"
#include "sim/history.h"
#include "sim/sim_client.h"

namespace varve::sim {

class Workload {
 public:
  // In the order of `Kind` in workload.cpp.
  static constexpr std::size_t kKinds = 13;
  struct Options {
    std::size_t clients = 2;
    std::size_t operations = 10;              // Of each client.
    std::vector<bool> kinds;                  // Which are asked for; creations always are.
    bool tools = false;                       // Agents have memory tools: values of blocks are not compared.
    Duration pause{std::chrono::seconds{1}};  // The longest between two operations.
  };
  using Acknowledged = std::function<void(const std::vector<LogPosition>&)>;

  Workload(ClusterWorld& world, History& history, Options options, Acknowledged acknowledged);
  ~Workload();

  void start();
  // Every client has done what it wanted to.
  bool done() const { return running_ == 0; }
  std::uint64_t answered() const { return answered_; }

 private:
  struct Client;
  struct Planned {
    Op op;
    Request request;
  };
  static Task<> work(Workload* workload, Client* client);
  Planned plan(Client& client);
  Planned create_agent(Client& client);
  Planned create_block(Client& client);
  Request write(std::string method, std::string target, std::string body, std::string key) const;
  Outcome outcome_of(const Op& op, const Exchange& came) const;
  Outcome read_seen(const Op& op, const Exchange& came) const;
  const std::string& one_of(const std::vector<std::string>& all);
  std::string fresh(const char* what) { return std::string(what) + "-" + std::to_string(next_++); }

  ClusterWorld& world_;
  History& history_;
  Options options_;
  Acknowledged acknowledged_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<std::string> urls_;
  std::vector<std::string> agents_;
  std::vector<std::string> blocks_;  // Made by themselves.
  std::size_t running_ = 0;
  std::uint64_t next_ = 1;
  std::uint64_t answered_ = 0;
};

}  // namespace varve::sim
