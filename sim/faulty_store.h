// The database of a simulated cluster: views (ViewDatabase) and snapshots with recovery rows
// (SnapshotDatabase) over the memory storages, reached by connections that break. FaultyViewStore and
// FaultySnapshotStore are the ports of one incarnation.
//
// Promises: a transaction happens in one step of the world, whole or not at all. What an incarnation has sent
// may take effect after its death, or after it was told that the outcome is unknown; the guards of the
// storages (compare-and-set, "only to a higher sequence") decide then. Errc::unavailable: nothing was
// written, and nothing will be. A failover takes the newest transactions back, rows and checkpoint together.
//
// Never: a fault while all rates are 0. Lifetime: databases outlive their ports and `world` outlives all.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "projections/memory_snapshot_store.h"
#include "projections/memory_view_store.h"
#include "runtime/suspend.h"
#include "sim/choices.h"
#include "sim/counters.h"

namespace varve::sim {

struct StoreFaults {
  std::uint32_t unreachable_ppm = 0;    // A transaction fails before anything is written.
  std::uint32_t aborted_ppm = 0;        // In the middle: everything is rolled back.
  std::uint32_t serialization_ppm = 0;  // At COMMIT, as one that could not be ordered: nothing is written.
  std::uint32_t lost_ack_ppm = 0;       // Committed, and the connection is lost before the answer.
  std::uint32_t lost_commit_ppm = 0;    // The connection is lost with COMMIT: not committed.
  std::uint32_t late_ppm = 0;           // The same, but it is committed up to late_us later.
  std::uint32_t read_ppm = 0;           // A read fails.
  std::uint64_t delay_us = 0;           // The longest way there or back, besides kTrip.
  std::uint64_t late_us = 0;
};

// What both databases share: connections, their faults, and the fates of transactions.
class StoreLink {
 public:
  static constexpr Duration kTrip = std::chrono::microseconds{20};

  // `name` is that of the faults: "views" counts "fault.views.lost_ack". `world` never dies before it.
  // `first_track`: from there on its tracks are.
  StoreLink(Choices& choices, Env& world, Counters& counters, std::string name, std::size_t first_track);

  void set_faults(const StoreFaults& faults) { faults_ = faults; }
  const StoreFaults& faults() const { return faults_; }
  // Which byte of something that is damaged.
  std::uint64_t choose_damage(std::uint64_t bound) { return choices_.choose(track(Fault::damage), bound); }

  // Runs `transaction` once in a step of the world, or not, as chance has it, and tells the caller what it
  // knows of it. `transaction` must not refer to the caller's incarnation.
  template <class T>
  Task<T> write(Env& env, std::function<Result<T>()> transaction) {
    return write_on<T>(env, connection_, std::move(transaction));
  }
  // The same on a connection that was opened before: if it broke meanwhile, nothing happens.
  template <class T>
  Task<T> write_on(Env& env, std::uint64_t connection, std::function<Result<T>()> transaction) {
    const auto asked = std::make_shared<Asked<T>>();
    std::function<void(Waker)> park = [this, asked, connection, &transaction](Waker waker) {
      asked->waker = std::move(waker);
      std::function<void()> commit = [asked, run = std::move(transaction)] { asked->written = run(); };
      std::function<void(const std::optional<Error>&)> reply = [asked](const std::optional<Error>& error) {
        asked->answer = error ? Result<T>{*error} : *asked->written;
        asked->waker.wake();
      };
      begin(connection, std::move(commit), std::move(reply));
    };
    co_await suspend(env, std::move(park));
    co_return std::move(asked->answer);
  }

  // A read takes place in the caller's own steps, so that a dead one reads nothing: the way there, which may
  // fail, and the way back, on which what was read grows old.
  Task<> go(Env& env);
  boost::asio::awaitable<void> come_back(Env& env);

  // Every connection breaks: what has not landed will not.
  void disconnect() { ++connection_; }
  std::uint64_t connection() const { return connection_; }

  // The next transaction waits on its way until release(), whatever becomes of who has sent it.
  void hold_next() { holding_ = true; }
  void release();

 private:
  template <class T>
  struct Asked {
    std::optional<Result<T>> written;
    Result<T> answer;
    Waker waker;
  };

  // Each decides on a track of its own.
  enum class Fault : unsigned char {
    trip,
    read,
    unreachable,
    aborted,
    serialization,
    lost_commit,
    late,
    lost_ack,
    damage,
  };
  bool chance(Fault fault, std::uint32_t ppm, const char* name);
  Track track(Fault fault) const;
  Duration delay();
  void later(std::function<void()> work);
  using Reply = std::function<void(const std::optional<Error>&)>;
  void begin(std::uint64_t sent_on, std::function<void()> commit, Reply reply);
  // In a step of the world: does what chance wants, and says what its caller learns of it.
  std::optional<Error> decide(const std::function<void()>& commit);
  void land_late(std::function<void()> commit);

