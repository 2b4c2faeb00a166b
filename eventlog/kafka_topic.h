// The topic that is the log: made with what the log needs, looked at before every start, and asked for its
// ends. All calls block; they run in KafkaEventLog::open() or on a lane.
//
// Promises: a topic that could lose or hide a record is refused by a sentence that names the setting, its
// value and what is expected. Never: a change to a topic that exists.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "eventlog/ids.h"
#include "eventlog/kafka_client.h"

namespace varve::kafka {

struct TopicSpec {
  std::string name;
  std::uint32_t partitions = 0;
  std::uint32_t replication_factor = 1;  // Of a topic that is made here.
  bool check_settings = true;            // False: the partitions alone.
  bool make = true;                      // False: it must be there.
};

// The largest batch that a topic must take: one record with everything that Kafka wraps around it.
inline constexpr std::size_t kBatchBytesMax = (std::size_t{10} << 20U) + (std::size_t{64} << 10U);

// How many replicas must have a record before it is acknowledged: losing one of them loses nothing.
std::uint32_t replicas_in_sync(std::uint32_t replication_factor);

// What a topic is like.
struct TopicShape {
  std::uint32_t partitions = 0;
  std::uint32_t replicas = 0;  // Of the partition that has the fewest.
};
// Refuses the first of these settings (all of a topic's, in force, wherever they come from) that could lose
// or hide a record. Pure.
Status judge_topic(const std::string& topic, TopicShape shape,
                   const std::map<std::string, std::string>& settings);

// Makes the topic if it is not there, waits until it has leaders, and checks it. Errc::invalid_argument: the
// topic, the login or the settings are wrong. Errc::not_found: it is not there and must be.
// Errc::unavailable: no broker answered in time.
Status prepare_topic(Client& client, const TopicSpec& spec, Duration limit);

struct Watermarks {
  Offset low;   // The oldest record's, or the end.
  Offset high;  // Behind every record that any reader can see.
};
Result<Watermarks> query_watermarks(rd_kafka_s* rk, const std::string& topic, Partition partition);

// The high watermarks of these partitions, in their order.
using Ends = std::vector<Result<Offset>>;
Result<Ends> query_ends(rd_kafka_s* rk, const std::string& topic, const std::vector<Partition>& partitions);

}  // namespace varve::kafka
