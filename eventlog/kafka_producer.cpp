#include "eventlog/kafka_producer.h"

#include <librdkafka/rdkafka.h>

#include "eventlog/kafka_topic.h"
#include "eventlog/record.h"

namespace varve::kafka {

Result<std::shared_ptr<Producer>> Producer::open(RealEnv& env, Options options) {
  auto producer = std::make_shared<Producer>(env);
  Client::Options client_options;
  client_options.role = Client::Role::producer;
  client_options.id = std::move(options.id);
  client_options.connection = std::move(options.connection);
  client_options.ours = {{"enable.idempotence", "true"},
                         {"acks", "all"},
                         {"message.timeout.ms", "15000"},
                         {"message.max.bytes", std::to_string(kBatchBytesMax)},
                         {"delivery.report.only.error", "false"}};
  // Appends that come while a request is on its way share the next one anyway.
  client_options.defaults = {{"linger.ms", "0"}, {"retry.backoff.ms", "50"}};
  client_options.events = RD_KAFKA_EVENT_DR;
  client_options.on_event = [weak = std::weak_ptr<Producer>(producer)](rd_kafka_event_t& event) {
    if (const auto self = weak.lock()) self->take(event);
  };
  auto client = Client::open(env, std::move(client_options));
  if (!client) return client.error();
  producer->client_ = std::move(*client);
  Error refused;
  producer->topic_ = producer->client_->topic(options.topic, &refused);
  if (producer->topic_ == nullptr) return refused;
  return producer;
}

Result<Delivery> Producer::produce(Partition partition, std::string key, std::string bytes) {
  if (finished_) return Error{Errc::unavailable, "the producer is being replaced"};
  if (records_ >= kRecordsInFlightMax || bytes_ + bytes.size() > kBytesInFlightMax) {
    return Error{Errc::resource_exhausted, "too many records wait for the brokers; try again later"};
  }
  if (free_.empty()) {
    free_.push_back(&slots_.emplace_back());
  }
  Slot* const slot = free_.back();
  free_.pop_back();
  ++records_;
  bytes_ += bytes.size();
  *slot = Slot{std::make_shared<OneShot<Offset>>(), bytes.size()};
  waiting_.push_back({slot, partition, std::move(key), std::move(bytes)});
  if (waiting_.size() == 1) {
    env_.post([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->hand_over();
    });
  }
  return slot->delivery;
}

void Producer::hand_over() {
  std::vector<Waiting> records = std::exchange(waiting_, {});
  Status handed = ok();
  for (Waiting& record : records) {
    if (finished_) return;  // Its end has told them all.
    // What comes behind a record that was refused must not take its place.
    if (handed) handed = hand_over(record);
    if (!handed && !finished_) release(record.slot).delivery->set(handed.error());
  }
}

// An error: certainly not written.
Status Producer::hand_over(Waiting& record) {
  const void* key = record.key.empty() ? nullptr : record.key.data();
  if (rd_kafka_produce(topic_, static_cast<std::int32_t>(record.partition.value()), RD_KAFKA_MSG_F_COPY,
                       record.bytes.data(), record.bytes.size(), key, record.key.size(), record.slot) == 0) {
    return ok();
  }
  const rd_kafka_resp_err_t code = rd_kafka_last_error();
  Error error = error_of(code, "handing a record to Kafka");
  error.code = Errc::unavailable;
  if (code == RD_KAFKA_RESP_ERR__FATAL) finish(error.message);
  return error;
}

Producer::Slot Producer::release(Slot* slot) {
  Slot its_record = std::exchange(*slot, Slot{});
  free_.push_back(slot);
  --records_;
  bytes_ -= its_record.bytes;
  return its_record;
}

void Producer::take(rd_kafka_op_s& event) {
  if (finished_) return;
  if (rd_kafka_event_type(&event) == RD_KAFKA_EVENT_DR) {
    take_reports(event);
    return;
  }
  if (rd_kafka_event_type(&event) != RD_KAFKA_EVENT_ERROR) return;
  const rd_kafka_resp_err_t code = rd_kafka_event_error(&event);
  const std::string text = rd_kafka_event_error_string(&event);
  env_.log(LogLevel::warning, "Kafka producer: " + text);
  if (code == RD_KAFKA_RESP_ERR__FATAL) finish(text);
}

void Producer::take_reports(rd_kafka_op_s& event) {
  rd_kafka_resp_err_t failure = RD_KAFKA_RESP_ERR_NO_ERROR;
  std::size_t records = 0;
  std::size_t bytes = 0;
  while (const rd_kafka_message_t* message = rd_kafka_event_message_next(&event)) {
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR || message->offset < 0) {
      // Its slot stays full, so that finish() tells it with the others. (No offset: the broker had it already
      // and does not say where.)
      failure = message->err != RD_KAFKA_RESP_ERR_NO_ERROR ? message->err : RD_KAFKA_RESP_ERR__FAIL;
      continue;
    }
    const Slot slot = release(static_cast<Slot*>(message->_private));
    ++records;
    bytes += slot.bytes;
    slot.delivery->set(Offset{static_cast<std::uint64_t>(message->offset)});
  }
  if (records > 0) {  // Reports come by batches.
    env_.count("log_batches");
    env_.count("log_bytes", bytes);
  }
  if (failure != RD_KAFKA_RESP_ERR_NO_ERROR) finish(error_of(failure, "a delivery failed").message);
}

void Producer::finish(const std::string& why) {
  if (finished_) return;
  finished_ = true;
  waiting_.clear();
  env_.count("log_producers_finished");
  env_.count("log_append_failures", records_);
  if (records_ > 0) {
    env_.log(LogLevel::error, "the outcome of " + std::to_string(records_) + " appends is unknown: " + why);
  }
  // What has not been sent yet need not be.
  rd_kafka_purge(client_->get(),
                 RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
  client_->close();
  const Error unknown{Errc::outcome_unknown, "it is not known whether the record was written: " + why};
  for (Slot& slot : slots_) {
    if (slot.delivery) std::exchange(slot, Slot{}).delivery->set(unknown);
  }
  records_ = 0;
  bytes_ = 0;
}

}  // namespace varve::kafka
