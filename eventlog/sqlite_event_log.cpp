#include "eventlog/sqlite_event_log.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <optional>

#include "eventlog/record.h"
#include "eventlog/sqlite_log_file.h"
#include "runtime/suspend.h"

namespace varve {
namespace {

using sqlite::FileRecord;
using sqlite::LogFileReader;
using sqlite::LogWriter;
using sqlite::WriteResult;

constexpr Duration kPoll = std::chrono::milliseconds(20);
constexpr std::size_t kIdleReadersMax = 4;

Error no_such_partition(Partition partition, std::size_t partitions) {
  return Error{Errc::invalid_argument, "the log has partitions 0 to " + std::to_string(partitions - 1) +
                                           ", not " + std::to_string(partition.value())};
}

Error closed() {
  return Error{Errc::cancelled, "the log is closed"};
}

// Connections for reading. A job owns one from take() to give(), so that no two jobs ever share one, however
// many threads the lane has; reads never wait for the writer's lane.
class ReaderPool {
 public:
  explicit ReaderPool(std::string directory) : directory_(std::move(directory)) {}

  std::shared_ptr<LogFileReader> take() {  // Null: open one (on the lane).
    if (idle_.empty()) return nullptr;
    auto reader = std::move(idle_.back());
    idle_.pop_back();
    return reader;
  }
  void give(std::shared_ptr<LogFileReader> reader) {
    if (reader && idle_.size() < kIdleReadersMax) idle_.push_back(std::move(reader));
  }
  const std::string& directory() const { return directory_; }

 private:
  std::string directory_;
  std::vector<std::shared_ptr<LogFileReader>> idle_;
};

template <class T>
using FileWork = std::function<Result<T>(LogFileReader&)>;

// Runs `work` on the read lane with a connection of its own. After an error the connection is not used again.
template <class T>
Task<T> with_reader(Env& env, std::shared_ptr<ReaderPool> pool, FileWork<T> work) {
  auto reader = std::make_shared<std::shared_ptr<LogFileReader>>(pool->take());
  const std::string directory = pool->directory();
  std::function<Result<T>()> job = [reader, directory, moved = std::move(work)]() -> Result<T> {
    if (!*reader) {
      auto opened = LogFileReader::open(directory);
      if (!opened) return opened.error();
      *reader = std::move(*opened);
    }
    Result<T> result = moved(**reader);
    if (!result) reader->reset();
    return result;
  };
  Result<T> result = co_await offload<T>(env, Lane::read, std::move(job));
  pool->give(std::move(*reader));
  co_return result;
}

// The newest records of a partition, without holes: the last one lies right before the log's end.
class Tail {
 public:
  void add(LogRecord record) {
    bytes_ += record.bytes->size();
    records_.push_back(std::move(record));
    if (records_.size() > kDecodedMax) {
      DecodeOnce& old = *records_[records_.size() - 1 - kDecodedMax].decode;
      old.result.reset();
      old.keep = false;
    }
    while (records_.size() > SqliteEventLog::kTailRecordsMax || bytes_ > SqliteEventLog::kTailBytesMax) {
      bytes_ -= records_.front().bytes->size();
      records_.pop_front();
    }
  }
  void clear() {
    records_.clear();
    bytes_ = 0;
  }
  bool holds(Offset offset) const {
    return !records_.empty() && records_.front().offset <= offset && offset <= records_.back().offset;
  }
  ReadBatch read(Offset from, const ReadOptions& options) const {
    ReadBatch batch;
    std::size_t bytes = 0;
    auto i = static_cast<std::size_t>(from.value() - records_.front().offset.value());
    while (i < records_.size() && (batch.records.empty() || (batch.records.size() < options.records_max &&
                                                             bytes < options.bytes_max))) {
      bytes += records_[i].bytes->size();
      batch.records.push_back(records_[i++]);
    }
    batch.next = next(batch.records.back().offset);
    return batch;
  }

 private:
  // The newest ones stay decoded: more than any reader is behind in steady state.
  static constexpr std::size_t kDecodedMax = 256;

  std::deque<LogRecord> records_;
  std::size_t bytes_ = 0;
};

struct PartitionState {
  Offset end;  // What this process shows to readers; the file may be ahead for the moment between COMMIT and
               // done.
  Tail tail;
  Notifier grown;
};

// Longer records are decoded when they are read: not all that are in flight at once.
constexpr std::size_t kDecodedAheadMax = std::size_t{64} << 10U;

// Appends that share a transaction. Offsets are given when the job starts: those of a job that failed are
// free.
struct WriteJob {
  std::vector<FileRecord> records;
  std::vector<std::shared_ptr<DecodeOnce>> decodes;
  std::vector<Delivery> deliveries;
  std::size_t bytes = 0;
  WriteResult result;

