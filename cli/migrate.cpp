#include "cli/migrate.h"

#include <iostream>
#include <optional>

#include "cli/commands.h"
#include "projections/postgres_migrate.h"
#include "runtime/real_env.h"

namespace varve {

namespace {

std::string listed(const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& name : names) all.append(all.empty() ? "" : ", ").append(name);
  return all;
}

std::string counted(std::size_t number) {
  return std::to_string(number) + (number == 1 ? " migration" : " migrations");
}

Task<> look_or_migrate(RealEnv& env, PostgresPool& pool, bool check,
                       std::shared_ptr<std::optional<Result<SchemaState>>> out) {
  const Status reached = co_await pool.probe();
  if (!reached) {
    *out = reached.error();
  } else if (check) {
    *out = co_await read_schema(pool, known_migrations());
  } else {
    *out = co_await migrate_postgres(pool, known_migrations());
  }
  env.stop();
  co_return ok();
}

int report(const SchemaState& state, bool check, const std::string& where) {
  if (state.is_current()) {
    std::cout << where << " is up to date: " << listed(state.applied) << "\n";
    return kExitDone;
  }
  if (check) {
    std::cout << where << " lacks " << counted(state.missing.size()) << ": " << listed(state.missing)
              << "\nrun varve migrate, or serve with --migrate\n";
    return kExitFailed;
  }
  std::cout << where << " is up to date now; applied " << counted(state.missing.size()) << ": "
            << listed(state.missing) << "\n";
  return kExitDone;
}

}  // namespace

int run_migrate(const Config& config, const MigrateCommand& command) {
  if (config.postgres.url.empty()) {
    std::cerr
        << "varve: which database? Give --postgres-url, VARVE_POSTGRES_URL, or postgres_url in the file of "
           "--config (the embedded store migrates itself when it is opened)\n";
    return kExitUsage;
  }
  RealEnv env;
  PostgresOptions options;
  options.url = config.postgres.url;
  options.password = config.postgres.password;
  options.connections = 1;
  const auto pool = PostgresPool::make(env, std::move(options));
  if (!pool) {
    std::cerr << "varve: " << pool.error().message << "\n";
    return kExitUsage;
  }
  const auto out = std::make_shared<std::optional<Result<SchemaState>>>();
  env.spawn("migrate", look_or_migrate(env, **pool, command.check, out));
  env.run();
  env.shut_down();
  const Result<SchemaState> state = out->value_or(Result<SchemaState>{});
  if (!state) {
    std::cerr << "varve: " << state.error().message << "\n";
    return kExitFailed;
  }
  return report(*state, command.check, (*pool)->where());
}

}  // namespace varve
