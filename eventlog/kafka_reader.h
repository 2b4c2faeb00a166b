// Reader: everything that is read from the topic: the followed ends with their tails, readers behind them,
// the ends, and the check that the topic is the one it was. Why it is built so: kafka_event_log.h.
//
// Functions are static and take the object by a shared pointer: a task may live longer than the log. Thread:
// the Env's.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "eventlog/event_log.h"
#include "eventlog/kafka_client.h"
#include "eventlog/kafka_fetch.h"
#include "eventlog/kafka_tail.h"
#include "eventlog/kafka_topic.h"

namespace varve::kafka {

class Reader : public std::enable_shared_from_this<Reader> {
 public:
  struct Options {
    Connection connection;
    std::string id;
    TopicSpec topic;
    Duration open_time{};
  };
  // The newest records of each partition that stay in memory, at most, and of all together.
  static constexpr std::size_t kTailRecordsMax = 4096;
  static constexpr std::size_t kTailBytesMax = std::size_t{16} << 20U;
  static constexpr std::size_t kTailBytesTogether = std::size_t{256} << 20U;
  // A partition that nobody has read for so long is not followed any more.
  static constexpr Duration kFollowIdle = std::chrono::seconds(60);
  static constexpr Duration kIdentityCheck = std::chrono::seconds(2);

  // Blocks: makes and checks the topic.
  static Result<std::shared_ptr<Reader>> open(RealEnv& env, Options options);

  // As of EventLog; the partition exists.
  static Task<ReadBatch> read(std::shared_ptr<Reader> self, Partition partition, Offset from,
                              ReadOptions options);
  static Task<Offset> end(std::shared_ptr<Reader> self, Partition partition);

  // Set for good once the topic has been found to be another one.
  const std::optional<Error>& exchanged() const { return exchanged_; }
  void close();

  Reader(RealEnv& env, Options options);

 private:
  enum class Follow : unsigned char { off, changing, on };
  struct State {  // Of one partition.
    explicit State(std::size_t tail_bytes) : tail(kTailRecordsMax, tail_bytes) {}

    std::shared_ptr<Fetch> fetch;
    Tail tail;
    bool placed = false;  // The tail stands for a place of the log.
    Follow follow = Follow::off;
    std::optional<Error> failure;  // Of the newest follow; told to one reader, then it is tried again.
    Notifier changed;
    Offset known_end;  // At least here: read or asked for.
    std::size_t readers = 0;
    MonoTime read_at;
    Mark anchor;  // A record that was read before: nothing else lies at its place, or this is another topic.
    bool grown_since_check = false;
  };
  class CountReader;
  // Who asks for ends while a question is under way shares the next one: an answer that is under way may be
  // older than the question.
  struct EndQuestion {
    std::vector<Partition> partitions;
    OneShot<std::shared_ptr<const Ends>> answer;
  };

  Status start();
  State& state_of(Partition partition) { return states_[partition.value()]; }
  std::optional<Error> unreadable() const;

  static Task<> follow(std::shared_ptr<Reader> self, Partition partition);
  static Task<Offset> place_of_tail(std::shared_ptr<Reader> self, Partition partition);
  static Task<> leave(std::shared_ptr<Reader> self, Partition partition);
  bool take_records();
  bool take_records(State& state);

  static Task<> wait_for_more(std::shared_ptr<Reader> self, Partition partition, Offset from,
                              ReadOptions options);
  static Task<ReadBatch> read_behind(std::shared_ptr<Reader> self, Partition partition, Offset from,
                                     ReadOptions options);
  static Task<> answer_ends(std::shared_ptr<Reader> self);
  static Task<Watermarks> watermarks(std::shared_ptr<Reader> self, Partition partition);
  static Task<Watermarks> around(std::shared_ptr<Reader> self, Partition partition, Offset place);

  static Task<> keep_house(std::shared_ptr<Reader> self);
  static Task<> check_identity(std::shared_ptr<Reader> self, Partition partition);

  RealEnv& env_;
  Options options_;
  std::shared_ptr<Client> follower_;  // Follows the ends, and is asked for them.
  rd_kafka_topic_s* topic_ = nullptr;
  std::shared_ptr<Cursors> cursors_;
  std::deque<State> states_;
  std::shared_ptr<EndQuestion> question_;  // Waits for its turn.
  bool answering_ = false;
  std::optional<Error> exchanged_;
  bool closed_ = false;
  Notifier closing_;
};

}  // namespace varve::kafka