  void settle(const Error& error) const {
    for (const Delivery& delivery : deliveries) delivery->set(error);
  }
};

}  // namespace

// Shared with tasks and jobs under way, so that the log may be destroyed while they exist.
struct SqliteEventLog::Impl : std::enable_shared_from_this<Impl> {
  Impl(Env& its_env, const std::string& directory, std::shared_ptr<LogWriter> its_writer,
       std::vector<Offset> ends)
      : env(its_env),
        writer(std::move(its_writer)),
        pool(std::make_shared<ReaderPool>(directory)),
        partitions(ends.size()),
        queue(std::make_shared<WriteJob>()) {
    for (std::size_t i = 0; i < ends.size(); ++i) partitions[i].end = ends[i];
  }

  Status admit(Partition partition, std::size_t bytes) const;
  void start_job();
  void finish(const std::shared_ptr<WriteJob>& job);
  void take_in(const WriteJob& job);
  void close();

  Env& env;
  std::shared_ptr<LogWriter> writer;  // Null: closed. A job under way keeps its own reference.
  std::shared_ptr<ReaderPool> pool;
  std::vector<PartitionState> partitions;
  std::shared_ptr<WriteJob> queue;    // What the next job takes.
  std::shared_ptr<WriteJob> writing;  // At most one job at a time.
  std::size_t records_in_flight = 0;
  std::size_t bytes_in_flight = 0;
  std::optional<Error> unusable;
};

Status SqliteEventLog::Impl::admit(Partition partition, std::size_t bytes) const {
  if (partition.value() >= partitions.size()) return no_such_partition(partition, partitions.size());
  if (bytes > kRecordBytesMax) {
    return Error{Errc::resource_exhausted, "a record of " + std::to_string(bytes) +
                                               " bytes is over the limit of " +
                                               std::to_string(kRecordBytesMax)};
  }
  if (unusable) return *unusable;
  if (records_in_flight >= kRecordsInFlightMax || bytes_in_flight + bytes > kBytesInFlightMax) {
    return Error{Errc::resource_exhausted, "too many records wait for the disk; try again later"};
  }
  return ok();
}

void SqliteEventLog::Impl::start_job() {
  if (writing || queue->records.empty()) return;
  writing = std::exchange(queue, std::make_shared<WriteJob>());
  std::vector<Offset> ends;
  for (const PartitionState& partition : partitions) ends.push_back(partition.end);
  for (FileRecord& record : writing->records) {
    Offset& end = ends[record.partition.value()];
    record.offset = end;
    end = next(end);
  }
  env.offload(
      Lane::log, [job = writing, its_writer = writer] { job->result = its_writer->write(job->records); },
      [weak = weak_from_this(), job = writing] {
        if (const auto self = weak.lock()) self->finish(job);
      });
}

void SqliteEventLog::Impl::finish(const std::shared_ptr<WriteJob>& job) {
  if (!writer) return;  // Closed meanwhile; the deliveries have been told.
  writing = nullptr;
  records_in_flight -= job->records.size();
  bytes_in_flight -= job->bytes;
  const WriteResult& result = job->result;
  if (result.outcome == WriteResult::Outcome::written) {
    env.count("log_batches");
    env.count("log_bytes", job->bytes);
    take_in(*job);
  } else {
    env.count("log_append_failures", job->records.size());
    env.log(LogLevel::error, "the log could not write " + std::to_string(job->records.size()) +
                                 " records: " + to_string(result.error));
    if (result.unusable) {
      unusable = Error{
          Errc::unavailable,
          "the log takes no more records until the server is restarted, because of: " + result.error.message};
    }
    for (std::size_t i = 0; i < result.ends.size(); ++i) {
      if (result.ends[i] == partitions[i].end) continue;
      // It landed after all. The tail would have a hole: readers find these records in the file.
      partitions[i].tail.clear();
      partitions[i].end = result.ends[i];
      partitions[i].grown.notify_all();
    }
    job->settle(result.error);
  }
  if (unusable) {
    const auto refused = std::exchange(queue, std::make_shared<WriteJob>());
    records_in_flight -= refused->records.size();
    bytes_in_flight -= refused->bytes;
    refused->settle(*unusable);
  }
  start_job();
}

void SqliteEventLog::Impl::take_in(const WriteJob& job) {
  for (std::size_t i = 0; i < job.records.size(); ++i) {
    const FileRecord& record = job.records[i];
    PartitionState& partition = partitions[record.partition.value()];
    partition.tail.add({record.offset, record.bytes, job.decodes[i]});
    partition.end = next(record.offset);
    job.deliveries[i]->set(record.offset);
    partition.grown.notify_all();
  }
}

void SqliteEventLog::Impl::close() {
  writer = nullptr;
  queue->settle(Error{Errc::unavailable, "the log was closed before it wrote the record"});
  if (writing) writing->settle(Error{Errc::outcome_unknown, "the log was closed while it wrote the record"});
  for (PartitionState& partition : partitions) partition.grown.notify_all();
}

SqliteEventLog::SqliteEventLog(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
SqliteEventLog::~SqliteEventLog() {
  impl_->close();
}

Result<std::unique_ptr<SqliteEventLog>> SqliteEventLog::open(Env& env, Options options) {
  const auto files = options.files ? options.files : sqlite::system_log_files();
  auto writer = LogWriter::open(*files, options.directory, options.partitions);
  if (!writer) return writer.error();
  auto ends = (*writer)->ends();
  if (!ends) return ends.error();
  auto impl = std::make_shared<Impl>(env, options.directory, std::move(*writer), std::move(*ends));
  return std::unique_ptr<SqliteEventLog>(new SqliteEventLog(std::move(impl)));
}

std::uint32_t SqliteEventLog::partitions() const {
  return static_cast<std::uint32_t>(impl_->partitions.size());
}

Result<Delivery> SqliteEventLog::append(Partition partition, std::string key, std::string bytes) {
  if (Status admitted = impl_->admit(partition, bytes.size()); !admitted) return admitted.error();
  WriteJob& job = *impl_->queue;
  job.bytes += bytes.size();
  ++impl_->records_in_flight;
  impl_->bytes_in_flight += bytes.size();
  const LogRecord ahead{Offset{}, std::make_shared<const std::string>(std::move(bytes))};
  job.records.push_back({partition, Offset{}, std::move(key), ahead.bytes});
  job.decodes.push_back(ahead.decode);
  job.deliveries.push_back(std::make_shared<OneShot<Offset>>());
  Delivery delivery = job.deliveries.back();
  impl_->start_job();
  // Its readers will want it decoded: better now, beside the write, than while they are waited for.
  if (ahead.bytes->size() <= kDecodedAheadMax) ignore_error(decoded(ahead), "they meet the same error");
  return delivery;
}

Task<ReadBatch> SqliteEventLog::read(Partition partition, Offset from, ReadOptions options) {
  const auto impl = impl_;
  if (partition.value() >= impl->partitions.size())
    co_return no_such_partition(partition, impl->partitions.size());
  PartitionState& state = impl->partitions[partition.value()];
  while (from == state.end && impl->writer && impl->env.now() < options.wait_until) {
    co_await state.grown.wait(impl->env, options.wait_until);
  }
  if (!impl->writer) co_return closed();
  if (from > state.end) co_return sqlite::beyond_the_end(partition, state.end, from);
  if (from == state.end) co_return ReadBatch{{}, from};
  if (state.tail.holds(from)) co_return state.tail.read(from, options);
  // Up to the end that is shown, not the file's: end() must lie behind every record that a reader has seen.
  FileWork<ReadBatch> work = [partition, from, end = state.end, options](LogFileReader& file) {
    return file.read(partition, from, end, options);
  };
  co_return co_await with_reader<ReadBatch>(impl->env, impl->pool, std::move(work));
}

Task<Offset> SqliteEventLog::end(Partition partition) {
  if (partition.value() >= impl_->partitions.size())
    co_return no_such_partition(partition, impl_->partitions.size());
  co_return impl_->partitions[partition.value()].end;
}

EventLog::InFlight SqliteEventLog::in_flight() const {
  return {impl_->records_in_flight, impl_->bytes_in_flight};
}

struct SqliteLogReader::Impl {
  Env& env;
  std::uint32_t partitions;
  std::shared_ptr<ReaderPool> pool;
};

SqliteLogReader::SqliteLogReader(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
SqliteLogReader::~SqliteLogReader() = default;

Result<std::unique_ptr<SqliteLogReader>> SqliteLogReader::open(Env& env, std::string directory) {
  auto reader = LogFileReader::open(directory);
  if (!reader) return reader.error();
  auto pool = std::make_shared<ReaderPool>(std::move(directory));
  const std::uint32_t partitions = (*reader)->partitions();
  pool->give(std::move(*reader));
  auto impl = std::make_shared<Impl>(Impl{env, partitions, std::move(pool)});
  return std::unique_ptr<SqliteLogReader>(new SqliteLogReader(std::move(impl)));
}

std::uint32_t SqliteLogReader::partitions() const {
  return impl_->partitions;
}

Result<Delivery> SqliteLogReader::append(Partition /*partition*/, std::string /*key*/,
                                         std::string /*bytes*/) {
  return Error{Errc::unavailable, "the log in " + impl_->pool->directory() + " is open for reading only"};
}

Task<ReadBatch> SqliteLogReader::read(Partition partition, Offset from, ReadOptions options) {
  const auto impl = impl_;
  if (partition.value() >= impl->partitions) co_return no_such_partition(partition, impl->partitions);
  while (true) {
    FileWork<ReadBatch> work = [partition, from, options](LogFileReader& file) {
      return file.read(partition, from, options);
    };
    auto batch = co_await with_reader<ReadBatch>(impl->env, impl->pool, std::move(work));
    if (!batch || !batch->records.empty()) co_return batch;
    const MonoTime now = impl->env.now();
    if (now >= options.wait_until) co_return batch;
    const MonoTime again = std::min(now + kPoll, options.wait_until);
    co_await sleep_until(impl->env, again);
  }
}

Task<Offset> SqliteLogReader::end(Partition partition) {
  const auto impl = impl_;
  if (partition.value() >= impl->partitions) co_return no_such_partition(partition, impl->partitions);
  FileWork<Offset> work = [partition](LogFileReader& file) { return file.end(partition); };
  co_return co_await with_reader<Offset>(impl->env, impl->pool, std::move(work));
}

}  // namespace varve
