// Jobs of a test on a pool of connections of their own, as a program has it.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "projections/postgres_pool.h"
#include "tests/support/run.h"

namespace varve::test {

class Jobs {
 public:
  explicit Jobs(const std::string& url) : Jobs(options_of(url)) {}
  explicit Jobs(PostgresOptions options) {
    auto made = PostgresPool::make(env_, std::move(options));
    EXPECT_TRUE(made) << to_string(made.error());
    pool_ = std::move(*made);
  }
  ~Jobs() { env_.shut_down(); }
  Jobs(const Jobs&) = delete;
  Jobs& operator=(const Jobs&) = delete;

  static PostgresOptions options_of(const std::string& url) {
    PostgresOptions options;
    options.url = url;
    return options;
  }
  static RealEnv::Options quiet() {
    RealEnv::Options options;
    options.log_sink = [](LogLevel, std::string_view) {};
    return options;
  }

  using Work = std::function<Result<std::string>(PostgresSession&)>;

  Task<std::string> task(Work work, Lane lane) {
    const PostgresUse how{lane, pool_->options().answer};
    return pool_->run<std::string>(how, std::move(work));
  }
  // "3", or "unavailable: .."
  std::string run_job(Work work) {
    const auto answer = run(env_, task(std::move(work), Lane::store));
    return answer ? *answer : to_string(answer.error());
  }
  std::string ask(const std::string& sql, const PostgresParams& params) {
    return run_job([sql, params](PostgresSession& session) { return first(session.ask(sql, params)); });
  }
  std::string write(const std::string& sql) {
    return run_job([sql](PostgresSession& session) { return first(session.write(sql, {})); });
  }
  std::string transaction(const std::string& sql) {
    return run_job([sql](PostgresSession& session) -> Result<std::string> {
      const auto body = [&sql](PostgresTransaction& inside) { return inside.script(sql); };
      const auto done = session.transaction(PostgresMode::write, "", body);
      if (!done) return done.error();
      return std::string{"done"};
    });
  }
  std::uint64_t counted(const std::string& name) const {
    const auto found = env_.counters().find(name);
    return found == env_.counters().end() ? 0 : found->second;
  }

  static Result<std::string> first(const Result<PostgresRows>& rows) {
    if (!rows) return rows.error();
    if (rows->empty()) return std::string{"no row"};
    return rows->is_null(0, 0) ? std::string{"null"} : std::string{rows->text(0, 0)};
  }

  RealEnv& env() { return env_; }
  PostgresPool& pool() { return *pool_; }

 private:
  RealEnv env_{quiet()};
  std::unique_ptr<PostgresPool> pool_;
};

inline std::string code_of(const std::string& answer) {
  return answer.substr(0, answer.find(':'));
}

}  // namespace varve::test
