#include "projections/postgres_snapshot_store.h"

#include <algorithm>
#include <map>

#include "runtime/hash.h"

namespace varve {

namespace {

constexpr std::size_t kGroupBytesMax = std::size_t{16} << 20U;

std::string bits(std::uint64_t number) {
  return std::to_string(static_cast<std::int64_t>(number));
}

std::string flag(bool value) {
  return value ? "t" : "f";
}

bool is_damaged(const SnapshotRow& row) {
  return xxh64(row.state) != row.hash;
}

// One row per stream, in the order of the streams: what would be left if they were put one by one. A
// statement cannot replace a row twice, and rows that are locked in one order deadlock with nobody.
std::map<std::string, const SnapshotRow*> newest_of(const std::vector<SnapshotRow>& rows) {
  std::map<std::string, const SnapshotRow*> newest;
  for (const SnapshotRow& row : rows) {
    const auto [at, is_new] = newest.emplace(row.stream.value(), &row);
    const SnapshotRow& kept = *at->second;
    if (!is_new && replaces(row, kept.seen, kept.corrupt, is_damaged(kept))) at->second = &row;
  }
  return newest;
}

using Rows = std::map<std::string, const SnapshotRow*>;

template <class Column>
std::string column_of(const Rows& rows, const Column& column) {
  std::vector<std::optional<std::string>> items;
  items.reserve(rows.size());
  for (const auto& [stream, row] : rows) items.emplace_back(column(*row));
  return postgres_array(items);
}

// $1 .. $10 of kNew.
PostgresParams params_of(const Rows& rows) {
  return {
      column_of(rows, [](const SnapshotRow& row) { return row.stream.value(); }),
      column_of(rows, [](const SnapshotRow& row) { return std::to_string(row.partition.value()); }),
      column_of(rows, [](const SnapshotRow& row) { return bits(row.sequence.value()); }),
      column_of(rows, [](const SnapshotRow& row) { return bits(row.born.value()); }),
      column_of(rows, [](const SnapshotRow& row) { return flag(row.open_turn); }),
      column_of(rows, [](const SnapshotRow& row) { return flag(row.corrupt); }),
      column_of(rows, [](const SnapshotRow& row) { return bits(row.bad_offset.value()); }),
      column_of(rows, [](const SnapshotRow& row) { return bits(row.hash); }),
      column_of(rows, [](const SnapshotRow& row) { return row.state; }),
      column_of(rows, [](const SnapshotRow& row) { return bits(row.seen.value()); }),
  };
}

constexpr const char* kNew =
    "WITH new AS (SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::boolean[], "
    "$6::boolean[], $7::bigint[], $8::bigint[], $9::text[], $10::bigint[]) AS n (stream, \"partition\", "
    "sequence, born, open_turn, corrupt, bad_offset, hash, state, seen))";
constexpr const char* kInsert =
    " INSERT INTO snapshots AS old (stream, \"partition\", sequence, born, open_turn, corrupt, bad_offset, "
    "hash, state, seen) SELECT stream, \"partition\", sequence, born, open_turn, corrupt, bad_offset, hash, "
    "state, seen FROM new";
constexpr const char* kReplace =
    " ON CONFLICT (stream) DO UPDATE SET \"partition\" = excluded.\"partition\", sequence = "
    "excluded.sequence, "
    "born = excluded.born, open_turn = excluded.open_turn, corrupt = excluded.corrupt, "
    "bad_offset = excluded.bad_offset, hash = excluded.hash, state = excluded.state, seen = excluded.seen "
    "WHERE excluded.seen > old.seen OR (excluded.seen = old.seen AND ";
constexpr const char* kDigest = "encode(sha256(convert_to(old.state, 'UTF8')), 'hex')";

// replaces() but for damage. Rows that would only be replaced if they are damaged come back, and then nothing
// is written yet.
std::string put_statement() {
  return std::string{kNew} + ", tied AS (SELECT old.stream, old.hash, old.state, " + kDigest +
         " AS digest FROM snapshots old JOIN new USING (stream) "
         "WHERE old.seen = new.seen AND NOT (old.corrupt AND NOT new.corrupt)), written AS (" +
         kInsert + " WHERE NOT EXISTS (SELECT FROM tied)" + kReplace +
         "old.corrupt AND NOT excluded.corrupt)) SELECT stream, hash, state, digest FROM tied";
}

// $11 .. $13: the damaged rows, as they were read.
std::string put_over_damaged_statement() {
  return std::string{kNew} + kInsert + " WHERE true" + kReplace +
         "((old.corrupt AND NOT excluded.corrupt) OR EXISTS (SELECT FROM unnest($11::text[], $12::bigint[], "
         "$13::text[]) AS d (stream, hash, digest) WHERE d.stream = old.stream AND d.hash = old.hash AND "
         "d.digest = " +
         kDigest + ")))";
}

// Of the answer to put_statement(): the columns stream, hash and digest of the rows whose state is not what
// its hash says.
PostgresParams damaged_of(const PostgresRows& tied) {
  std::vector<std::optional<std::string>> streams;
  std::vector<std::int64_t> hashes;
  std::vector<std::optional<std::string>> digests;
  for (std::size_t row = 0; row < tied.size(); ++row) {
    if (xxh64(tied.text(row, 2)) == tied.unsigned_integer(row, 1)) continue;
    streams.emplace_back(tied.text(row, 0));
    hashes.push_back(tied.integer(row, 1));
    digests.emplace_back(tied.text(row, 3));
  }
  if (streams.empty()) return {};
  return {postgres_array(streams), postgres_array(hashes), postgres_array(digests)};
}

using Send = std::function<Result<PostgresRows>(const std::string& sql, const PostgresParams& params)>;

Status put_group(const Send& send, const Rows& rows) {
  PostgresParams params = params_of(rows);
  const auto tied = send(put_statement(), params);
  if (!tied) return tied.error();
  if (tied->empty()) return ok();
  PostgresParams damaged = damaged_of(*tied);
  if (damaged.empty() && tied->size() == rows.size()) return ok();
  if (damaged.empty()) damaged = {"{}", "{}", "{}"};
  params.insert(params.end(), damaged.begin(), damaged.end());
  const auto written = send(put_over_damaged_statement(), params);
  return written ? ok() : Status{written.error()};
}

// As many rows to a statement as make a parameter of moderate size. Usually that is all of them.
std::vector<Rows> groups_of(const Rows& rows) {
  std::vector<Rows> groups;
  std::size_t bytes = kGroupBytesMax;
  for (const auto& [stream, row] : rows) {
    if (bytes >= kGroupBytesMax) {
      groups.emplace_back();
      bytes = 0;
    }
    groups.back().emplace(stream, row);
    bytes += row->state.size();
  }
  return groups;
}

Status put_rows(PostgresSession& session, const std::vector<SnapshotRow>& given) {
  const std::vector<Rows> groups = groups_of(newest_of(given));
  if (groups.empty()) return ok();
  if (groups.size() == 1) {
    const Send send = [&session](const std::string& sql, const PostgresParams& params) {
      return session.write(sql, params);
    };
    return put_group(send, groups.front());
  }
  const auto body = [&groups](PostgresTransaction& transaction) -> Status {
    const Send send = [&transaction](const std::string& sql, const PostgresParams& params) {
      return transaction.run(sql, params);
    };
    for (const Rows& group : groups) {
      if (const auto done = put_group(send, group); !done) return done;
    }
    return ok();
  };
  return session.transaction(PostgresMode::write, "", body);
}

Result<std::optional<SnapshotRow>> get_row(PostgresSession& session, const StreamId& stream) {
  const auto found = session.ask(
      "SELECT \"partition\", sequence, born, open_turn, corrupt, bad_offset, hash, state, seen "
      "FROM snapshots WHERE stream = $1",
      {stream.value()});
  if (!found) return found.error();
  std::optional<SnapshotRow> row;
  if (found->empty()) return row;
  row.emplace();
  row->stream = stream;
  row->partition = Partition{static_cast<std::uint32_t>(found->integer(0, 0))};
  row->sequence = Sequence{found->unsigned_integer(0, 1)};
  row->born = Offset{found->unsigned_integer(0, 2)};
  row->open_turn = found->boolean(0, 3);
  row->corrupt = found->boolean(0, 4);
  row->bad_offset = Offset{found->unsigned_integer(0, 5)};
  row->hash = found->unsigned_integer(0, 6);
  row->state = std::string{found->text(0, 7)};
  row->seen = Offset{found->unsigned_integer(0, 8)};
  return row;
}

Result<std::optional<RecoveryRow>> get_recovery(PostgresSession& session, Partition partition) {
  const auto found = session.ask(
      "SELECT next_offset, epoch, \"index\", cluster, at, mark_offset, mark_hash, streams, version "
      "FROM recovery WHERE \"partition\" = $1::bigint",
      {std::to_string(partition.value())});
  if (!found) return found.error();
  std::optional<RecoveryRow> row;
  if (found->empty()) return row;
  row.emplace();
  row->partition = partition;
  row->next = Offset{found->unsigned_integer(0, 0)};
  row->admission = {Epoch{found->unsigned_integer(0, 1)}, Index{found->unsigned_integer(0, 2)},
                    std::string{found->text(0, 3)}};
  row->at = WallTime{found->integer(0, 4)};
  if (!found->is_null(0, 5)) {
    row->mark = Mark{false, Offset{found->unsigned_integer(0, 5)}, found->unsigned_integer(0, 6)};
  }
  row->streams = found->unsigned_integer(0, 7);
  row->version = found->unsigned_integer(0, 8);
  return row;
}

Result<bool> move_row(PostgresSession& session, const RecoveryRow& row) {
  PostgresParams params{bits(row.version + 1),
                        bits(row.next.value()),
                        bits(row.admission.epoch.value()),
                        bits(row.admission.index.value()),
                        row.admission.cluster,
                        std::to_string(row.at.value()),
                        std::nullopt,
                        std::nullopt,
                        bits(row.streams),
                        std::to_string(row.partition.value())};
  if (!row.mark.none) {
    params[6] = bits(row.mark.offset.value());
    params[7] = bits(row.mark.hash);
  }
  if (row.version != 0) params.emplace_back(bits(row.version));
  const auto moved = session.write(
      row.version == 0
          ? "INSERT INTO recovery (version, next_offset, epoch, \"index\", cluster, at, mark_offset, "
            "mark_hash, "
            "streams, \"partition\") VALUES ($1::bigint, $2::bigint, $3::bigint, $4::bigint, $5, $6::bigint, "
            "$7::bigint, $8::bigint, $9::bigint, $10::bigint) ON CONFLICT DO NOTHING"
          : "UPDATE recovery SET version = $1::bigint, next_offset = $2::bigint, epoch = $3::bigint, "
            "\"index\" = $4::bigint, cluster = $5, at = $6::bigint, mark_offset = $7::bigint, "
            "mark_hash = $8::bigint, streams = $9::bigint "
            "WHERE \"partition\" = $10::bigint AND version = $11::bigint AND next_offset <= $2::bigint",
      params);
  if (!moved) return moved.error();
  return moved->affected() == 1;
}

Result<std::vector<SnapshotPlace>> list_rows(PostgresSession& session, Partition partition,
                                             const StreamId& after, std::size_t limit) {
  const auto found = session.ask(
      "SELECT stream, born, seen FROM snapshots WHERE \"partition\" = $1::bigint AND stream > $2 "
      "ORDER BY stream LIMIT $3::bigint",
      {std::to_string(partition.value()), after.value(), std::to_string(limit)});
  if (!found) return found.error();
  std::vector<SnapshotPlace> places;
  places.reserve(found->size());
  for (std::size_t row = 0; row < found->size(); ++row) {
    places.push_back({StreamId{std::string{found->text(row, 0)}}, Offset{found->unsigned_integer(row, 1)},
                      Offset{found->unsigned_integer(row, 2)}});
  }
  return places;
}

Result<std::vector<StreamId>> list_open_turns(PostgresSession& session, Partition partition) {
  const auto found = session.ask(
      "SELECT stream FROM snapshots WHERE \"partition\" = $1::bigint AND open_turn ORDER BY stream",
      {std::to_string(partition.value())});
  if (!found) return found.error();
  std::vector<StreamId> streams;
  for (std::size_t row = 0; row < found->size(); ++row)
    streams.emplace_back(std::string{found->text(row, 0)});
  return streams;
}

}  // namespace

Task<> PostgresSnapshotStore::put(std::vector<SnapshotRow> rows) {
  std::function<Status(PostgresSession&)> job = [rows = std::move(rows)](PostgresSession& session) {
    return put_rows(session, rows);
  };
  co_return co_await pool_.run<Unit>(how(), std::move(job));
}

Task<std::optional<SnapshotRow>> PostgresSnapshotStore::get(StreamId stream) {
  using Found = std::optional<SnapshotRow>;
  std::function<Result<Found>(PostgresSession&)> job = [stream](PostgresSession& session) {
    return get_row(session, stream);
  };
  co_return co_await pool_.run<Found>(how(), std::move(job));
}

Task<std::optional<RecoveryRow>> PostgresSnapshotStore::recovery(Partition partition) {
  using Found = std::optional<RecoveryRow>;
  std::function<Result<Found>(PostgresSession&)> job = [partition](PostgresSession& session) {
    return get_recovery(session, partition);
  };
  co_return co_await pool_.run<Found>(how(), std::move(job));
}

Task<bool> PostgresSnapshotStore::move_recovery(RecoveryRow row) {
  std::function<Result<bool>(PostgresSession&)> job = [row = std::move(row)](PostgresSession& session) {
    return move_row(session, row);
  };
  co_return co_await pool_.run<bool>(how(), std::move(job));
}

Task<std::vector<SnapshotPlace>> PostgresSnapshotStore::list(Partition partition, StreamId after,
                                                             std::size_t limit) {
  using Places = std::vector<SnapshotPlace>;
  std::function<Result<Places>(PostgresSession&)> job = [partition, after, limit](PostgresSession& session) {
    return list_rows(session, partition, after, limit);
  };
  co_return co_await pool_.run<Places>(how(), std::move(job));
}

Task<std::vector<StreamId>> PostgresSnapshotStore::open_turns(Partition partition) {
  using Streams = std::vector<StreamId>;
  std::function<Result<Streams>(PostgresSession&)> job = [partition](PostgresSession& session) {
    return list_open_turns(session, partition);
  };
  co_return co_await pool_.run<Streams>(how(), std::move(job));
}

}  // namespace varve
