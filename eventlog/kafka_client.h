// What every Kafka client of ours shares: its settings, its errors, its log lines and its event loop.
//
// Threads: librdkafka has threads of its own, and we have none. Whatever it has to say (delivery reports,
// records, rebalances, errors, log lines) it puts into an event queue, and makes an eventfd readable. The
// Env's io_context watches that descriptor, and a task on the Env's thread takes the events out, never
// waiting for one, a bounded number per step. So no callback of ours ever runs on a thread of librdkafka's,
// and this needs no lock and no atomic: what crosses is librdkafka's queue and one descriptor. Calls that
// block run on Lane::log; they share the handle and nothing else.
//
// Promises: an operator's setting that would break a promise of the log is refused by its name. A handle is
// destroyed on a lane, after everything that uses it has let go. Never: a wait on the Env's thread.
//
// librdkafka's own types are named by their tags here: heavy headers stay in .cpp files.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/real_env.h"
#include "runtime/sync.h"

struct rd_kafka_s;        // rd_kafka_t
struct rd_kafka_conf_s;   // rd_kafka_conf_t
struct rd_kafka_op_s;     // rd_kafka_event_t
struct rd_kafka_queue_s;  // rd_kafka_queue_t
struct rd_kafka_topic_s;  // rd_kafka_topic_t

namespace varve::kafka {

// librdkafka's names and values.
using Properties = std::map<std::string, std::string>;

// Where the brokers are and how they are spoken to.
struct Connection {
  std::string brokers;  // "host:port", several with commas between them.
  // What the operator has set as kafka.<name>: security.protocol, sasl.*, ssl.*, socket.* and so on.
  Properties properties;
};

// Errc::invalid_argument names the setting that is unknown, has a bad value, or would break a promise.
Status check_properties(const Properties& properties);

// `code` is an rd_kafka_resp_err_t; `doing` begins the sentence: "<doing>: <librdkafka's words> (<NAME>)".
// unavailable: try again (no broker, no leader, timed out, not permitted now). corrupt: offset out of range,
// failed checksum. conflict: the group has moved on, or the topic exists. not_found: no such topic or
// partition. resource_exhausted: too large, queue full. cancelled: closed or purged.
Error error_of(int code, std::string_view doing);

struct Handle;  // The rd_kafka_t with what must go before it. Internal.

class Client : public std::enable_shared_from_this<Client> {
 public:
  enum class Role : unsigned char {
    producer,
    reader,  // rd_kafka_consume_start_queue() on queues of new_queue(); also good for admin calls.
    member,  // rd_kafka_subscribe(): everything arrives in the consumer queue.
  };
  struct Options {
    Role role = Role::reader;
    std::string id;  // client.id, and what log lines begin with.
    Connection connection;
    Properties ours;      // Set after the operator's: what a promise rests on.
    Properties defaults;  // Set before the operator's: what suits us.
    int events = 0;       // RD_KAFKA_EVENT_..., besides errors and log lines, which are always on.
    // Gets every event but log lines; it is destroyed by the caller afterwards. May close() the client.
    std::function<void(rd_kafka_op_s&)> on_event;
    // After a wake-up, when the main queue has been drained as far as a step may: for the owners of other
    // queues. True: there is more to do, call again in the next step. May be null.
    std::function<bool()> on_wake;
  };

  // Does not block and does not need a broker: settings alone can be wrong. Starts the event loop.
  static Result<std::shared_ptr<Client>> open(RealEnv& env, Options options);

  Client(RealEnv& env, Options options, std::shared_ptr<Handle> handle);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Null after close().
  rd_kafka_s* get() const;
  // The event queue: the main one, of a member the consumer's.
  rd_kafka_queue_s* queue() const;
  // A further queue that wakes the same event loop; it is taken from by its owner, see on_wake. It lives as
  // long as the handle.
  rd_kafka_queue_s* new_queue();
  // A topic object that lives as long as the handle. Null, and *error is set, if librdkafka refuses.
  rd_kafka_topic_s* topic(const std::string& name, Error* error);
  // A member begins to leave its group: a rebalance takes everything back, and events come as before. The
  // handle ends only when the group is left, or after 10 s without a broker that answers.
  Status leave_group();
  RealEnv& env() const { return env_; }
  const Connection& connection() const { return options_.connection; }
  bool closed() const { return closed_; }

  // Runs a call that blocks, on Lane::log. The handle lives until it has ended; Errc::cancelled if it is
  // closed already.
  template <class T>
  Task<T> call(std::function<Result<T>(rd_kafka_s*)> work) {
    auto handle = std::make_shared<std::shared_ptr<rd_kafka_s>>(share());
    if (!*handle) co_return Error{Errc::cancelled, "the Kafka client is closed"};
    std::function<Result<T>()> job = [handle, moved = std::move(work)] {
      const std::shared_ptr<rd_kafka_s> its_own = std::move(*handle);  // The last one may fall here.
      return moved(its_own.get());
    };
    co_return co_await offload<T>(env_, Lane::log, std::move(job));
  }

  // Logs an event or hands it to on_event, and destroys it: for who polls queue() at start-up, before the Env
  // runs.
  void take(rd_kafka_op_s& event);

  // No more events from now on; the handle is destroyed on a lane. Messages in flight are dropped without a
  // report. Idempotent. A member that wants to leave its group does so before.
  void close();

 private:
  static Task<> pump(std::shared_ptr<Client> self);
  std::shared_ptr<rd_kafka_s> share() const;
  bool drain();
  void log_line(rd_kafka_op_s& event);
  void release();

  RealEnv& env_;
  Options options_;
  std::shared_ptr<Handle> handle_;  // Null: released.
  struct Watch;                     // The descriptor in the Env's io_context.
  std::unique_ptr<Watch> watch_;
  bool closed_ = false;
  bool draining_ = false;
};

}  // namespace varve::kafka
