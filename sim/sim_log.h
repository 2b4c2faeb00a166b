// SimLog: a Kafka topic behind the EventLog port, in a simulated world.
//
// SimLogStorage is the brokers: it outlives incarnations. An accepted append travels, lands at the
// partition's leader, is replicated, is visible to readers then, and is acknowledged last; each takes time. A
// SimLog is the producer and the consumer in one incarnation. Its producer is idempotent: it sends again what
// it got no answer for, in order and recognised by the leader, until its time-out; what it gives up is
// reported as unknown; with Faults::not_written_ppm it may report as "not written" what never left it. What a
// dead incarnation had sent may land late or never, and nobody of it is called back.
//
// Promises: what is visible never changes or disappears, except by truncate(); one producer's records land in
// order, each once, except by Faults::duplicate_ppm; with Faults::replaced_ppm a SimLog has one producer
// after another, and what the former ones have on the way may land after the records of the latter. append()
// that returns an error never lands.
//
// Never: a choice without a fault that is switched on. All rates at 0 is a calm log with short, equal delays.
// A SimLog ends before its Env does. Thread: the scheduler's.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "eventlog/event_log.h"
#include "sim/counters.h"
#include "sim/scheduler.h"

namespace varve::sim {

class SimLogStorage : public std::enable_shared_from_this<SimLogStorage> {
 public:
  struct Options {
    std::uint32_t partitions = kPartitionsDefault;
    bool sparse = false;                          // Gaps between offsets, as brokers leave them.
    Duration timeout = std::chrono::seconds{10};  // How long a producer tries, by its own clock.
  };
  // Rates in parts per million, per append, arrival, commit or read.
  struct Faults {
    std::uint32_t delay_us = 0;  // Longest extra delay of each request, replication, answer and read.

    std::uint32_t refused_ppm = 0;       // append() itself says no.
    std::uint32_t lost_ppm = 0;          // Never arrives.
    std::uint32_t not_written_ppm = 0;   // Of what is given up and never left the producer.
    std::uint32_t late_ppm = 0;          // Arrives after the time-out.
    std::uint32_t lost_ack_ppm = 0;      // Lands, and nobody is told.
    std::uint32_t duplicate_ppm = 0;     // Lands twice, as without idempotence: the second time at any time.
    std::uint32_t reset_ppm = 0;         // The connection breaks, before or after landing; sent again.
    std::uint32_t few_replicas_ppm = 0;  // The leader refuses for a while (not enough replicas).
    std::uint32_t stall_ppm = 0;         // Nothing is replicated for a while.
    std::uint32_t leader_change_ppm = 0;
    std::uint32_t replaced_ppm = 0;     // After an unknown outcome: the producer is exchanged.
    std::uint32_t orphan_lost_ppm = 0;  // What a dead incarnation has on the way is lost,
    std::uint32_t orphan_late_ppm = 0;  // or lands much later.

    std::uint32_t lag_ppm = 0;         // A reader sees an older end for a while.
    std::uint32_t read_error_ppm = 0;  // Errc::unavailable of read() and end().
    std::uint32_t short_batch_ppm = 0;
  };

  SimLogStorage(Scheduler& scheduler, SimEnv& world, Counters& counters, Options options);
  ~SimLogStorage();
  SimLogStorage(const SimLogStorage&) = delete;
  SimLogStorage& operator=(const SimLogStorage&) = delete;

  void set_faults(const Faults& faults) { faults_ = faults; }
  const Faults& faults() const { return faults_; }
  // No faults from now on, and those that last end. What is late already still comes late.
  void heal();

  // What the nemesis does. An unclean election is truncate(): the only way in which visible records go.
  void change_leader(Partition partition);
  void truncate(Partition partition, Offset end);
  // A record from nowhere, visible at once.
  Offset land(Partition partition, std::string bytes);

  std::uint32_t partitions() const { return static_cast<std::uint32_t>(parts_.size()); }
  // For oracles: what is visible, and where it ends.
  const std::vector<LogRecord>& records(Partition partition) const { return part(partition).records; }
  Offset end(Partition partition) const { return part(partition).end; }
  // Called with every record when it becomes visible, in order.
  void on_visible(std::function<void(Partition, const LogRecord&)> call) { on_visible_ = std::move(call); }

