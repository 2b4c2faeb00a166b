#include "projections/postgres_generations.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>
#include <vector>

#include "projections/digest.h"
#include "projections/postgres_loader.h"
#include "projections/postgres_tables.h"
#include "projections/search_terms.h"
#include "runtime/sync.h"

namespace varve {

namespace {

constexpr std::chrono::hours kIndexTime{24};
constexpr std::chrono::seconds kSwitchTime{10};
constexpr const char* kNoLimit = "SET LOCAL statement_timeout = 0";
constexpr const char* kBeginIndex =
    "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL maintenance_work_mem = '256MB'";
// Indexes that are made, and parts of the rows that are summed, at a time: each has a connection.
constexpr std::size_t kStatementsAtATime = 2;
// Reads wait while the switch waits for those before them: it gives up soon, and tries again.
constexpr const char* kReadersWait = "SET LOCAL lock_timeout = '200ms'";
constexpr int kPassesMax = 200;  // Of 10 ms: less than the lock_timeout of whoever folds.

// Whoever makes, shows or drops a generation has this lock.
constexpr const char* kLockGenerations =
    "SELECT pg_advisory_xact_lock(hashtextextended(views_prefix() || '_views', 0))";

// What is known of the database's generations.
struct Known {
  std::string prefix;
  std::uint64_t active = 0;
  std::vector<std::uint64_t> numbers;  // In order.

