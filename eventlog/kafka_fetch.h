// Reading positions in partitions of a topic. A Fetch is one position: librdkafka fetches ahead into a queue
// of its own, records are taken out on demand, so a reader that does not read holds back its own fetching and
// nobody else's. Cursors is a bounded set of them for readers behind the log's newest records.
//
// A librdkafka consumer has one position per partition, so two readers of one partition at two places need
// two consumers. Each brings threads and connections: Cursors opens at most kConsumersMax, each serves one
// reader per partition at a time, and a reader that finds none free waits. Where a reader stopped, its
// position stays and goes on being fetched ahead, so reading on costs no new request.
//
// Thread: the Env's. Never: a position that moves by itself. What librdkafka says about a position that is
// not there is an error.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "eventlog/event_log.h"
#include "eventlog/kafka_client.h"

namespace varve::kafka {

class Fetch {
 public:
  enum class Taken : unsigned char {
    record,
    at_end,   // position() has moved to the end of the log, if it was not there.
    nothing,  // Not now: wait for the client's wake-up.
    failed,   // failure() says why; it has to be started again.
  };

  Fetch(std::shared_ptr<Client> client, rd_kafka_topic_s* topic, Partition partition);

  // Begins at `from`, wherever it was before.
  static Task<> start(std::shared_ptr<Fetch> self, Offset from);
  static Task<> stop(std::shared_ptr<Fetch> self);

  bool running() const { return running_ && !client_->closed(); }
  // The next record lies here or behind.
  Offset position() const { return position_; }
  Partition partition() const { return partition_; }
  // Never waits. `record` is set for Taken::record.
  Taken take(std::optional<LogRecord>& record);

  const Error& failure() const { return failure_; }
  // The failure says that the broker has no such offset.
  bool out_of_range() const { return out_of_range_; }

 private:
  Taken fail(int code, const std::string& text);

  std::shared_ptr<Client> client_;
  rd_kafka_topic_s* topic_;
  rd_kafka_queue_s* queue_;
  Partition partition_;
  Offset position_;
  bool assigned_ = false;  // librdkafka knows of it, so it has to be stopped before it is started.
  bool running_ = false;
  Error failure_;
  bool out_of_range_ = false;
};

// Where the reading clients come from.
struct ReaderSource {
  RealEnv& env;
  std::string topic;
  Client::Options options;  // on_event and on_wake are set by whoever opens one.
};
Client::Options reader_options(const Connection& connection, std::string id);

class Cursors : public std::enable_shared_from_this<Cursors> {
 public:
  static constexpr std::size_t kConsumersMax = 4;
  static constexpr Duration kIdle = std::chrono::seconds(10);

  explicit Cursors(ReaderSource source) : source_(std::move(source)) {}

  // What lies at `from` or behind it, at least one record or a `next` behind `from` (there was nothing in
  // between). Errc::unavailable: not within `limit`. *out_of_range: the broker has no such offset.
  static Task<ReadBatch> read(std::shared_ptr<Cursors> self, Partition partition, Offset from,
                              ReadOptions options, Duration limit, std::shared_ptr<bool> out_of_range);
  // The first record there, without reading on.
  static Task<ReadBatch> read_one(std::shared_ptr<Cursors> self, Partition partition, Offset from,
                                  Duration limit, std::shared_ptr<bool> out_of_range);
  // Stops positions that nobody has read from for kIdle, closes consumers that have no others.
  void close_idle();
  void close();
  std::size_t consumers() const { return consumers_.size(); }

 private:
  struct Cursor {
    std::shared_ptr<Fetch> fetch;
    bool busy = false;
    MonoTime used;
  };
  struct Consumer {
    std::shared_ptr<Client> client;
    rd_kafka_topic_s* topic = nullptr;
    Notifier woken;
    std::map<Partition, Cursor> cursors;
  };
  struct Lease;  // One reader's, for one read.
  using Choice = std::pair<std::shared_ptr<Consumer>, Cursor*>;

  static Task<ReadBatch> read_with(std::shared_ptr<Lease> lease, Offset from, ReadOptions options,
                                   MonoTime deadline, std::shared_ptr<bool> out_of_range);
  static Task<std::shared_ptr<Lease>> lease(std::shared_ptr<Cursors> self, Partition partition, Offset from,
                                            MonoTime deadline);
  static Task<> rest(std::shared_ptr<Cursors> self, Choice choice);
  Choice choose(Partition partition, Offset from);
  std::shared_ptr<Consumer> without(Partition partition) const;
  Result<std::shared_ptr<Consumer>> open();

  ReaderSource source_;
  std::vector<std::shared_ptr<Consumer>> consumers_;
  std::uint64_t opened_ = 0;
  Notifier freed_;
  bool closed_ = false;
};

}  // namespace varve::kafka
