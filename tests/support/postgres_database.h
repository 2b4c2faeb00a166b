// PostgresSchema: a schema of the shared PostgreSQL for one test, migrated on request, gone at the end. Its
// url() is what a program is given; several tests, and several programs, use the same database and do not
// meet.
#pragma once

#include <unistd.h>

#include <string>

#include "projections/postgres_migrate.h"
#include "projections/postgres_pool.h"
#include "tests/support/run.h"
#include "tests/support/services.h"

namespace varve::test {

// Statements of a test, one at a time, with a connection of their own.
class PostgresShell {
 public:
  explicit PostgresShell(const std::string& url) {
    PostgresOptions options;
    options.url = url;
    options.connections = 1;
    auto made = PostgresPool::make(env_, options);
    EXPECT_TRUE(made) << to_string(made.error());
    pool_ = std::move(*made);
  }
  ~PostgresShell() { env_.shut_down(); }
  PostgresShell(const PostgresShell&) = delete;
  PostgresShell& operator=(const PostgresShell&) = delete;

  // One statement. Rows as lines with | between fields; "error: .." if it fails.
  std::string sql(const std::string& statement) {
    std::function<Result<std::string>(PostgresSession&)> job =
        [statement](PostgresSession& session) -> Result<std::string> {
      const auto rows = session.write(statement, {});
      if (!rows) return rows.error();
      std::string out;
      for (std::size_t row = 0; row < rows->size(); ++row) {
        if (row > 0) out += "\n";
        for (std::size_t column = 0; column < rows->columns(); ++column) {
          out += (column > 0 ? "|" : "") + std::string{rows->text(row, column)};
        }
      }
      return out;
    };
    const PostgresUse how{Lane::store, pool_->options().answer};
    const auto answer = run(env_, pool_->run<std::string>(how, std::move(job)));
    return answer ? *answer : "error: " + to_string(answer.error());
  }

  PostgresPool& pool() { return *pool_; }
  RealEnv& env() { return env_; }

 private:
  RealEnv env_;
  std::unique_ptr<PostgresPool> pool_;
};

class PostgresDatabase {
 public:
  PostgresDatabase() : PostgresDatabase(service_addresses().postgres_url) {}
  // On another server than the shared one.
  explicit PostgresDatabase(std::string server)
      : server_(std::move(server)), shell_(server_), name_(new_name()) {
    EXPECT_EQ(shell_.sql("CREATE DATABASE " + name_), "");
  }
  ~PostgresDatabase() { EXPECT_EQ(shell_.sql("DROP DATABASE " + name_ + " WITH (FORCE)"), ""); }
  PostgresDatabase(const PostgresDatabase&) = delete;
  PostgresDatabase& operator=(const PostgresDatabase&) = delete;

  std::string url() const { return server_.substr(0, server_.rfind('/') + 1) + name_; }
  const std::string& name() const { return name_; }
  // Statements of an operator, in the server's own database.
  PostgresShell& server() { return shell_; }

  void migrate() {
    PostgresShell inside(url());
    const auto done = run(inside.env(), migrate_postgres(inside.pool(), known_migrations()));
    EXPECT_TRUE(done) << to_string(done.error());
  }

 private:
  static std::string new_name() {
    static int number = 0;
    return "test_" + std::to_string(::getpid()) + "_" + std::to_string(++number);
  }

  std::string server_;
  PostgresShell shell_;
  std::string name_;
};

}  // namespace varve::test
