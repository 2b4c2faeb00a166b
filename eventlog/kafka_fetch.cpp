#include "eventlog/kafka_fetch.h"

#include <librdkafka/rdkafka.h>

#include <algorithm>

namespace varve::kafka {
namespace {

// A position that was read from so recently is waited for rather than taken away, while another is free.
constexpr Duration kWarm = std::chrono::seconds(2);

std::string name_of(Partition partition) {
  return "partition " + std::to_string(partition.value());
}

}  // namespace

Client::Options reader_options(const Connection& connection, std::string id) {
  Client::Options options;
  options.role = Client::Role::reader;
  options.id = std::move(id);
  options.connection = connection;
  options.ours = {{"auto.offset.reset", "error"},
                  {"isolation.level", "read_uncommitted"},
                  {"check.crcs", "true"},
                  {"enable.auto.commit", "false"},
                  {"enable.auto.offset.store", "false"},
                  {"enable.partition.eof", "true"}};
  // A broker answers as soon as it has a byte; how long it may wait for one delays only what a consumer asks
  // for anew on the same connection.
  options.defaults = {{"fetch.wait.max.ms", "10"},
                      {"fetch.error.backoff.ms", "50"},
                      {"queued.min.messages", "20000"},
                      {"queued.max.messages.kbytes", "8192"}};
  return options;
}

Fetch::Fetch(std::shared_ptr<Client> client, rd_kafka_topic_s* topic, Partition partition)
    : client_(std::move(client)), topic_(topic), queue_(client_->new_queue()), partition_(partition) {}

Task<> Fetch::stop(std::shared_ptr<Fetch> self) {
  self->running_ = false;
  if (!self->assigned_) co_return ok();
  std::function<Status(rd_kafka_t*)> work = [topic = self->topic_,
                                             id = self->partition_](rd_kafka_t* /*rk*/) {
    rd_kafka_consume_stop(topic, static_cast<std::int32_t>(id.value()));
    return ok();
  };
  Status stopped = co_await self->client_->call<Unit>(std::move(work));
  if (stopped) self->assigned_ = false;
  co_return stopped;
}

Task<> Fetch::start(std::shared_ptr<Fetch> self, Offset from) {
  Status stopped = co_await stop(self);
  if (!stopped) co_return stopped;
  if (self->client_->closed()) co_return Error{Errc::cancelled, "the log is closed"};
  // What was fetched for the position before must not be taken for what lies at this one.
  while (rd_kafka_event_t* old = rd_kafka_queue_poll(self->queue_, 0)) rd_kafka_event_destroy(old);
  const auto id = static_cast<std::int32_t>(self->partition_.value());
  const auto at = static_cast<std::int64_t>(from.value());
  if (rd_kafka_consume_start_queue(self->topic_, id, at, self->queue_) != 0) {
    co_return error_of(rd_kafka_last_error(), "reading " + name_of(self->partition_));
  }
  self->position_ = from;
  self->assigned_ = true;
  self->running_ = true;
  self->out_of_range_ = false;
  co_return ok();
}

Fetch::Taken Fetch::fail(int code, const std::string& text) {
  running_ = false;
  out_of_range_ =
      code == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || code == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
  failure_ = error_of(code, "reading " + name_of(partition_) + " at " + std::to_string(position_.value()));
  if (!text.empty()) failure_.message += ": " + text;
  // A topic that is not there may only be unknown to a broker that has just started.
  if (failure_.code == Errc::not_found) failure_.code = Errc::unavailable;
  return Taken::failed;
}

Fetch::Taken Fetch::take(std::optional<LogRecord>& record) {
  while (running()) {
    const std::unique_ptr<rd_kafka_event_t, decltype(&rd_kafka_event_destroy)> event(
        rd_kafka_queue_poll(queue_, 0), &rd_kafka_event_destroy);
    if (!event) return Taken::nothing;
    if (rd_kafka_event_type(event.get()) == RD_KAFKA_EVENT_FETCH) {
      const rd_kafka_message_t* message = rd_kafka_event_message_next(event.get());
      if (message == nullptr) continue;
      if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) return fail(message->err, "");
      const Offset offset{static_cast<std::uint64_t>(message->offset)};
      if (offset < position_) continue;
      position_ = next(offset);
      const char* bytes = static_cast<const char*>(message->payload);
      record.emplace(LogRecord{offset, std::make_shared<const std::string>(bytes, bytes + message->len)});
      return Taken::record;
    }
    if (rd_kafka_event_type(event.get()) != RD_KAFKA_EVENT_ERROR) continue;
    const rd_kafka_resp_err_t code = rd_kafka_event_error(event.get());
    if (code != RD_KAFKA_RESP_ERR__PARTITION_EOF) return fail(code, rd_kafka_event_error_string(event.get()));
    const std::unique_ptr<rd_kafka_topic_partition_t, decltype(&rd_kafka_topic_partition_destroy)> place(
        rd_kafka_event_topic_partition(event.get()), &rd_kafka_topic_partition_destroy);
    if (!place || place->offset < 0) continue;
    // Behind records of transactions that others ended here, say: nothing lies before it.
    position_ = std::max(position_, Offset{static_cast<std::uint64_t>(place->offset)});
    return Taken::at_end;
  }
  return Taken::nothing;
}

