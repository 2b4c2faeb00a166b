// The exam of bisect_views_contract.h for views in PostgreSQL.
#include "tests/inspect/bisect_views_contract.h"
#include "tests/projections/postgres_view_world.h"

namespace varve::test {
namespace {

BisectedStore in_postgres(Env& env) {
  auto world = std::make_shared<PostgresViewWorld>();
  return {world, std::shared_ptr<ViewStore>(world->open(env))};
}

INSTANTIATE_TEST_SUITE_P(Postgres, BisectViewsContract,
                         testing::Values(BisectedCase{"postgres", in_postgres}), name_of_bisected);

}  // namespace
}  // namespace varve::test
