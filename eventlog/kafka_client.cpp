#include "eventlog/kafka_client.h"

#include <librdkafka/rdkafka.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <cstring>

namespace varve::kafka {
namespace {

namespace asio = boost::asio;

constexpr int kEventsPerStep = 256;
constexpr std::size_t kErrorText = 512;

struct OursAlone {
  const char* name;
  const char* why;
};

// What an operator must not set: the log's promises rest on these, or they have a setting of their own.
constexpr std::array kOursAlone = {
    OursAlone{"bootstrap.servers", "the brokers have a setting of their own"},
    OursAlone{"metadata.broker.list", "the brokers have a setting of their own"},
    OursAlone{"client.id", "it says which part of Varve a connection belongs to"},
    OursAlone{"client.rack", "records are read from the leader, which alone knows the log's end"},
    OursAlone{"enable.idempotence", "without it appends could change their order"},
    OursAlone{"acks", "a record counts once every in-sync replica has it"},
    OursAlone{"request.required.acks", "a record counts once every in-sync replica has it"},
    OursAlone{"max.in.flight", "appends must keep their order"},
    OursAlone{"max.in.flight.requests.per.connection", "appends must keep their order"},
    OursAlone{"transactional.id", "fencing is by admission, not by transactions"},
    OursAlone{"enable.gapless.guarantee", "a failed append is dealt with by a new producer"},
    OursAlone{"message.timeout.ms", "every append ends in an outcome within 15 s"},
    OursAlone{"delivery.timeout.ms", "every append ends in an outcome within 15 s"},
    OursAlone{"message.max.bytes", "a record may have 10 MiB"},
    OursAlone{"delivery.report.only.error", "every append has an outcome"},
    OursAlone{"queuing.strategy", "appends must keep their order"},
    OursAlone{"auto.offset.reset", "a reader never jumps: what is not there is named"},
    OursAlone{"isolation.level", "every record is read; admission decides which ones count"},
    OursAlone{"check.crcs", "a damaged record must be noticed"},
    OursAlone{"enable.auto.commit", "an offset is committed as a proof of assignment, and only then"},
    OursAlone{"auto.commit.enable", "an offset is committed as a proof of assignment, and only then"},
    OursAlone{"enable.auto.offset.store", "an offset is committed as a proof of assignment, and only then"},
    OursAlone{"auto.commit.interval.ms", "an offset is committed as a proof of assignment, and only then"},
    OursAlone{"enable.partition.eof", "a reader must know when it has come to the end"},
    OursAlone{"allow.auto.create.topics", "a topic made by itself would have the broker's retention"},
    OursAlone{"group.id", "the group is named after the cluster"},
    OursAlone{"partition.assignment.strategy", "partitions move one by one (cooperative-sticky)"},
    OursAlone{"plugin.library.paths", "it would run foreign code"},
    OursAlone{"interceptors", "it would run foreign code"},
    OursAlone{"enabled_events", "events are taken by Varve"},
    OursAlone{"log.queue", "log lines go through Varve's log"},
};

struct FreeConf {
  void operator()(rd_kafka_conf_t* conf) const { rd_kafka_conf_destroy(conf); }
};
using Conf = std::unique_ptr<rd_kafka_conf_t, FreeConf>;

Status set(rd_kafka_conf_t* conf, const std::string& name, const std::string& value) {
  std::array<char, kErrorText> text{};
  switch (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), text.data(), text.size())) {
    case RD_KAFKA_CONF_OK:
      return ok();
    case RD_KAFKA_CONF_UNKNOWN:
      return Error{Errc::invalid_argument, "kafka." + name + " is no setting of librdkafka " +
                                               rd_kafka_version_str() + " as it is built here"};
    case RD_KAFKA_CONF_INVALID:
      break;
  }
  return Error{Errc::invalid_argument, "kafka." + name + ": " + text.data()};
}

Status set_all(rd_kafka_conf_t* conf, const Properties& properties) {
  for (const auto& [name, value] : properties) {
    if (Status done = set(conf, name, value); !done) return done;
  }
  return ok();
}

LogLevel level_of(int syslog_level) {
  constexpr int kWarning = 4;
  constexpr int kInfo = 6;
  // What librdkafka calls an error is a broker that is away: it goes on trying, and so do we.
  if (syslog_level <= kWarning) return LogLevel::warning;
  return syslog_level <= kInfo ? LogLevel::info : LogLevel::debug;
}

Errc code_of(rd_kafka_resp_err_t code) {
  switch (code) {
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
      return Errc::corrupt;
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
    case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
    case RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST:
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS:
      return Errc::conflict;
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
      return Errc::not_found;
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
      return Errc::resource_exhausted;
    case RD_KAFKA_RESP_ERR__DESTROY:
    case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
      return Errc::cancelled;
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
    case RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
      return Errc::invalid_argument;
    default:
      return Errc::unavailable;
  }
}

}  // namespace

