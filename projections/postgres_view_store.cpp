#include "projections/postgres_view_store.h"

#include <utility>

#include "projections/postgres_view_batch.h"
#include "projections/postgres_view_reader.h"
#include "projections/search_terms.h"
#include "projections/store_rules.h"

namespace varve {

namespace {

std::string schema_of(const std::string& prefix, std::uint64_t generation) {
  return prefix + "_views_" + std::to_string(generation);
}

// Before a batch was sent: whatever became of the tables.
Error nothing_written(const Error& error) {
  return {error.code == Errc::outcome_unknown ? Errc::unavailable : error.code, error.message};
}

PostgresBinary binary(const PostgresStatement& statement) {
  return PostgresBinary{statement.parameters.values()};
}

// ---- what does not fit ----

Error insert_does_not_fit(const RowInsert& insert) {
  return {Errc::corrupt,
          "insert of " + describe(insert.view, insert.row) + ": the entity has an open version already"};
}

// ok(): nothing speaks against it. An error of the server is passed on, but for a key that is there.
Status try_insert(PostgresTransaction& transaction, const ViewTables& tables, const RowInsert& insert) {
  const PostgresStatement statement = insert_statement(tables, insert);
  const auto done = transaction.run(statement.text, binary(statement));
  if (done ? done->size() == 1 : done.error().code != Errc::conflict)
    return done ? ok() : Status{done.error()};
  return insert_does_not_fit(insert);
}

Status try_close(PostgresTransaction& transaction, const ViewTables& tables, Partition partition,
                 const RowClose& close) {
  const PostgresStatement statement = close_statement(tables, partition, close);
  const auto done = transaction.run(statement.text, binary(statement));
  if (!done) return done.error();
  if (done->size() == 1) return ok();
  return Error{Errc::corrupt, "closing of " + describe_entity(close.view, close.key) + " at " +
                                  to_string(LogPosition{partition, close.to.offset}) + " met " +
                                  std::to_string(done->size()) + " open rows, not 1"};
}

Status try_quarantine(PostgresTransaction& transaction, const ViewTables& tables, const Batch& batch) {
  if (!batch.released.empty()) {
    const PostgresStatement statement = release_statement(tables, batch.partition, batch.released);
    if (const auto done = transaction.run(statement.text, binary(statement)); !done) return done.error();
  }
  for (const QuarantineRow& row : batch.quarantined) {
    const PostgresStatement statement = quarantine_statement(tables, row);
    const auto done = transaction.run(statement.text, binary(statement));
    if (done) continue;
    if (done.error().code != Errc::conflict) return done.error();
    return Error{Errc::corrupt, "quarantine of " + row.stream.value() + " at " +
                                    to_string(LogPosition{row.partition, row.offset}) +
                                    ": it is there already"};
  }
  if (!batch.times) return ok();
  const PostgresStatement statement = times_statement(tables, batch.partition, *batch.times);
  const auto done = transaction.run(statement.text, binary(statement));
  if (done || done.error().code != Errc::conflict) return done ? ok() : Status{done.error()};
  return Error{Errc::corrupt, "the times of the batch from " +
                                  to_string(LogPosition{batch.partition, batch.times->first}) +
                                  ": they are there already"};
}

Status try_rows(PostgresTransaction& transaction, const ViewTables& tables, const Batch& batch) {
  for (const RowChange& change : batch.changes) {
    const auto* insert = std::get_if<RowInsert>(&change);
    const Status fits = insert != nullptr
                            ? try_insert(transaction, tables, *insert)
                            : try_close(transaction, tables, batch.partition, std::get<RowClose>(change));
    if (!fits) return fits;
  }
  return try_quarantine(transaction, tables, batch);
}

// The batch does not fit what is stored: does it again row by row, in a transaction that is never committed,
// to name the first row that does not. `why` is the answer if every row does.
Result<CommitOutcome> find_misfit(PostgresSession& session, const ViewTables& tables, const Batch& batch,
                                  const Error& why) {
  bool lost_race = false;
  const Status tried =
      session.transaction(PostgresMode::write, "", [&](PostgresTransaction& transaction) -> Status {
        const PostgresStatement statement = move_statement(tables, batch);
        const auto moved = transaction.run(statement.text, binary(statement));
        if (!moved) return moved.error();
        lost_race = moved->empty();
        if (lost_race) return why;  // Whatever ends the transaction.
        const Status fits = try_rows(transaction, tables, batch);
        return fits ? Status{why} : fits;
      });
  if (lost_race) return CommitOutcome::lost_race;
  return tried ? why : tried.error();
}

// What the server says of a statement that it understood and did not like; everything else passes.
bool is_about_rows(const Error& error) {
  return error.code == Errc::conflict || error.code == Errc::invalid_argument || error.code == Errc::corrupt;
}

// Of the generation that is shown.
std::string number_shown(const std::string& prefix) {
  return "SELECT number FROM " + quoted_name(prefix + "_live") + ".generation";
}

// What was wrong with a batch is of no interest once another generation is shown.
bool is_shown_no_more(PostgresSession& session, const std::string& prefix, std::uint64_t generation) {
  const auto shown = session.ask(number_shown(prefix), {});
  return shown && shown->size() == 1 && shown->unsigned_integer(0, 0) != generation;
}

Result<CommitOutcome> write_batch(PostgresSession& session, const ViewTables& tables, const Batch& batch,
                                  const BatchNews& news) {
  const BatchPlan plan = plan_of(batch);
  if (plan.contradicts_itself) {
    return find_misfit(session, tables, batch,
                       {Errc::corrupt, "a batch of partition " + std::to_string(batch.partition.value()) +
                                           " opens what it has opened, or closes what it has closed"});
  }
  const PostgresStatement statement = batch_statement(tables, batch, plan, news);
  const auto moved = session.write(statement.text, binary(statement));
  if (moved) return moved->empty() ? CommitOutcome::lost_race : CommitOutcome::committed;
  if (!is_about_rows(moved.error())) return moved.error();
  auto found = find_misfit(session, tables, batch, moved.error());
  // The statement itself is known to have written nothing.
  if (!found && found.error().code == Errc::outcome_unknown) found = moved.error();
  return found;
}

// ---- making a generation ----

// The prefix of its schema.
Result<std::string> make_generation(PostgresSession& session, std::uint64_t generation) {
  std::string prefix;
  const Status made =
      session.transaction(PostgresMode::write, "", [&](PostgresTransaction& transaction) -> Status {
        PostgresParameters numbers;
        const std::string number = numbers.add(static_cast<std::int64_t>(generation));
        const std::string version = numbers.add(kSearchVersion);
        const auto names = transaction.run("SELECT make_generation(" + number + ", " + version +
                                               "), show_first_generation(" + number + "), views_prefix()",
                                           PostgresBinary{numbers.values()});
        if (!names) return names.error();
        prefix = names->text(0, 2);
        const auto indexed = transaction.run(
            "SELECT version FROM " + ViewTables{schema_of(prefix, generation)}.search_index(), {});
        if (!indexed) return indexed.error();
        if (indexed->size() == 1 && indexed->integer(0, 0) == kSearchVersion) return ok();
        return Error{Errc::corrupt,
                     "the messages of generation " + std::to_string(generation) +
                         " of the views were indexed by another version of Varve: rebuild them"};
      });
  if (!made) return made.error();
  return prefix;
}

// Nothing: none is.
Result<std::optional<std::uint64_t>> generation_shown(PostgresSession& session) {
  const auto prefix = session.ask(
      "SELECT views_prefix(), to_regclass(quote_ident(views_prefix() || '_live') || '.generation') IS NOT "
      "NULL",
      {});
  if (!prefix) return prefix.error();
  if (!prefix->boolean(0, 1)) return std::optional<std::uint64_t>{};
  const auto shown = session.ask(number_shown(std::string{prefix->text(0, 0)}), {});
  if (!shown) return shown.error();
  return std::optional{shown->unsigned_integer(0, 0)};
}

}  // namespace

Task<> PostgresViewStore::prepare() {
  const auto prepared = co_await tables();
  co_return prepared ? ok() : Status{prepared.error()};
}

PostgresViewStore::SharedTables PostgresViewStore::tables_of(const std::string& prefix,
                                                             std::uint64_t generation) const {
  const ViewTables own{schema_of(prefix, generation)};
  if (options_.reads != Reads::live)
    return std::make_shared<const Tables>(Tables{own, own, generation, prefix, ""});
  // The switch takes this lock alone for itself before it touches what else is shown. The snapshot of the
  // transaction is taken behind it: a read sees one generation, and all of what it had when it was shown.
  const std::string lock = "LOCK TABLE " + quoted_name(prefix + "_live") + ".generation IN ACCESS SHARE MODE";
  return std::make_shared<const Tables>(Tables{own, ViewTables{prefix + "_live"}, generation, prefix, lock});
}

Task<PostgresViewStore::SharedTables> PostgresViewStore::tables() {
  if (tables_) co_return tables_;
  const Options options = options_;
  const auto generation = std::make_shared<std::uint64_t>(options.generation);
  std::function<Result<std::string>(PostgresSession&)> job =
      [options, generation](PostgresSession& session) -> Result<std::string> {
    if (options.follows_live) {
      auto shown = generation_shown(session);
      if (!shown) return shown.error();
      *generation = shown->value_or(options.generation);
    }
    return make_generation(session, *generation);
  };
  const PostgresUse how{options_.lane, pool_.options().answer};
  const auto prefix = co_await pool_.run<std::string>(how, std::move(job));
  if (!prefix) co_return prefix.error();
  tables_ = tables_of(*prefix, *generation);
  co_return tables_;
}

Task<LoadedCheckpoint> PostgresViewStore::load(Partition partition) {
  const auto prepared = co_await tables();
  if (!prepared) co_return prepared.error();
  const auto generation = std::make_shared<std::uint64_t>((*prepared)->generation);
  std::function<Result<LoadedCheckpoint>(PostgresSession&)> job =
      [tables = *prepared, partition, generation,
       follows = options_.follows_live](PostgresSession& session) -> Result<LoadedCheckpoint> {
    LoadedCheckpoint loaded;
    const Status read =
        session.transaction(PostgresMode::read_snapshot, "", [&](PostgresTransaction& transaction) -> Status {
          if (follows) {
            const auto shown = transaction.run(number_shown(tables->prefix), PostgresParams{});
            if (!shown) return shown.error();
            *generation = shown->unsigned_integer(0, 0);
          }
          const ViewTables own = follows ? ViewTables{schema_of(tables->prefix, *generation)} : tables->own;
          PostgresViewReader reader{transaction, own};
          auto found = reader.load(partition);
          if (!found) return found.error();
          loaded = *std::move(found);
          return ok();
        });
    if (!read) return read.error();
    return loaded;
  };
  const PostgresUse how{options_.lane, pool_.options().answer};
  auto loaded = co_await pool_.run<LoadedCheckpoint>(how, std::move(job));
  if (loaded && *generation != tables_->generation) tables_ = tables_of(tables_->prefix, *generation);
  co_return loaded;
}

Task<CommitOutcome> PostgresViewStore::commit(Batch batch) {
  check_batch(batch);
  const auto prepared = co_await tables();
  if (!prepared) co_return nothing_written(prepared.error());
  auto shared = std::make_shared<const Batch>(std::move(batch));
  const BatchNews news{options_.tells ? (*prepared)->prefix : "", (*prepared)->generation};
  std::function<Result<CommitOutcome>(PostgresSession&)> job =
      [tables = *prepared, shared, news,
       follows = options_.follows_live](PostgresSession& session) -> Result<CommitOutcome> {
    auto outcome = write_batch(session, tables->own, *shared, news);
    if (!outcome && follows && is_about_rows(outcome.error()) &&
        is_shown_no_more(session, tables->prefix, tables->generation)) {
      return CommitOutcome::lost_race;
    }
    return outcome;
  };
  const PostgresUse how{options_.lane, pool_.options().answer};
  co_return co_await pool_.run<CommitOutcome>(how, std::move(job));
}

Task<> PostgresViewStore::read(std::function<Status(ViewReader&)> work) {
  const auto prepared = co_await tables();
  if (!prepared) co_return prepared.error();
  std::function<Result<Unit>(PostgresSession&)> job = [tables = *prepared,
                                                       work = std::move(work)](PostgresSession& session) {
    const std::string& begin = tables->begin_read;
    return session.transaction(PostgresMode::read_snapshot, begin, [&](PostgresTransaction& transaction) {
      PostgresViewReader reader{transaction, tables->read};
      return work(reader);
    });
  };
  const PostgresUse how{Lane::read, pool_.options().answer};
  co_return co_await pool_.run<Unit>(how, std::move(job));
}

Task<> show_generation(PostgresPool& pool, std::uint64_t generation) {
  std::function<Result<Unit>(PostgresSession&)> job = [generation](PostgresSession& session) -> Result<Unit> {
    PostgresParameters numbers;
    const std::string number = numbers.add(static_cast<std::int64_t>(generation));
    const auto shown =
        session.write("SELECT show_generation(" + number + ")", PostgresBinary{numbers.values()});
    return shown ? ok() : Status{shown.error()};
  };
  const PostgresUse how{Lane::store, pool.options().answer};
  co_return co_await pool.run<Unit>(how, std::move(job));
}

}  // namespace varve
