// What a SimLog shares with the brokers: its producer's appends, and how far its reader sees. Internal to
// sim/sim_log.cpp and sim/sim_log_port.cpp.
//
// Promises: everything here but the constructor and cut_off() runs in steps of the port's own Env, so that a
// paused incarnation neither retries nor times out, and a dead one does nothing.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <vector>

#include "runtime/env.h"
#include "sim/sim_log.h"

namespace varve::sim {

struct SimLogStorage::Port : std::enable_shared_from_this<Port> {
  enum class Fate : unsigned char { normal, lost, late, lost_ack, twice };
  struct Pending {
    std::shared_ptr<const std::string> bytes;
    Delivery delivery;
    MonoTime deadline;
    Fate fate = Fate::normal;
    bool sent = false;  // At some time: then it may land.
  };
  // One partition.
  struct Lane {
    std::map<std::uint64_t, Pending> pending;  // By sequence: sent in this order.
    std::set<std::uint64_t> given_up;          // Reported as unknown, by the present producer.
    std::uint64_t next_sequence = 1;
    std::uint64_t epoch = 0;  // Raised when something is given up: what was sent before is refused then.
    std::shared_ptr<Pipe> pipe;
    std::uint64_t sent = 0;  // The last sequence that was sent through the pipe.
    bool backing_off = false;
    Notifier grown;
    Offset lag_end;
    MonoTime lag_until{};  // By the world's clock.
  };

  Port(Env& its_env, std::shared_ptr<SimLogStorage> its_storage);

  // A step of this incarnation, unless the port is gone by then.
  void post(std::function<void(Port&)> step);

  Result<Delivery> append(Partition partition, std::string bytes);
  void send_more(Partition partition);
  void acked(Partition partition, std::uint64_t connection, std::uint64_t sequence, Offset offset);
  void on_reset(Partition partition, std::uint64_t connection);
  // Sends everything again that has no answer.
  void reconnect(Partition partition);
  void on_heal();
  // Where this reader sees the end.
  Offset view(Partition partition) const;

  Lane& lane(Partition partition) { return lanes[partition.value()]; }
  const Lane& lane(Partition partition) const { return lanes[partition.value()]; }

  Env& env;
  std::shared_ptr<SimLogStorage> storage;
  std::uint64_t producer;
  std::vector<Lane> lanes;
  std::size_t records_in_flight = 0;
  std::size_t bytes_in_flight = 0;
  bool cut = false;
  bool closed = false;

 private:
  Fate draw_fate();
  void finish(Lane& its_lane, std::map<std::uint64_t, Pending>::iterator record, Result<Offset> outcome);
  void give_up(Partition partition, std::map<std::uint64_t, Pending>::iterator record);
  void arm();
  void expire();
  void replace_producer();

  bool armed_ = false;
};

}  // namespace varve::sim
