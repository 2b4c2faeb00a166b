// PostgresGenerations: the generations of the views in a PostgreSQL database, a schema each
// (migrations/postgres/0002_views.sql). Nodes go on serving while the next one is made: they need not be
// told.
//
// Who rebuilds has a lease, a row in the next generation's own schema, which it renews with keep(): another
// one is refused until the lease has run out. The lease is only good manners: two at once would lose races.
//
// The switch is one transaction: it locks the checkpoints of the active generation against writers, waits
// until the next one has passed them, makes every batch for the old one lose its race, and shows the next one
// to readers. A reader locks the view `generation` before it looks at anything (PostgresViewStore), and the
// switch takes that lock alone for itself: so a read sees one generation, and none is refused.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "projections/generations.h"
#include "projections/postgres_loader.h"
#include "projections/postgres_pool.h"
#include "projections/postgres_view_store.h"

namespace varve {

class PostgresGenerations final : public Generations {
 public:
  static constexpr std::chrono::seconds kLease{15};

  // `holder`: a name for this rebuild that no other one has, for people too ("host 4711 1f3a"). `pool` must
  // outlive this and have three connections at least.
  PostgresGenerations(Env& env, PostgresPool& pool, std::string holder)
      : env_(env), pool_(pool), holder_(std::move(holder)) {}

  // Changes of one transaction while it loads; kCopyWindow if nothing is said.
  void load_by(std::size_t window) { window_ = window; }

  Task<GenerationsSeen> look() override;
  Task<> begin() override;
  Task<> keep() override;
  Task<> leave() override;
  std::shared_ptr<ViewStore> next() override { return next_; }
  bool is_loading() const override { return loading_; }
  bool is_loaded() const override { return loaded_; }
  Task<> settle() override;
  // Closes the rows that the batches have left open, in one transaction; then keys and indexes, each in its
  // own, several at a time.
  Task<> finish_loading() override;
  Task<RowsSummed> sum_rows(std::uint32_t partitions) override;
  Task<bool> show(std::uint32_t partitions) override;
  Task<> drop_old() override;
  Task<bool> abort() override;

 private:
  using Statements = std::vector<std::string>;

  void open_next();
  Task<Statements> ask_for(std::function<Status(PostgresTransaction&, Statements&)> work);
  // Several at a time; the first Error ends it.
  Task<> run_all(Statements statements);
  Task<> run_next(std::shared_ptr<Statements> statements, std::shared_ptr<Status> outcome);

  Env& env_;
  PostgresPool& pool_;
  std::string holder_;
  std::uint64_t number_ = 0;  // Of the next generation.
  std::string schema_;
  bool loading_ = false;
  bool loaded_ = false;  // All rows are there and closed; indexes are missing.
  std::size_t window_ = kCopyWindow;
  std::shared_ptr<ViewStore> next_;
  std::shared_ptr<PostgresLoader> loader_;  // It, while it is loading.
};

}  // namespace varve
