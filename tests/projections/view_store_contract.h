// The exam that every ViewStore takes. A test file names its implementation by a ViewStoreCase and
// instantiates ViewStoreContract; the questions are in view_store_contract.cpp.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "projections/digest.h"
#include "runtime/real_env.h"
#include "runtime/sync.h"
#include "tests/projections/view_rows.h"
#include "tests/support/run.h"

namespace varve::test {

// What outlives a store object: a directory, a storage, a database.
class ViewStoreWorld {
 public:
  virtual ~ViewStoreWorld() = default;
  // Called again after the store before was destroyed.
  virtual std::unique_ptr<ViewStore> open(Env& env) = 0;
  // The port does not read these yet.
  virtual std::vector<TimesRow> times(Partition partition) = 0;
};

struct ViewStoreCase {
  std::string name;
  std::function<std::unique_ptr<ViewStoreWorld>()> make_world;

  friend std::ostream& operator<<(std::ostream& out, const ViewStoreCase& store) { return out << store.name; }
};

inline std::string name_of_case(const ::testing::TestParamInfo<ViewStoreCase>& info) {
  return info.param.name;
}

inline std::string text_of(const Result<CommitOutcome>& outcome) {
  if (!outcome) return to_string(outcome.error());
  return *outcome == CommitOutcome::committed ? "committed" : "lost race";
}

inline std::string text_of(const Value& value) {
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return std::to_string(*integer);
  const auto* text = std::get_if<std::string>(&value);
  return text != nullptr ? *text : "null";
}

// A batch that moves the checkpoint of `partition` from `version` and makes `changes`.
inline Batch batch_of(std::uint32_t partition, std::uint64_t version, std::vector<RowChange> changes) {
  Batch batch;
  batch.partition = Partition{partition};
  batch.expected_version = version;
  batch.expected_next = Offset{10 * version};
  batch.checkpoint.version = version + 1;
  batch.checkpoint.next = Offset{10 * (version + 1)};
  batch.changes = std::move(changes);
  return batch;
}

// Commits all at once, and tells when the last is through.
inline Task<std::vector<std::string>> commit_together(Env* env, ViewStore* store,
                                                      std::vector<Batch> batches) {
  auto outcomes = std::make_shared<std::vector<std::string>>(batches.size());
  TaskGroup group{*env};
  struct One {
    static Task<> commit(ViewStore* to, Batch batch, std::shared_ptr<std::vector<std::string>> out,
                         std::size_t at) {
      const auto outcome = co_await to->commit(std::move(batch));
      (*out)[at] = text_of(outcome);
      co_return ok();
    }
  };
  for (std::size_t i = 0; i < batches.size(); ++i) {
    const auto spawned = group.spawn("commit", One::commit(store, std::move(batches[i]), outcomes, i));
    if (!spawned) co_return spawned.error();
  }
  const auto joined = co_await group.join(kNever);
  if (!joined) co_return joined.error();
  co_return *outcomes;
}

class ViewStoreContract : public ::testing::TestWithParam<ViewStoreCase> {
 protected:
  ViewStoreContract() : world_(GetParam().make_world()), env_(std::make_unique<RealEnv>(quiet())) {
    store_ = world_->open(*env_);
  }

  void TearDown() override { env_->shut_down(); }

  // A new incarnation on the same world.
  void restart() {
    env_->shut_down();
    store_.reset();
    env_ = std::make_unique<RealEnv>(quiet());
    store_ = world_->open(*env_);
  }

  std::string commit(Batch batch) { return text_of(run(*env_, store_->commit(std::move(batch)))); }

  // Commits at the partition's present version.
  std::string commit(std::vector<RowChange> changes, std::uint32_t partition = 0) {
    return commit(batch_of(partition, load(partition).checkpoint.version, std::move(changes)));
  }

  LoadedCheckpoint load(std::uint32_t partition = 0) {
    auto loaded = run(*env_, store_->load(Partition{partition}));
    EXPECT_TRUE(loaded) << to_string(loaded.error());
    return loaded ? *loaded : LoadedCheckpoint{};
  }

  Status read(std::function<Status(ViewReader&)> work) { return run(*env_, store_->read(std::move(work))); }

  Result<std::vector<Row>> select(Query query) {
    auto rows = std::make_shared<Result<std::vector<Row>>>();
    const Status status = read([rows, query](ViewReader& reader) -> Status {
      *rows = reader.select(query);
      return *rows ? ok() : Status{rows->error()};
    });
    return status ? *rows : Result<std::vector<Row>>{status.error()};
  }

  // The first columns of the rows found: "m1 m2".
  std::string ids(Query query) {
    const auto rows = select(std::move(query));
    if (!rows) return to_string(rows.error());
    std::string out;
    for (const Row& row : *rows) out += (out.empty() ? "" : " ") + text_of(row.values[0]);
    return out;
  }

  // Every version of a view: "a1@3-7 a1@7".
  std::string versions(View view) {
    const Query query{.view = view, .open_only = false, .order_by = {kFromOffset, kFromOrdinal}};
    const auto rows = select(query);
    if (!rows) return to_string(rows.error());
    std::string out;
    for (const Row& row : *rows) {
      out +=
          (out.empty() ? "" : " ") + text_of(row.values[0]) + "@" + std::to_string(row.from.offset.value());
      if (row.to) out += "-" + std::to_string(row.to->offset.value());
    }
    return out;
  }

  std::int64_t count(Query query) {
    auto counted = std::make_shared<std::int64_t>(-1);
    const Status status = read([counted, query](ViewReader& reader) -> Status {
      const auto found = reader.count(query);
      if (!found) return found.error();
      *counted = *found;
      return ok();
    });
    EXPECT_TRUE(status) << to_string(status.error());
    return *counted;
  }

  std::vector<QuarantineRow> quarantine() {
    auto rows = std::make_shared<std::vector<QuarantineRow>>();
    const Status status = read([rows](ViewReader& reader) -> Status {
      auto found = reader.quarantine();
      if (!found) return found.error();
      *rows = *std::move(found);
      return ok();
    });
    EXPECT_TRUE(status) << to_string(status.error());
    return *rows;
  }

  static RealEnv::Options quiet() {
    RealEnv::Options options;
    options.read_threads = 2;
    options.log_sink = [](LogLevel, std::string_view) {};
    return options;
  }

  std::unique_ptr<ViewStoreWorld> world_;
  std::unique_ptr<RealEnv> env_;
  std::unique_ptr<ViewStore> store_;
};

}  // namespace varve::test