  std::string schema(std::uint64_t number) const { return prefix + "_views_" + std::to_string(number); }
  std::optional<std::uint64_t> next() const {
    if (numbers.empty() || numbers.back() <= active) return std::nullopt;
    return numbers.back();
  }
};

Status run(PostgresTransaction& transaction, const std::string& sql) {
  const auto done = transaction.run(sql, PostgresParams{});
  return done ? ok() : Status{done.error()};
}

Result<Known> look_at(PostgresTransaction& transaction) {
  Known known;
  const auto prefix = transaction.run(
      "SELECT views_prefix(), to_regclass(quote_ident(views_prefix() || '_live') || '.generation') IS NOT "
      "NULL",
      PostgresParams{});
  if (!prefix) return prefix.error();
  known.prefix = std::string{prefix->text(0, 0)};
  if (!prefix->boolean(0, 1)) {
    return Error{Errc::not_found, "there are no views in this database yet; a node makes them from the log"};
  }
  const auto active = transaction.run(
      "SELECT number FROM " + quoted_name(known.prefix + "_live") + ".generation", PostgresParams{});
  if (!active) return active.error();
  known.active = active->unsigned_integer(0, 0);
  const auto schemas = transaction.run(
      "SELECT substr(nspname, length($1::text) + 1)::bigint FROM pg_namespace "
      "WHERE starts_with(nspname::text, $1::text) AND substr(nspname, length($1::text) + 1) ~ "
      "'^[0-9]{1,18}$' ORDER BY 1",
      PostgresParams{known.prefix + "_views_"});
  if (!schemas) return schemas.error();
  for (std::size_t i = 0; i < schemas->size(); ++i) known.numbers.push_back(schemas->unsigned_integer(i, 0));
  return known;
}

// ---- the lease

Status refused(std::string_view holder, std::string_view seconds) {
  return Error{Errc::conflict, "another rebuild is at work, or was until a moment ago (" +
                                   std::string{holder} + "); if it has ended, its lease runs out in " +
                                   std::string{seconds} + " s"};
}

Status take_lease(PostgresTransaction& transaction, const std::string& schema, const std::string& holder) {
  const std::string table = quoted_name(schema) + ".rebuild";
  const auto there =
      transaction.run("SELECT holder, ceil(extract(epoch FROM until - now()))::bigint, until > now() FROM " +
                          table + " FOR UPDATE",
                      PostgresParams{});
  if (!there) return there.error();
  if (!there->empty() && there->text(0, 0) != holder && there->boolean(0, 2)) {
    return refused(there->text(0, 0), there->text(0, 1));
  }
  if (Status done = run(transaction, "DELETE FROM " + table); !done) return done;
  const auto taken =
      transaction.run("INSERT INTO " + table + " VALUES ($1, now() + make_interval(secs => $2::bigint))",
                      PostgresParams{holder, std::to_string(PostgresGenerations::kLease.count())});
  return taken ? ok() : Status{taken.error()};
}

Result<bool> is_there(PostgresTransaction& transaction, const std::string& table) {
  const auto there = transaction.run("SELECT to_regclass($1::text) IS NOT NULL", PostgresParams{table});
  if (!there) return there.error();
  return there->boolean(0, 0);
}

Error not_ours(const std::string& schema) {
  return {Errc::invalid_argument,
          "the schema " + schema + " was not made by a rebuild; drop it if nobody needs it"};
}

struct Begun {
  std::uint64_t number = 0;
  std::string schema;
  bool loading = false;
  bool loaded = false;
};

Status begin_in(PostgresTransaction& transaction, const std::string& holder, Begun& begun) {
  if (Status done = run(transaction, kLockGenerations); !done) return done;
  const auto known = look_at(transaction);
  if (!known) return known.error();
  const auto next = known->next();
  begun.number = next.value_or(known->active + 1);
  begun.schema = known->schema(begun.number);
  if (!next) {
    const auto made =
        transaction.run("SELECT make_generation($1::bigint, $2::bigint)",
                        PostgresParams{std::to_string(begun.number), std::to_string(kSearchVersion)});
    if (!made) return made.error();
    if (Status bare = make_bare(transaction, begun.schema); !bare) return bare;
  }
  const auto ours = is_there(transaction, quoted_name(begun.schema) + ".rebuild");
  if (!ours) return ours.error();
  if (!*ours) return not_ours(begun.schema);
  const auto loading = is_there(transaction, closings_table(begun.schema));
  if (!loading) return loading.error();
  const auto loaded = is_there(transaction, indexing_table(begun.schema));
  if (!loaded) return loaded.error();
  begun.loading = *loading || *loaded;
  begun.loaded = *loaded;
  return take_lease(transaction, begun.schema, holder);
}

// Until it is finished the rows of a generation say nothing. Whoever was paused past its lease may find
// another generation under the number that it knows, begun anew by somebody else (docs/spec, rule 39).
Status require_finished(PostgresTransaction& transaction, const std::string& schema) {
  const auto ours = is_there(transaction, quoted_name(schema) + ".rebuild");
  if (!ours) return ours.error();
  if (!*ours) return Error{Errc::conflict, "this rebuild was ended by another program"};
  for (const std::string& table : {closings_table(schema), indexing_table(schema)}) {
    const auto unfinished = is_there(transaction, table);
    if (!unfinished) return unfinished.error();
    if (*unfinished) return Error{Errc::conflict, "another program has begun this rebuild anew"};
  }
  return ok();
}

// ---- the switch

// False: the next generation has not passed the active one in time.
Result<bool> wait_until_passed(PostgresTransaction& transaction, const std::string& active,
                               const std::string& next) {
  const std::string behind = "SELECT count(*) FROM " + active + ".checkpoints AS o LEFT JOIN " + next +
                             ".checkpoints AS n USING (\"partition\") WHERE o.next_offset > "
                             "coalesce(n.next_offset, 0)";
  for (int pass = 0; pass < kPassesMax; ++pass) {
    const auto left = transaction.run(behind, PostgresParams{});
    if (!left) return left.error();
    if (left->integer(0, 0) == 0) return true;
    if (Status slept = run(transaction, "SELECT pg_sleep(0.01)"); !slept) return slept.error();
  }
  return false;
}

// After it no batch that was folded on the old generation fits anywhere.
Status end_old(PostgresTransaction& transaction, const std::string& active, const std::string& next,
               std::uint32_t partitions) {
  if (Status done = run(transaction, "UPDATE " + next +
                                         ".checkpoints SET version = version + (SELECT "
                                         "coalesce(max(version), 0) FROM " +
                                         active + ".checkpoints)");
      !done) {
    return done;
  }
  if (Status done = run(transaction, "UPDATE " + active + ".checkpoints SET version = version + 1"); !done) {
    return done;
  }
  const auto filled = transaction.run(
      "INSERT INTO " + active +
          ".checkpoints (\"partition\", version, next_offset, epoch, \"index\", cluster, at, digests) SELECT "
          "number, 1, 0, 0, 0, '', 0, $2 FROM generate_series(0, $1::bigint - 1) AS number ON CONFLICT DO "
          "NOTHING",
      PostgresParams{std::to_string(partitions), to_text(ViewDigests{})});
  return filled ? ok() : Status{filled.error()};
}

// Its Error ends the transaction, and `passed` tells why.
Status show_in(PostgresTransaction& transaction, std::uint64_t number, std::uint32_t partitions,
               bool& passed) {
  const auto known = look_at(transaction);
  if (!known) return known.error();
  if (known->active == number) return ok();  // A switch whose outcome was not known.
  const std::string active = quoted_name(known->schema(known->active));
  const std::string next = quoted_name(known->schema(number));
  if (Status done = run(transaction, "LOCK TABLE " + active + ".checkpoints IN SHARE ROW EXCLUSIVE MODE");
      !done) {
    return done;
  }
  const auto reached = wait_until_passed(transaction, active, next);
  if (!reached) return reached.error();
  passed = *reached;
  if (!passed) return Error{Errc::unavailable, "the next generation has not passed the active one yet"};
  // It has been read: nobody can exchange it any more.
  if (Status whole = require_finished(transaction, known->schema(number)); !whole) return whole;
  if (Status done = end_old(transaction, active, next, partitions); !done) return done;
  if (Status done = run(transaction, kReadersWait); !done) return done;
  const std::string shown = quoted_name(known->prefix + "_live") + ".generation";
  if (Status done = run(transaction, "LOCK TABLE " + shown + " IN ACCESS EXCLUSIVE MODE"); !done) return done;
  if (Status done = run(transaction, "DROP TABLE " + next + ".rebuild"); !done) return done;
  return run(transaction, "SELECT show_generation(" + std::to_string(number) + ")");
}

template <class T>
Task<T> in_transaction(PostgresPool& pool, PostgresUse how, std::string begin,
                       std::function<Status(PostgresTransaction&, T&)> work) {
  std::function<Result<T>(PostgresSession&)> job =
      [begin = std::move(begin), work = std::move(work)](PostgresSession& session) -> Result<T> {
    T out{};
    const Status done =
        session.transaction(PostgresMode::write, begin, [&](PostgresTransaction& transaction) {
          out = T{};
          return work(transaction, out);
        });
    if (!done) return done.error();
    return out;
  };
  co_return co_await pool.run<T>(how, std::move(job));
}

// ---- the proof

Task<> sum_stripe(PostgresPool& pool, std::string schema, std::uint32_t partitions,
                  std::shared_ptr<std::vector<Result<RowsSummed>>> parts, std::size_t stripe) {
  std::function<Result<RowsSummed>(PostgresSession&)> job =
      [schema = std::move(schema), partitions, stripe](PostgresSession& session) -> Result<RowsSummed> {
    RowsSummed sums;
    const Status read =
        session.transaction(PostgresMode::read_snapshot, kNoLimit, [&](PostgresTransaction& transaction) {
          return sum_rows_of(transaction, schema, {stripe, kStatementsAtATime}, partitions, sums);
        });
    if (!read) return read.error();
    return sums;
  };
  const PostgresUse how{Lane::read, kIndexTime};
  (*parts)[stripe] = co_await pool.run<RowsSummed>(how, std::move(job));
  co_return ok();
}

}  // namespace

Task<GenerationsSeen> PostgresGenerations::look() {
  std::function<Status(PostgresTransaction&, GenerationsSeen&)> work = [](PostgresTransaction& transaction,
                                                                          GenerationsSeen& seen) -> Status {
    const auto known = look_at(transaction);
    if (!known) return known.error();
    seen = {known->active, known->next()};
    return ok();
  };
  const PostgresUse how{Lane::store, pool_.options().answer};
  co_return co_await in_transaction<GenerationsSeen>(pool_, how, "", std::move(work));
}

void PostgresGenerations::open_next() {
  if (loading_) {
    loader_ = std::make_shared<PostgresLoader>(env_, pool_, schema_, window_);
    next_ = loader_;
  } else {
    loader_.reset();
    PostgresViewStore::Options options;
    options.generation = number_;
    options.reads = PostgresViewStore::Reads::generation;
    options.lane = Lane::read;
    next_ = std::make_shared<PostgresViewStore>(pool_, options);
  }
}

Task<> PostgresGenerations::begin() {
  std::function<Status(PostgresTransaction&, Begun&)> work =
      [holder = holder_](PostgresTransaction& transaction, Begun& begun) {
        return begin_in(transaction, holder, begun);
      };
  const PostgresUse how{Lane::store, pool_.options().answer};
  auto begun = co_await in_transaction<Begun>(pool_, how, "", std::move(work));
  if (!begun) co_return begun.error();
  number_ = begun->number;
  schema_ = begun->schema;
  loading_ = begun->loading;
  loaded_ = begun->loaded;
  open_next();
  co_return ok();
}

Task<> PostgresGenerations::keep() {
  std::function<Status(PostgresTransaction&, Unit&)> work =
      [schema = schema_, number = number_, holder = holder_](PostgresTransaction& transaction,
                                                             Unit&) -> Status {
    const auto there = is_there(transaction, quoted_name(schema) + ".rebuild");
    if (!there) return there.error();
    if (*there) return take_lease(transaction, schema, holder);
    const auto known = look_at(transaction);
    if (!known) return known.error();
    if (known->active >= number) return ok();  // It is shown already.
    return Error{Errc::conflict, "this rebuild was ended by another program"};
  };
  const PostgresUse how{Lane::read, pool_.options().answer};
  co_return co_await in_transaction<Unit>(pool_, how, "", std::move(work));
}

Task<> PostgresGenerations::settle() {
  if (!loader_) co_return ok();
  co_return co_await loader_->settle();
}

Task<> PostgresGenerations::leave() {
  ignore_error(co_await settle(), "what is lost is folded again");
  std::function<Status(PostgresTransaction&, Unit&)> work =
      [schema = schema_, holder = holder_](PostgresTransaction& transaction, Unit&) -> Status {
    const std::string table = quoted_name(schema) + ".rebuild";
    const auto there = is_there(transaction, table);
    if (!there) return there.error();
    if (!*there) return ok();
    const auto left = transaction.run("DELETE FROM " + table + " WHERE holder = $1", PostgresParams{holder});
    return left ? ok() : Status{left.error()};
  };
  const PostgresUse how{Lane::read, pool_.options().answer};
  co_return co_await in_transaction<Unit>(pool_, how, "", std::move(work));
}

Task<> PostgresGenerations::finish_loading() {
  if (!loaded_) {
    std::function<Status(PostgresTransaction&, Unit&)> close = [schema = schema_](
                                                                   PostgresTransaction& transaction, Unit&) {
      return close_all(transaction, schema);
    };
    const PostgresUse how{Lane::read, kIndexTime};
    const auto closed = co_await in_transaction<Unit>(pool_, how, kBeginIndex, std::move(close));
    if (!closed) co_return closed.error();
    loaded_ = true;
  }
  constexpr std::array kSteps{&missing_indexes, &missing_keys, &tables_to_analyze};
  for (std::size_t i = 0; i < kSteps.size(); ++i) {
    std::function<Status(PostgresTransaction&, Statements&)> ask =
        [missing = kSteps[i], schema = schema_](PostgresTransaction& transaction, Statements& found) {
          const Status alone = lock_tables(transaction, schema, true);
          return alone ? missing(transaction, schema, found) : alone;
        };
    auto statements = co_await ask_for(std::move(ask));
    if (!statements) co_return statements.error();
    Status made = co_await run_all(std::move(*statements));
    if (!made) co_return made;
  }
  Statements last{"DROP TABLE IF EXISTS " + indexing_table(schema_)};
  if (Status done = co_await run_all(std::move(last)); !done) co_return done;
  loading_ = false;
  loaded_ = false;
  open_next();
  co_return ok();
}

Task<PostgresGenerations::Statements> PostgresGenerations::ask_for(
    std::function<Status(PostgresTransaction&, Statements&)> work) {
  const PostgresUse how{Lane::read, pool_.options().answer};
  co_return co_await in_transaction<Statements>(pool_, how, "", std::move(work));
}

Task<> PostgresGenerations::run_all(Statements statements) {
  const auto left = std::make_shared<Statements>(std::move(statements));
  std::reverse(left->begin(), left->end());
  const auto outcome = std::make_shared<Status>(ok());
  TaskGroup group(env_);
  for (std::size_t i = 0; i < kStatementsAtATime; ++i) {
    ignore_error(group.spawn("indexes of a generation", run_next(left, outcome)), "the group is open");
  }
  group.close();
  ignore_error(co_await group.join(kNever), "the first failure is kept");
  co_return *outcome;
}

Task<> PostgresGenerations::run_next(std::shared_ptr<Statements> statements,
                                     std::shared_ptr<Status> outcome) {
  while (*outcome && !statements->empty()) {
    const std::string statement = std::move(statements->back());
    statements->pop_back();
    std::function<Status(PostgresTransaction&, Unit&)> work = [statement, schema = schema_](
                                                                  PostgresTransaction& transaction, Unit&) {
      const Status shared = lock_tables(transaction, schema, false);
      return shared ? run(transaction, statement) : shared;
    };
    const PostgresUse how{Lane::read, kIndexTime};
    const auto done = co_await in_transaction<Unit>(pool_, how, kBeginIndex, std::move(work));
    if (done || !*outcome) continue;
    *outcome = done.error();
    if (done.error().code == Errc::conflict) {
      *outcome = Error{Errc::corrupt,
                       "the rows of schema " + schema_ + " do not fit together: " + done.error().message};
    }
  }
  co_return ok();
}

Task<RowsSummed> PostgresGenerations::sum_rows(std::uint32_t partitions) {
  const auto parts = std::make_shared<std::vector<Result<RowsSummed>>>(kStatementsAtATime);
  TaskGroup group(env_);
  for (std::size_t i = 0; i < parts->size(); ++i) {
    ignore_error(group.spawn("rows of a generation", sum_stripe(pool_, schema_, partitions, parts, i)),
                 "the group is open");
  }
  group.close();
  ignore_error(co_await group.join(kNever), "every part has its outcome");
  co_return together(*parts);
}

Task<bool> PostgresGenerations::show(std::uint32_t partitions) {
  const auto passed = std::make_shared<bool>(true);
  std::function<Status(PostgresTransaction&, Unit&)> work = [number = number_, partitions, passed](
                                                                PostgresTransaction& transaction, Unit&) {
    return show_in(transaction, number, partitions, *passed);
  };
  // Lane::store is where this process may fold into the active generation, which is held up now.
  const PostgresUse how{Lane::read, kSwitchTime};
  const auto shown = co_await in_transaction<Unit>(pool_, how, "", std::move(work));
  if (shown) co_return true;
  if (!*passed) co_return false;
  co_return shown.error();
}

Task<> PostgresGenerations::drop_old() {
  std::function<Status(PostgresTransaction&, Unit&)> work = [](PostgresTransaction& transaction,
                                                               Unit&) -> Status {
    if (Status done = run(transaction, kLockGenerations); !done) return done;
    const auto known = look_at(transaction);
    if (!known) return known.error();
    for (const std::uint64_t number : known->numbers) {
      if (number >= known->active) continue;
      Status done = run(transaction, "DROP SCHEMA " + quoted_name(known->schema(number)) + " CASCADE");
      if (!done) return done;
    }
    return ok();
  };
  const PostgresUse how{Lane::store, pool_.options().answer};
  const auto dropped =
      co_await in_transaction<Unit>(pool_, how, "SET LOCAL lock_timeout = '1s'", std::move(work));
  co_return dropped ? ok() : Status{dropped.error()};
}

Task<bool> PostgresGenerations::abort() {
  std::function<Status(PostgresTransaction&, bool&)> work =
      [holder = holder_](PostgresTransaction& transaction, bool& any) -> Status {
    if (Status done = run(transaction, kLockGenerations); !done) return done;
    const auto known = look_at(transaction);
    if (!known) return known.error();
    const auto next = known->next();
    any = next.has_value();
    if (!any) return ok();
    const std::string schema = known->schema(*next);
    const auto ours = is_there(transaction, quoted_name(schema) + ".rebuild");
    if (!ours) return ours.error();
    if (!*ours) return not_ours(schema);
    if (Status free = take_lease(transaction, schema, holder); !free) return free;
    return run(transaction, "DROP SCHEMA " + quoted_name(schema) + " CASCADE");
  };
  const PostgresUse how{Lane::store, pool_.options().answer};
  co_return co_await in_transaction<bool>(pool_, how, "", std::move(work));
}

}  // namespace varve