  Choices& choices_;
  Env& world_;
  Counters& counters_;
  std::string name_;
  std::size_t first_track_;
  StoreFaults faults_;
  std::uint64_t connection_ = 0;
  bool holding_ = false;
  std::function<void()> held_;
};

class ViewDatabase {
 public:
  // `history` transactions can be taken back by failover(); 0 costs nothing.
  ViewDatabase(Choices& choices, Env& world, Counters& counters, std::shared_ptr<MemoryViewStorage> storage,
               std::size_t history);

  StoreLink& link() { return link_; }
  const std::shared_ptr<MemoryViewStorage>& storage() const { return storage_; }
  // A pool stands between: who has loaded before a failover commits after it, without noticing.
  void keep_sessions() { sessions_survive_ = true; }

  // Called after every transaction that was committed, late ones too, in the same step.
  using Hook = std::function<void(const Batch& batch, const MemoryViewStorage& after)>;
  void on_commit(Hook hook) { hooks_.push_back(std::move(hook)); }
  // Called after a failover that has taken transactions back.
  void on_failover(std::function<void(const MemoryViewStorage& after)> hook) {
    failover_hooks_.push_back(std::move(hook));
  }

  // A replica takes over that lacks the newest `commits` transactions, or as many as history holds. Gives
  // back how many are lost.
  std::size_t failover(std::size_t commits);

  Result<CommitOutcome> apply(const Batch& batch);

 private:
  Counters& counters_;
  Env& world_;
  bool sessions_survive_ = false;
  StoreLink link_;
  std::shared_ptr<MemoryViewStorage> storage_;
  std::size_t history_;
  // The state before the transactions of `recent_`, in order.
  std::optional<MemoryViewStorage> base_;
  std::deque<Batch> recent_;
  std::vector<Hook> hooks_;
  std::vector<std::function<void(const MemoryViewStorage&)>> failover_hooks_;
};

// A worker commits on the connection on which it has loaded its checkpoint, or not at all: versions are given
// twice by a database that went back, so what was read before says nothing about what is there since.
class FaultyViewStore final : public ViewStore {
 public:
  FaultyViewStore(Env& env, ViewDatabase& database) : env_(env), database_(database) {}

  Task<LoadedCheckpoint> load(Partition partition) override;
  Task<CommitOutcome> commit(Batch batch) override;
  Task<> read(std::function<Status(ViewReader&)> work) override;

 private:
  Env& env_;
  ViewDatabase& database_;
  std::map<Partition, std::uint64_t> sessions_;  // The connection of each partition's worker.
};

class SnapshotDatabase {
 public:
  SnapshotDatabase(Choices& choices, Env& world, Counters& counters,
                   std::shared_ptr<MemorySnapshotStorage> storage, std::size_t history);

  StoreLink& link() { return link_; }
  const std::shared_ptr<MemorySnapshotStorage>& storage() const { return storage_; }

  // What no incarnation does. False: there is nothing to lose or to damage.
  bool lose_snapshot(const StreamId& stream);
  bool damage_snapshot(const StreamId& stream);
  // Snapshots and recovery rows vanish together.
  void lose_all();
  // As ViewDatabase::failover().
  std::size_t failover(std::size_t writes);
  // The next rows that this place puts stay on their way until release().
  void hold_next_put(std::string place);
  const std::vector<SnapshotRow>* held() const { return held_.get(); }  // Null: none came yet.
  const std::string& held_by() const { return hold_from_; }
  void release();

  void put(std::vector<SnapshotRow> rows);
  bool move(RecoveryRow row);

 private:
  // What stood where a write has written; nothing = no row.
  struct Undo {
    std::map<StreamId, std::optional<SnapshotRow>> snapshots;
    std::map<Partition, std::optional<RecoveryRow>> recovery;
  };
  friend class FaultySnapshotStore;
  void remember(Undo undo);
  void take_if_held(const std::string& place, const std::shared_ptr<const std::vector<SnapshotRow>>& rows);

  Counters& counters_;
  Env& world_;
  StoreLink link_;
  std::shared_ptr<MemorySnapshotStorage> storage_;
  std::size_t history_;
  std::deque<Undo> recent_;
  std::string hold_from_;
  std::shared_ptr<const std::vector<SnapshotRow>> held_;
};

class FaultySnapshotStore final : public SnapshotStore {
 public:
  // `place` is who puts, for SnapshotDatabase::hold_next_put().
  FaultySnapshotStore(Env& env, SnapshotDatabase& database, std::string place = {})
      : env_(env), database_(database), place_(std::move(place)), calm_(env, database.storage()) {}

  Task<> put(std::vector<SnapshotRow> rows) override;
  Task<std::optional<SnapshotRow>> get(StreamId stream) override;
  Task<std::optional<RecoveryRow>> recovery(Partition partition) override;
  Task<bool> move_recovery(RecoveryRow row) override;
  Task<std::vector<SnapshotPlace>> list(Partition partition, StreamId after, std::size_t limit) override;
  Task<std::vector<StreamId>> open_turns(Partition partition) override;

 private:
  template <class T>
  Task<T> ask(Task<T> question);

  Env& env_;
  SnapshotDatabase& database_;
  std::string place_;
  MemorySnapshotStore calm_;
};

}  // namespace varve::sim
