// The exam that every SnapshotStore takes. A test file names its implementation by a SnapshotStoreCase and
// instantiates SnapshotStoreContract; the questions are in snapshot_store_contract.cpp.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "eventlog/snapshot_store.h"
#include "runtime/real_env.h"
#include "tests/support/run.h"

namespace varve::test {

// What outlives a store object.
class SnapshotStoreWorld {
 public:
  virtual ~SnapshotStoreWorld() = default;
  virtual std::unique_ptr<SnapshotStore> open(Env& env) = 0;
};

struct SnapshotStoreCase {
  std::string name;
  std::function<std::unique_ptr<SnapshotStoreWorld>()> make_world;

  friend std::ostream& operator<<(std::ostream& out, const SnapshotStoreCase& store) {
    return out << store.name;
  }
};

inline std::string name_of_snapshot_case(const ::testing::TestParamInfo<SnapshotStoreCase>& info) {
  return info.param.name;
}

// Of a stream with an event in every record.
inline SnapshotRow snapshot(const std::string& stream, std::uint64_t seen, const std::string& state) {
  SnapshotRow row;
  row.stream = StreamId{stream};
  row.sequence = Sequence{seen};
  row.seen = Offset{seen};
  row.state = state;
  row.hash = xxh64(state);
  return row;
}

class SnapshotStoreContract : public ::testing::TestWithParam<SnapshotStoreCase> {
 protected:
  SnapshotStoreContract() : world_(GetParam().make_world()), env_(std::make_unique<RealEnv>()) {
    store_ = world_->open(*env_);
  }
  void TearDown() override { env_->shut_down(); }

  void restart() {
    env_->shut_down();
    store_.reset();
    env_ = std::make_unique<RealEnv>();
    store_ = world_->open(*env_);
  }

  void put(std::vector<SnapshotRow> rows) {
    const auto status = run(*env_, store_->put(std::move(rows)));
    EXPECT_TRUE(status) << to_string(status.error());
  }
  std::optional<SnapshotRow> get(const std::string& stream) {
    const auto row = run(*env_, store_->get(StreamId{stream}));
    EXPECT_TRUE(row) << to_string(row.error());
    return row ? *row : std::nullopt;
  }
  // "3:{}", or "none".
  std::string stored(const std::string& stream) {
    const auto row = get(stream);
    return row ? std::to_string(row->seen.value()) + ":" + row->state : "none";
  }
  bool move(RecoveryRow row) {
    const auto moved = run(*env_, store_->move_recovery(std::move(row)));
    EXPECT_TRUE(moved) << to_string(moved.error());
    return moved && *moved;
  }
  std::optional<RecoveryRow> recovery(std::uint32_t partition) {
    const auto row = run(*env_, store_->recovery(Partition{partition}));
    EXPECT_TRUE(row) << to_string(row.error());
    return row ? *row : std::nullopt;
  }
  // "agent-1 born 10 seen 12; .."
  std::string list(std::uint32_t partition, const std::string& after = "", std::size_t limit = 1000) {
    const auto places = run(*env_, store_->list(Partition{partition}, StreamId{after}, limit));
    if (!places) return to_string(places.error());
    std::string out;
    for (const SnapshotPlace& place : *places) {
      out += (out.empty() ? "" : "; ") + place.stream.value() + " born " +
             std::to_string(place.born.value()) + " seen " + std::to_string(place.seen.value());
    }
    return out;
  }
  std::string open_turns(std::uint32_t partition) {
    const auto streams = run(*env_, store_->open_turns(Partition{partition}));
    if (!streams) return to_string(streams.error());
    std::string out;
    for (const StreamId& stream : *streams) out += (out.empty() ? "" : " ") + stream.value();
    return out;
  }

  std::unique_ptr<SnapshotStoreWorld> world_;
  std::unique_ptr<RealEnv> env_;
  std::unique_ptr<SnapshotStore> store_;
};

}  // namespace varve::test
