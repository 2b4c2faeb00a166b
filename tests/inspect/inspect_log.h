// InspectLog: a log in memory with two partitions that tests fill by hand, record by record.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "actors/memory_tools.h"
#include "eventlog/memory_event_log.h"
#include "tests/support/run.h"
#include "tests/support/samples.h"

namespace varve::test {

// Two streams of one partition and one of the other; which, the hash of the names says.
inline std::string stream_in(const std::string& kind, std::uint32_t partition) {
  for (char letter = 'a';; ++letter) {
    const std::string name = kind + "-" + std::string(1, letter);
    if (partition_of(StreamId{name}, 2) == Partition{partition}) return name;
  }
}

class InspectLog : public testing::Test {
 public:
  InspectLog() {
    for (std::uint32_t number = 0; number < 2; ++number) {
      land(number, Claim{Epoch{1}, {}, "varve", "n", "", 2, WallTime{number + 1}});
    }
  }

  Offset land_bytes(std::uint32_t partition, const std::string& bytes) {
    return storage_->land(Partition{partition}, std::make_shared<const std::string>(bytes));
  }
  Offset land(std::uint32_t partition, const Record& record) {
    return land_bytes(partition, *encode_record(record));
  }
  // A command of a client, or with the given id. Every commit is 10 microseconds later than the one before.
  LogPosition commit(const std::string& stream, const std::vector<StoredEvent>& events,
                     std::optional<CommandId> id = std::nullopt, const std::string& request = "") {
    const Partition partition = partition_of(StreamId{stream}, 2);
    Commit commit = next_commit(partition.value(), {part(stream, events)});
    if (id) commit.command.id = *id;
    commit.command.request_id = request;
    return {partition, land(partition.value(), commit)};
  }
  Part part(const std::string& stream, const std::vector<StoredEvent>& events) {
    Part made{StreamId{stream}, Sequence{sequences_[stream] + 1}, events};
    sequences_[stream] += events.size();
    return made;
  }
  Commit next_commit(std::uint32_t partition, std::vector<Part> parts) {
    now_ += 10;
    const Index n{++n_[partition]};
    const CommandRef command{command_id_from_text("command " + std::to_string(now_)), CommandHash{1}, true};
    return Commit{Epoch{1}, n, "n", WallTime{now_}, command, std::move(parts)};
  }
  Ruling next_ruling(std::uint32_t partition, const std::string& stream, Offset offset) {
    now_ += 10;
    return Ruling{Epoch{1}, Index{++n_[partition]}, "n", WallTime{now_}, StreamId{stream}, offset, 0};
  }

  // ---- what happens ----

  static BlockValue block(const std::string& label, const std::string& value) {
    BlockValue made = sample_block();
    made.label = label;
    made.value = value;
    return made;
  }
  LogPosition create_agent(const std::string& stream, const std::string& name,
                           const std::vector<BlockRef>& blocks = {}) {
    AgentSettings settings = sample_settings();
    settings.name = name;
    return commit(
        stream, {AgentCreated{settings, blocks, {sample_message("message-0" + stream, Role::system, "S")}}});
  }
  LogPosition create_block(const std::string& stream, const std::string& label, const std::string& value) {
    return commit(stream, {BlockCreated{block(label, value)}});
  }
  LogPosition update_block(const std::string& stream, const std::string& label, const std::string& value,
                           std::optional<CommandId> id = std::nullopt) {
    return commit(stream, {BlockUpdated{block(label, value), WallTime{1}}}, id);
  }
  LogPosition poison(const std::string& stream) {
    return commit(stream, {UnreadableEvent{"AgentSang", 1, "", "{}"}});
  }
  LogPosition says(const std::string& agent, const std::string& run, const std::string& text,
                   const std::string& request = "") {
    const Message message = sample_message("message-" + run, Role::user, text);
    return commit(agent, {UserMessageReceived{run, {message}, 50, WallTime{600}, "{}"}}, std::nullopt,
                  request);
  }

  MemoryEventLog& log() { return log_; }

  RealEnv env_;
  MemoryLogStorage::Options two_{2, 0};
  std::shared_ptr<MemoryLogStorage> storage_ = std::make_shared<MemoryLogStorage>(two_);
  MemoryEventLog log_{env_, storage_};
  std::map<std::string, std::uint64_t> sequences_;
  std::map<std::uint32_t, std::uint64_t> n_;
  std::int64_t now_ = 100;
};

}  // namespace varve::test