struct Cursors::Lease {
  Lease(std::shared_ptr<Cursors> its_owner, Choice choice)
      : owner(std::move(its_owner)), consumer(std::move(choice.first)), cursor(choice.second) {
    cursor->busy = true;
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease() {
    cursor->busy = false;
    cursor->used = owner->source_.env.now();
    owner->freed_.notify_all();
  }

  std::shared_ptr<Cursors> owner;
  std::shared_ptr<Consumer> consumer;  // Keeps the cursor, whose place in the map does not move.
  Cursor* cursor;
};

std::shared_ptr<Cursors::Consumer> Cursors::without(Partition partition) const {
  for (const auto& consumer : consumers_) {
    if (!consumer->cursors.contains(partition)) return consumer;
  }
  return nullptr;
}

// Null: all are in use.
Cursors::Choice Cursors::choose(Partition partition, Offset from) {
  Choice oldest;
  for (const auto& consumer : consumers_) {
    const auto found = consumer->cursors.find(partition);
    if (found == consumer->cursors.end() || found->second.busy) continue;
    Cursor& cursor = found->second;
    if (cursor.fetch->running() && cursor.fetch->position() == from) return {consumer, &cursor};
    if (!cursor.fetch->running()) cursor.used = MonoTime{0};  // Nothing is lost by moving it.
    if (oldest.second == nullptr || cursor.used < oldest.second->used) oldest = {consumer, &cursor};
  }
  const MonoTime warm_since{(source_.env.now() - MonoTime{0} - kWarm).count()};
  if (oldest.second != nullptr && oldest.second->used < warm_since) return oldest;
  auto consumer = without(partition);
  if (!consumer && consumers_.size() < kConsumersMax) {
    auto opened = open();
    if (opened) consumer = *opened;
    if (!opened) source_.env.log(LogLevel::error, "a reader cannot be opened: " + opened.error().message);
  }
  if (!consumer) return oldest;
  Cursor& cursor = consumer->cursors[partition];
  cursor.fetch = std::make_shared<Fetch>(consumer->client, consumer->topic, partition);
  return {consumer, &cursor};
}

Result<std::shared_ptr<Cursors::Consumer>> Cursors::open() {
  auto consumer = std::make_shared<Consumer>();
  Client::Options options = source_.options;
  options.id += "-" + std::to_string(++opened_);
  options.on_wake = [weak = std::weak_ptr<Consumer>(consumer)] {
    if (const auto woken = weak.lock()) woken->woken.notify_all();
    return false;
  };
  auto client = Client::open(source_.env, std::move(options));
  if (!client) return client.error();
  Error refused;
  consumer->topic = (*client)->topic(source_.topic, &refused);
  if (consumer->topic == nullptr) {
    (*client)->close();
    return refused;
  }
  consumer->client = std::move(*client);
  consumers_.push_back(consumer);
  source_.env.count("log_consumers_opened");
  return consumer;
}

Task<std::shared_ptr<Cursors::Lease>> Cursors::lease(std::shared_ptr<Cursors> self, Partition partition,
                                                     Offset from, MonoTime deadline) {
  Choice choice = self->closed_ ? Choice{} : self->choose(partition, from);
  while (choice.second == nullptr && !self->closed_ && self->source_.env.now() < deadline) {
    co_await self->freed_.wait(self->source_.env, deadline);
    if (!self->closed_) choice = self->choose(partition, from);
  }
  if (self->closed_) co_return Error{Errc::cancelled, "the log is closed"};
  if (choice.second == nullptr)
    co_return Error{Errc::unavailable, "too many readers are behind the log's end"};
  co_return std::make_shared<Lease>(self, std::move(choice));
}

Task<ReadBatch> Cursors::read(std::shared_ptr<Cursors> self, Partition partition, Offset from,
                              ReadOptions options, Duration limit, std::shared_ptr<bool> out_of_range) {
  const MonoTime deadline = self->source_.env.now() + limit;
  auto mine = co_await lease(self, partition, from, deadline);
  if (!mine) co_return mine.error();
  co_return co_await read_with(*mine, from, options, deadline, out_of_range);
}

Task<ReadBatch> Cursors::read_one(std::shared_ptr<Cursors> self, Partition partition, Offset from,
                                  Duration limit, std::shared_ptr<bool> out_of_range) {
  const MonoTime deadline = self->source_.env.now() + limit;
  auto mine = co_await lease(self, partition, from, deadline);
  if (!mine) co_return mine.error();
  ReadOptions one;
  one.records_max = 1;
  one.bytes_max = 1;
  auto batch = co_await read_with(*mine, from, one, deadline, out_of_range);
  Status stopped = co_await Fetch::stop((*mine)->cursor->fetch);
  ignore_error(stopped, "it is stopped again before it is started");
  co_return batch;
}

Task<ReadBatch> Cursors::read_with(std::shared_ptr<Lease> lease, Offset from, ReadOptions options,
                                   MonoTime deadline, std::shared_ptr<bool> out_of_range) {
  const std::shared_ptr<Cursors> self = lease->owner;
  const std::shared_ptr<Fetch> fetch = lease->cursor->fetch;
  if (!fetch->running() || fetch->position() != from) {
    Status started = co_await Fetch::start(fetch, from);
    if (!started) co_return started.error();
  }
  ReadBatch batch{{}, from};
  std::size_t bytes = 0;
  std::optional<LogRecord> record;
  while (true) {
    Fetch::Taken taken = Fetch::Taken::nothing;
    while (batch.records.empty() ||
           (batch.records.size() < options.records_max && bytes < options.bytes_max)) {
      taken = fetch->take(record);
      if (taken != Fetch::Taken::record) break;
      bytes += record->bytes->size();
      batch.records.push_back(std::move(*record));
    }
    batch.next = fetch->position();
    if (batch.next > from) co_return batch;
    if (taken == Fetch::Taken::failed) {
      *out_of_range = fetch->out_of_range();
      co_return fetch->failure();
    }
    // A report of the end may be older than the records that the caller knows of.
    if (taken == Fetch::Taken::at_end) continue;
    if (self->closed_) co_return Error{Errc::cancelled, "the log is closed"};
    if (self->source_.env.now() >= deadline) {
      co_return Error{Errc::unavailable, name_of(fetch->partition()) + " could not be read in time"};
    }
    // The queue was empty in this step, so whatever comes wakes it.
    co_await lease->consumer->woken.wait(self->source_.env, deadline);
  }
}

Task<> Cursors::rest(std::shared_ptr<Cursors> self, Choice choice) {
  const Lease lease(self, std::move(choice));
  co_return co_await Fetch::stop(lease.cursor->fetch);
}

void Cursors::close_idle() {
  const MonoTime since{(source_.env.now() - MonoTime{0} - kIdle).count()};
  std::erase_if(consumers_, [since](const std::shared_ptr<Consumer>& consumer) {
    for (const auto& [partition, cursor] : consumer->cursors) {
      if (cursor.busy || cursor.used > since) return false;
    }
    consumer->client->close();
    return true;
  });
  for (const auto& consumer : consumers_) {
    for (auto& [partition, cursor] : consumer->cursors) {
      if (cursor.busy || cursor.used > since || !cursor.fetch->running()) continue;
      source_.env.spawn("kafka rest", rest(shared_from_this(), Choice{consumer, &cursor}));
    }
  }
}

void Cursors::close() {
  closed_ = true;
  for (const auto& consumer : consumers_) {
    consumer->client->close();
    consumer->woken.notify_all();
  }
  consumers_.clear();
  freed_.notify_all();
}

}  // namespace varve::kafka
