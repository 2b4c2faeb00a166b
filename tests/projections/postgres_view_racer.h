// Workers that race for one checkpoint of a PostgreSQL view store, and what they leave there.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/projections/postgres_view_world.h"

namespace varve::test {

struct Racer {
  std::string name;
  std::map<std::uint64_t, std::string> won;  // Version -> this racer.
  std::uint64_t lost = 0;
  std::uint64_t faults = 0;
};

// Three rows of the racer's name, and a tag that every batch closes and opens.
inline Batch turn_of(const Racer& racer, std::uint64_t version) {
  std::vector<RowChange> changes;
  for (int row = 0; row < 3; ++row) {
    RowInsert insert =
        message("m" + std::to_string(version) + "-" + std::to_string(row), "a1", at(version, row));
    insert.row.values[messages::name] = text(racer.name);
    changes.emplace_back(std::move(insert));
  }
  if (version > 0) changes.emplace_back(close(View::tags, {text("a1"), text("turn")}, version));
  changes.emplace_back(tag("a1", "turn", at(version)));
  return batch_of(0, version, std::move(changes));
}

// Commits from where the checkpoint is until it has come to `last`; loads again after everything but a
// success.
inline Task<> race(Env* env, ViewStore* store, Racer* racer, std::uint64_t last) {
  constexpr std::uint64_t kFaultsMax = 400;
  while (racer->faults < kFaultsMax) {
    auto loaded = co_await store->load(Partition{0});
    std::uint64_t version = loaded ? loaded->checkpoint.version : 0;
    Status status = loaded ? ok() : Status{loaded.error()};
    for (bool won = loaded.has_value(); won && version < last; ++version) {
      Batch batch = turn_of(*racer, version);
      auto outcome = co_await store->commit(std::move(batch));
      if (!outcome) status = outcome.error();
      won = outcome && *outcome == CommitOutcome::committed;
      if (won) racer->won.emplace(version, racer->name);
      if (outcome && !won) ++racer->lost;
    }
    if (status && version >= last) co_return ok();
    if (status) continue;
    const Errc code = status.error().code;
    if (code != Errc::unavailable && code != Errc::outcome_unknown) co_return status;
    ++racer->faults;
    co_await sleep_for(*env, std::chrono::milliseconds{20});
  }
  co_return Error{Errc::unavailable, "too many faults"};
}

// "version name rows" of every batch that is there.
inline std::vector<std::string> stored_turns(const std::string& url, const std::string& schema) {
  return sql(url, "SELECT from_offset || ' ' || name || ' ' || count(*) FROM " + schema +
                      ".messages GROUP BY from_offset, name ORDER BY from_offset");
}

}  // namespace varve::test
