// Backends: where a server's log, views and snapshots are, and which partitions are this process's, as its
// configuration says: files of its own, or Kafka and PostgreSQL shared with other nodes. Here, and in sim/,
// concrete types are chosen.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cli/config.h"
#include "cluster/assignment.h"
#include "eventlog/event_log.h"
#include "eventlog/key_store.h"
#include "eventlog/snapshot_store.h"
#include "projections/generations.h"
#include "projections/postgres_listener.h"
#include "projections/process_table.h"
#include "projections/view_store.h"
#include "runtime/real_env.h"

namespace varve {

// In the order in which they may be destroyed backwards.
struct Backends {
  std::string place;  // For people: "./varve-data", "kafka a:9092 varve.events, postgresql://db/varve".
  std::unique_ptr<EventLog> log;
  std::shared_ptr<void> database;  // What snapshots and views share.
  // Ends what waits for a server on a lane: when the env has stopped, before its shut_down(). May be null.
  std::function<void()> cut_off;
  std::unique_ptr<SnapshotStore> snapshots;
  std::unique_ptr<KeyStore> keys;  // Of erasable agents.
  std::unique_ptr<ViewStore> views;
  std::unique_ptr<Generations> generations;  // Of the views.
  // What the nodes of a cluster share besides the log; null: there is one process, or no PostgreSQL.
  std::unique_ptr<PostgresListener> news;
  std::unique_ptr<ProcessTable> processes;
  // Null: this process has all partitions, for ever.
  std::unique_ptr<Assignment> owning;
  std::unique_ptr<Assignment> folding;
  // How long a shard may drain that the group wants back: it ends before the group ceases to wait for it.
  Duration hand_back_time{};
};

// Blocks until everything was reached, or says in a sentence why it cannot be. Errc::conflict: a file of it
// is another process's. Call it before the RealEnv runs.
Result<std::unique_ptr<Backends>> open_backends(RealEnv& env, const Config& config);
// PostgreSQL alone: database, snapshots and views. As open_backends().
Status open_database(RealEnv& env, const Config& config, Backends& backends);

}  // namespace varve
