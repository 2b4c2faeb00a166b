// Producer: hands records to the brokers, idempotent, acks=all. One per node and at most one at a time.
//
// What is produced in one go of the Env's thread goes to librdkafka together, right behind it: so it travels
// in as few requests as can be, and nobody waits for company. Each request costs its broker, both ends of the
// connection and whoever reads it back as much as a dozen records.
//
// Outcomes: what produce() or librdkafka refuses was not written. Everything else ends as written or as
// unknown: a failed delivery report does not say that the record will never land. After the first unknown the
// producer is finished: whatever is in flight becomes unknown with it, nothing more is taken, and the log
// opens another one. Records of the finished one may still land, also behind records of the next one: the
// owners of their partitions were told unknown, so they claim again, and what lands behind the claim is
// fenced.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "eventlog/event_log.h"
#include "eventlog/kafka_client.h"

namespace varve::kafka {

class Producer : public std::enable_shared_from_this<Producer> {
 public:
  static constexpr std::size_t kRecordsInFlightMax = 8192;
  static constexpr std::size_t kBytesInFlightMax = std::size_t{64} << 20U;

  struct Options {
    Connection connection;
    std::string id;
    std::string topic;
  };
  static Result<std::shared_ptr<Producer>> open(RealEnv& env, Options options);

  // Errc::resource_exhausted or Errc::unavailable: not written.
  Result<Delivery> produce(Partition partition, std::string key, std::string bytes);
  bool finished() const { return finished_; }
  std::size_t records_in_flight() const { return records_; }
  std::size_t bytes_in_flight() const { return bytes_; }
  // Everything in flight becomes unknown.
  void finish(const std::string& why);

  explicit Producer(RealEnv& env) : env_(env) {}

 private:
  struct Slot {  // One record in flight; its address travels with it.
    Delivery delivery;
    std::size_t bytes = 0;
  };
  struct Waiting {  // To be handed over.
    Slot* slot = nullptr;
    Partition partition;
    std::string key;
    std::string bytes;
  };
  void hand_over();
  Status hand_over(Waiting& record);
  void take(rd_kafka_op_s& event);
  void take_reports(rd_kafka_op_s& event);
  Slot release(Slot* slot);

  RealEnv& env_;
  std::shared_ptr<Client> client_;
  rd_kafka_topic_s* topic_ = nullptr;
  std::deque<Slot> slots_;
  std::vector<Slot*> free_;
  std::vector<Waiting> waiting_;
  std::size_t records_ = 0;
  std::size_t bytes_ = 0;
  bool finished_ = false;
};

}  // namespace varve::kafka
