#include "eventlog/kafka_event_log.h"

#include "eventlog/kafka_producer.h"
#include "eventlog/kafka_reader.h"
#include "eventlog/record.h"

namespace varve {

using kafka::Producer;
using kafka::Reader;

// Shared with the tasks, so that the log may be destroyed while they exist.
struct KafkaEventLog::Impl {
  Impl(RealEnv& its_env, Options its_options) : env(its_env), options(std::move(its_options)) {}

  Result<std::shared_ptr<Producer>> writer();
  std::optional<Error> no_such(Partition partition) const;

  RealEnv& env;
  Options options;
  std::shared_ptr<Reader> reader;
  std::shared_ptr<Producer> producer;  // Null or finished: the next append opens one.
  std::uint64_t producers_opened = 0;
};

Result<std::shared_ptr<Producer>> KafkaEventLog::Impl::writer() {
  if (producer && !producer->finished()) return producer;
  producer = nullptr;
  const std::string id = options.client_id + "-writer-" + std::to_string(++producers_opened);
  auto opened = Producer::open(env, {options.connection, id, options.topic});
  if (opened) producer = *opened;
  return opened;
}

std::optional<Error> KafkaEventLog::Impl::no_such(Partition partition) const {
  if (partition.value() < options.partitions) return std::nullopt;
  return Error{Errc::invalid_argument, "the log has partitions 0 to " +
                                           std::to_string(options.partitions - 1) + ", not " +
                                           std::to_string(partition.value())};
}

KafkaEventLog::KafkaEventLog(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

KafkaEventLog::~KafkaEventLog() {
  if (impl_->producer) impl_->producer->finish("the log was closed");
  if (impl_->reader) impl_->reader->close();
}

Result<std::unique_ptr<KafkaEventLog>> KafkaEventLog::open(RealEnv& env, Options options) {
  if (options.partitions == 0 || options.partitions > kPartitionsMax) {
    return Error{Errc::invalid_argument, "a log has 1 to " + std::to_string(kPartitionsMax) + " partitions"};
  }
  const kafka::TopicSpec topic{options.topic, options.partitions, options.replication_factor,
                               options.check_topic_settings, options.make_topic};
  auto reader = Reader::open(env, {options.connection, options.client_id, topic, options.open_time});
  if (!reader) return reader.error();
  std::unique_ptr<KafkaEventLog> log(new KafkaEventLog(std::make_shared<Impl>(env, std::move(options))));
  log->impl_->reader = std::move(*reader);
  auto writer = log->impl_->writer();  // So that the brokers know it before the first append.
  if (!writer) return writer.error();
  return log;
}

std::uint32_t KafkaEventLog::partitions() const {
  return impl_->options.partitions;
}

Result<Delivery> KafkaEventLog::append(Partition partition, std::string key, std::string bytes) {
  if (const auto error = impl_->no_such(partition)) return *error;
  if (bytes.size() > kRecordBytesMax) {
    return Error{Errc::resource_exhausted, "a record of " + std::to_string(bytes.size()) +
                                               " bytes is over the limit of " +
                                               std::to_string(kRecordBytesMax)};
  }
  if (impl_->reader->exchanged()) return Error{Errc::unavailable, impl_->reader->exchanged()->message};
  auto writer = impl_->writer();
  if (!writer) return Error{Errc::unavailable, writer.error().message};
  return (*writer)->produce(partition, std::move(key), std::move(bytes));
}

Task<ReadBatch> KafkaEventLog::read(Partition partition, Offset from, ReadOptions options) {
  if (const auto error = impl_->no_such(partition)) co_return *error;
  const std::shared_ptr<Reader> reader = impl_->reader;
  co_return co_await Reader::read(reader, partition, from, options);
}

Task<Offset> KafkaEventLog::end(Partition partition) {
  if (const auto error = impl_->no_such(partition)) co_return *error;
  const std::shared_ptr<Reader> reader = impl_->reader;
  co_return co_await Reader::end(reader, partition);
}

EventLog::InFlight KafkaEventLog::in_flight() const {
  const Producer* producer = impl_->producer.get();
  return producer == nullptr ? InFlight{}
                             : InFlight{producer->records_in_flight(), producer->bytes_in_flight()};
}

}  // namespace varve
