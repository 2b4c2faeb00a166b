// The exam of bisect_views_contract.h for views in memory and in SQLite.
#include "projections/memory_view_store.h"
#include "projections/sqlite_view_store.h"
#include "tests/inspect/bisect_views_contract.h"
#include "tests/projections/temp_directory.h"

namespace varve::test {
namespace {

BisectedStore in_memory(Env& env) {
  return {nullptr, std::make_shared<MemoryViewStore>(env, std::make_shared<MemoryViewStorage>())};
}

BisectedStore in_sqlite(Env& env) {
  auto directory = std::make_shared<TempDirectory>();
  auto store = SqliteViewStore::open(env, {directory->path(), 1});
  EXPECT_TRUE(store) << to_string(store.error());
  return {directory, std::shared_ptr<ViewStore>(std::move(*store))};
}

INSTANTIATE_TEST_SUITE_P(Stores, BisectViewsContract,
                         testing::Values(BisectedCase{"memory", in_memory},
                                         BisectedCase{"sqlite", in_sqlite}),
                         name_of_bisected);

}  // namespace
}  // namespace varve::test