// Destroyed where the last reference falls, which is a lane: rd_kafka_destroy() joins threads.
struct Handle {
  Handle() = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (leaving) finish_leaving();
    for (rd_kafka_topic_t* topic : topics) rd_kafka_topic_destroy(topic);
    for (rd_kafka_queue_t* each : queues) {
      rd_kafka_queue_io_event_enable(each, -1, nullptr, 0);
      rd_kafka_queue_destroy(each);
    }
    if (rk != nullptr) rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    if (wake_fd >= 0) ::close(wake_fd);
  }
  void watch(rd_kafka_queue_t* queue) {
    static constexpr std::uint64_t kOne = 1;
    queues.push_back(queue);
    rd_kafka_queue_io_event_enable(queue, wake_fd, &kOne, sizeof(kOne));
  }

  // What rd_kafka_consumer_close() does, with an end. librdkafka 2.0.2 waits for ever in rd_kafka_destroy()
  // for two things that a member which leaves lacks by then: the answer to its last rebalance (the second
  // rd_kafka_cgrp_terminate0() does nothing), and that to its LeaveGroup, if destroying begins before it is
  // sent (rd_kafka_cgrp_handle_LeaveGroup() overlooks _DESTROY). Without a broker it is given up after 5 s.
  void finish_leaving() {
    constexpr int kPollMs = 100;
    constexpr int kPollsMax = 100;  // Twice the LeaveGroup's own time.
    rd_kafka_assign(rk, nullptr);
    for (int i = 0; i < kPollsMax && rd_kafka_consumer_closed(rk) == 0; ++i) {
      rd_kafka_event_t* event = rd_kafka_queue_poll(queues.front(), kPollMs);
      if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE) rd_kafka_assign(rk, nullptr);
      if (event != nullptr) rd_kafka_event_destroy(event);
    }
  }

  rd_kafka_t* rk = nullptr;
  bool leaving = false;
  int wake_fd = -1;
  std::vector<rd_kafka_queue_t*> queues;  // The event queue first.
  std::vector<rd_kafka_topic_t*> topics;
};

struct Client::Watch {
  Watch(asio::io_context& io, int fd) : descriptor(io, fd) {}

  // Before events are taken: one that comes later makes it readable again.
  void reset() {
    std::uint64_t wakes = 0;
    while (::read(descriptor.native_handle(), &wakes, sizeof(wakes)) < 0 && errno == EINTR) {
    }
  }

  asio::posix::stream_descriptor descriptor;
};

Status check_properties(const Properties& properties) {
  for (const auto& [name, value] : properties) {
    for (const OursAlone& ours : kOursAlone) {
      if (name == ours.name) {
        return Error{Errc::invalid_argument, "kafka." + name + " cannot be set: " + ours.why};
      }
    }
    if (name.ends_with("_cb") || name == "opaque" || name == "default_topic_conf") {
      return Error{Errc::invalid_argument, "kafka." + name + " cannot be set: it is for programs"};
    }
  }
  const Conf conf(rd_kafka_conf_new());
  return set_all(conf.get(), properties);
}

Error error_of(int code, std::string_view doing) {
  const auto err = static_cast<rd_kafka_resp_err_t>(code);
  std::string message(doing);
  message.append(": ").append(rd_kafka_err2str(err)).append(" (").append(rd_kafka_err2name(err)).append(")");
  return Error{code_of(err), std::move(message)};
}

Result<std::shared_ptr<Client>> Client::open(RealEnv& env, Options options) {
  if (Status checked = check_properties(options.connection.properties); !checked) return checked.error();
  Conf conf(rd_kafka_conf_new());
  Properties defaults{{"socket.nagle.disable", "true"},
                      {"socket.keepalive.enable", "true"},
                      {"reconnect.backoff.ms", "50"},
                      {"reconnect.backoff.max.ms", "1000"}};
  for (const auto& [name, value] : options.defaults) defaults[name] = value;
  Properties ours = options.ours;
  ours["bootstrap.servers"] = options.connection.brokers;
  ours["client.id"] = options.id;
  ours["log.queue"] = "true";
  const std::array<const Properties*, 3> in_order{&defaults, &options.connection.properties, &ours};
  for (const Properties* each : in_order) {
    if (Status done = set_all(conf.get(), *each); !done) return done.error();
  }
  rd_kafka_conf_set_events(conf.get(), options.events | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG);

  auto handle = std::make_shared<Handle>();
  handle->wake_fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  const int watched = handle->wake_fd < 0 ? -1 : ::dup(handle->wake_fd);
  if (watched < 0) {
    return Error{Errc::resource_exhausted,
                 std::string("no descriptor for a Kafka client: ") + std::strerror(errno)};
  }
  const rd_kafka_type_t type = options.role == Role::producer ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER;
  std::array<char, kErrorText> text{};
  handle->rk = rd_kafka_new(type, conf.get(), text.data(), text.size());
  if (handle->rk == nullptr) {
    ::close(watched);
    return Error{Errc::invalid_argument,
                 "the Kafka settings do not fit together: " + std::string(text.data())};
  }
  static_cast<void>(conf.release());  // rd_kafka_new() took it.
  if (options.role == Role::member) rd_kafka_poll_set_consumer(handle->rk);
  rd_kafka_queue_t* queue = options.role == Role::member ? rd_kafka_queue_get_consumer(handle->rk)
                                                         : rd_kafka_queue_get_main(handle->rk);
  handle->watch(queue);
  rd_kafka_set_log_queue(handle->rk, queue);

  auto client = std::make_shared<Client>(env, std::move(options), std::move(handle));
  client->watch_ = std::make_unique<Watch>(env.io_context(), watched);
  env.spawn("kafka events", pump(client));
  return client;
}

