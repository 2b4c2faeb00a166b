#include "projections/sqlite_view_batch.h"

#include <sqlite3.h>

#include "projections/digest.h"

namespace varve {

namespace {

Status delete_quarantine(SqliteConnection& connection, Partition partition, const StreamId& stream) {
  const auto prepared = connection.statement("DELETE FROM quarantine WHERE \"partition\" = ? AND stream = ?");
  if (!prepared) return prepared.error();
  (*prepared)->bind(1, partition.value()).bind_text(2, stream.value());
  return (*prepared)->run();
}

Status insert_quarantine(SqliteConnection& connection, const QuarantineRow& row) {
  const auto prepared = connection.statement(
      "INSERT INTO quarantine (\"partition\", \"offset\", stream, event, type, reason, at) "
      "VALUES (?, ?, ?, ?, ?, ?, ?)");
  if (!prepared) return prepared.error();
  (*prepared)
      ->bind(1, row.partition.value())
      .bind(2, static_cast<std::int64_t>(row.offset.value()))
      .bind_text(3, row.stream.value())
      .bind(4, row.event)
      .bind_text(5, row.type)
      .bind_text(6, row.reason)
      .bind(7, row.at.value());
  const auto done = (*prepared)->run();
  if (done || !violates_a_constraint(connection)) return done;
  return Error{Errc::corrupt, "quarantine of " + row.stream.value() + " at " +
                                  to_string(LogPosition{row.partition, row.offset}) +
                                  ": it is there already"};
}

Status insert_times(SqliteConnection& connection, Partition partition, const TimesRow& row) {
  const auto prepared = connection.statement(
      "INSERT INTO times (\"partition\", first_offset, last_offset, first_at, last_at) VALUES (?, ?, ?, ?, "
      "?)");
  if (!prepared) return prepared.error();
  (*prepared)
      ->bind(1, partition.value())
      .bind(2, static_cast<std::int64_t>(row.first.value()))
      .bind(3, static_cast<std::int64_t>(row.last.value()))
      .bind(4, row.first_at.value())
      .bind(5, row.last_at.value());
  return (*prepared)->run();
}

}  // namespace

Result<bool> move_checkpoint(SqliteConnection& connection, const Batch& batch) {
  const auto prepared = connection.statement(
      batch.expected_version == 0
          ? "INSERT INTO checkpoints (version, next_offset, epoch, \"index\", cluster, at, mark_offset, "
            "mark_hash, "
            "digests, \"partition\") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
          : "UPDATE checkpoints SET version = ?, next_offset = ?, epoch = ?, \"index\" = ?, cluster = ?, "
            "at = ?, "
            "mark_offset = ?, mark_hash = ?, digests = ? WHERE \"partition\" = ? AND version = ? AND "
            "next_offset = ?");
  if (!prepared) return prepared.error();
  sqlite::Statement& statement = **prepared;
  const Checkpoint& checkpoint = batch.checkpoint;
  statement.bind(1, static_cast<std::int64_t>(checkpoint.version))
      .bind(2, static_cast<std::int64_t>(checkpoint.next.value()))
      .bind(3, static_cast<std::int64_t>(checkpoint.admission.epoch.value()))
      .bind(4, static_cast<std::int64_t>(checkpoint.admission.index.value()))
      .bind_text(5, checkpoint.admission.cluster)
      .bind(6, checkpoint.at.value());
  if (checkpoint.mark.none) {
    statement.bind_null(7).bind_null(8);
  } else {
    statement.bind(7, static_cast<std::int64_t>(checkpoint.mark.offset.value()))
        .bind(8, static_cast<std::int64_t>(checkpoint.mark.hash));
  }
  statement.bind_text(9, to_text(checkpoint.digests)).bind(10, batch.partition.value());
  if (batch.expected_version != 0) {
    statement.bind(11, static_cast<std::int64_t>(batch.expected_version))
        .bind(12, static_cast<std::int64_t>(batch.expected_next.value()));
  }
  if (const auto done = statement.run(); !done) return done.error();
  return connection.db().changes() == 1;
}

Status write_quarantine(SqliteConnection& connection, const Batch& batch) {
  for (const StreamId& stream : batch.released) {
    if (Status done = delete_quarantine(connection, batch.partition, stream); !done) return done;
  }
  for (const QuarantineRow& row : batch.quarantined) {
    if (Status done = insert_quarantine(connection, row); !done) return done;
  }
  return ok();
}

Status write_times(SqliteConnection& connection, const Batch& batch) {
  return batch.times ? insert_times(connection, batch.partition, *batch.times) : ok();
}

void bind_row(sqlite::Statement& statement, const Row& row) {
  int number = 1;
  for (const Value& value : row.values) bind_value(statement, number++, value);
  statement.bind(number++, row.from.partition.value())
      .bind(number++, static_cast<std::int64_t>(row.from.offset.value()))
      .bind(number++, row.from.ordinal)
      .bind(number++, row.from.at.value())
      .bind(number++, static_cast<std::int64_t>(row.from.sequence.value()));
  if (row.to) {
    statement.bind(number, static_cast<std::int64_t>(row.to->offset.value()))
        .bind(number + 1, row.to->at.value());
  } else {
    statement.bind_null(number).bind_null(number + 1);
  }
}

bool violates_a_constraint(const SqliteConnection& connection) {
  return (connection.db().last_code() & 0xff) == SQLITE_CONSTRAINT;
}

}  // namespace varve