 private:
  friend class SimLog;
  struct Port;
  using Place = std::pair<std::uint64_t, std::uint64_t>;  // A producer and its sequence.
  struct Request {
    Place place;
    std::uint64_t epoch = 0;
    std::shared_ptr<const std::string> bytes;
    bool twice = false;
  };
  // One connection of a producer to a partition's leader: requests arrive in the order of sending.
  struct Pipe {
    std::weak_ptr<Port> port;
    Partition partition;
    std::uint64_t connection = 0;
    std::uint64_t leader = 0;
    bool broken = false;
    bool orphan = false;    // Its fate after the end of its incarnation is decided.
    MonoTime late_until{};  // As an orphan.
    MonoTime last_at{};
    std::deque<Request> requests;
  };
  struct Unreplicated {
    LogRecord record;
    Place place;
    std::shared_ptr<Pipe> pipe;  // Whom to tell.
  };
  struct ProducerState {
    std::uint64_t epoch = 0;
    std::uint64_t last = 0;  // 0: nothing landed.
  };
  struct Part {
    std::vector<LogRecord> records;
    Offset end;   // Of what is visible: the high watermark.
    Offset tail;  // Of what the leader has.
    std::deque<Unreplicated> suffix;
    MonoTime replicated_at{};
    std::map<Place, Offset> landed;
    std::map<std::uint64_t, ProducerState> producers;
    std::uint64_t leader = 1;
    MonoTime electing_until{};
    MonoTime few_replicas_until{};
    MonoTime stalled_until{};
  };

  const Part& part(Partition partition) const;
  Part& part(Partition partition);
  std::vector<std::shared_ptr<Port>> live_ports();
  static std::shared_ptr<Port> live(const std::weak_ptr<Port>& port);

  // What decides on a track of its own.
  enum class On : unsigned char {
    travel,
    replication,
    reading,
    backoff,
    gaps,
    refused,
    lost,
    late,
    lost_ack,
    duplicate,
    not_written,
    replaced,
    orphan_lost,
    orphan_late,
    reset,
    leader,
    few_replicas,
    stall,
    lag,
    read_error,
    short_batch,
    first_lag,
  };
  static Track track(On what) { return {Domain::log, static_cast<std::size_t>(what)}; }
  bool fault(On what, std::uint32_t ppm, const char* counter);
  std::uint64_t spread_us(On what, std::uint64_t longest);
  std::uint64_t choose(On what, std::uint64_t bound);
  // When something that begins now is through, in the world's time.
  MonoTime after(On what, Duration least);
  void at(MonoTime when, std::function<void(SimLogStorage&)> work);
  bool reachable(Partition partition) const;

  std::shared_ptr<Pipe> connect(const std::shared_ptr<Port>& port, Partition partition);
  void send(const std::shared_ptr<Pipe>& pipe, Request request, bool late);
  void arrive(const std::shared_ptr<Pipe>& pipe);
  // False: what a dead producer sent is not there yet, or never will be.
  bool admit_orphan(const std::shared_ptr<Pipe>& pipe);
  void disturb(Partition partition);
  void accept(const std::shared_ptr<Pipe>& pipe, Request request);
  void break_connection(const std::shared_ptr<Pipe>& pipe);
  void acknowledge(const std::shared_ptr<Pipe>& pipe, Place place, Offset offset);

  Offset add_to_suffix(Partition partition, Place place, std::shared_ptr<const std::string> bytes,
                       std::shared_ptr<Pipe> pipe);
  void replicate(Partition partition, std::uint64_t leader);
  void make_visible(Partition partition);
  // Forgets where the records behind `end` came from, so that they may be sent again.
  void forget_from(Part& its_part, Offset end);
  void new_leader(Partition partition, std::size_t lost);
  void wake_readers(Partition partition, Offset old_end);
  // A reader may begin with a view from which the newest records are missing.
  void lag_at_first(Port& port);

  Scheduler& scheduler_;
  SimEnv& world_;
  Counters& counters_;
  Options options_;
  Faults faults_;
  std::vector<Part> parts_;
  std::vector<std::weak_ptr<Port>> ports_;
  std::uint64_t next_producer_ = 1;
  std::uint64_t next_connection_ = 1;
  std::function<void(Partition, const LogRecord&)> on_visible_;
};

class SimLog final : public EventLog {
 public:
  static constexpr std::size_t kRecordsInFlightMax = 8192;
  static constexpr std::size_t kBytesInFlightMax = std::size_t{64} << 20U;

  SimLog(Env& env, std::shared_ptr<SimLogStorage> storage);
  ~SimLog() override;

  std::uint32_t partitions() const override;
  Result<Delivery> append(Partition partition, std::string key, std::string bytes) override;
  Task<ReadBatch> read(Partition partition, Offset from, ReadOptions options) override;
  Task<Offset> end(Partition partition) override;

  // The network between this node and the brokers: while it is cut, nothing is sent, heard or read.
  void cut_off(bool cut);

 private:
  static Task<> travel(std::shared_ptr<SimLogStorage::Port> port);
  static Task<> reach(std::shared_ptr<SimLogStorage::Port> port, Partition partition);

  std::shared_ptr<SimLogStorage::Port> port_;
};

}  // namespace varve::sim