Client::Client(RealEnv& env, Options options, std::shared_ptr<Handle> handle)
    : env_(env), options_(std::move(options)), handle_(std::move(handle)) {}

Client::~Client() {
  close();
}

rd_kafka_s* Client::get() const {
  return handle_ && !closed_ ? handle_->rk : nullptr;
}

rd_kafka_queue_s* Client::queue() const {
  return handle_ && !closed_ ? handle_->queues.front() : nullptr;
}

rd_kafka_queue_s* Client::new_queue() {
  CHECK(handle_ && !closed_);
  rd_kafka_queue_t* queue = rd_kafka_queue_new(handle_->rk);
  handle_->watch(queue);
  return queue;
}

rd_kafka_topic_s* Client::topic(const std::string& name, Error* error) {
  CHECK(handle_ && !closed_);
  rd_kafka_topic_t* topic = rd_kafka_topic_new(handle_->rk, name.c_str(), nullptr);
  if (topic == nullptr) {
    *error = error_of(rd_kafka_last_error(), "the topic '" + name + "'");
    return nullptr;
  }
  handle_->topics.push_back(topic);
  return topic;
}

Status Client::leave_group() {
  CHECK(handle_ && !closed_ && options_.role == Role::member);
  handle_->leaving = true;
  rd_kafka_error_t* error = rd_kafka_consumer_close_queue(handle_->rk, handle_->queues.front());
  if (error == nullptr) return ok();
  Error made = error_of(rd_kafka_error_code(error), "leaving the group");
  rd_kafka_error_destroy(error);
  return made;
}

std::shared_ptr<rd_kafka_s> Client::share() const {
  if (!handle_ || closed_) return nullptr;
  return {handle_, handle_->rk};
}

Task<> Client::pump(std::shared_ptr<Client> self) {
  while (!self->closed_) {
    if (self->drain()) {
      co_await yield(self->env_);
      continue;
    }
    if (self->closed_) break;
    std::function<void(Waker)> park = [watch = self->watch_.get()](Waker waker) {
      watch->descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                                   [waker](const boost::system::error_code& /*error*/) { waker.wake(); });
    };
    co_await suspend(self->env_, std::move(park));
  }
  co_return ok();
}

// True if there is more to do.
bool Client::drain() {
  watch_->reset();
  bool more = false;
  draining_ = true;
  {
    const std::shared_ptr<Handle> handle = handle_;
    for (int taken = 0; !closed_; ++taken) {
      more = taken == kEventsPerStep;
      if (more) break;
      rd_kafka_event_t* event = rd_kafka_queue_poll(handle->queues.front(), 0);
      if (event == nullptr) break;
      take(*event);
    }
    if (!closed_ && options_.on_wake && options_.on_wake()) more = true;
  }
  draining_ = false;
  if (closed_) release();
  return more && !closed_;
}

void Client::take(rd_kafka_op_s& event) {
  if (rd_kafka_event_type(&event) == RD_KAFKA_EVENT_LOG) {
    log_line(event);
  } else if (options_.on_event) {
    options_.on_event(event);
  }
  rd_kafka_event_destroy(&event);
}

void Client::log_line(rd_kafka_op_s& event) {
  const char* facility = nullptr;
  const char* text = nullptr;
  int level = 0;
  if (rd_kafka_event_log(&event, &facility, &text, &level) != 0) return;
  // An operator's settings are given to every client, also those that concern the others.
  constexpr int kDebug = 7;
  if (std::string_view(text).find("will be ignored by this") != std::string_view::npos) level = kDebug;
  env_.log(level_of(level), options_.id + ": " + facility + ": " + text);
}

void Client::close() {
  if (closed_) return;
  closed_ = true;
  if (watch_) {
    boost::system::error_code ignored;
    watch_->descriptor.cancel(ignored);
  }
  if (!draining_) release();
}

void Client::release() {
  if (!handle_) return;
  env_.offload(
      Lane::log, [handle = std::move(handle_)]() mutable { handle.reset(); }, [] {});
}

}  // namespace varve::kafka
