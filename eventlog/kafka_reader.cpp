#include "eventlog/kafka_reader.h"

#include <algorithm>

#include "eventlog/record.h"

namespace varve::kafka {
namespace {

// How long a read may take when there is something to read.
constexpr Duration kFetchTime = std::chrono::seconds(10);
constexpr Duration kEndTime = std::chrono::seconds(10);
// A leader that has just been elected, or a topic that has just been made, is asked again so soon, for so
// long.
constexpr Duration kAskAgain = std::chrono::milliseconds(50);
constexpr Duration kAskTime = std::chrono::seconds(2);
// A place that is not there is fatal for a reader, so the brokers are asked twice: the first answer may come
// from a leader that does not know yet that it is none.
constexpr Duration kSecondOpinion = std::chrono::milliseconds(500);
// Of one partition in one step, so that all of them and everything else get their turn.
constexpr int kRecordsPerStep = 512;

Error log_closed() {
  return Error{Errc::cancelled, "the log is closed"};
}

Error beyond_the_end(Partition partition, Offset end, Offset from) {
  return Error{Errc::corrupt, "the log of partition " + std::to_string(partition.value()) + " ends at " +
                                  std::to_string(end.value()) + ", a reader wants " +
                                  std::to_string(from.value()) + ": it was truncated or exchanged"};
}

Error before_the_start(Partition partition, Offset start, Offset from) {
  return Error{Errc::corrupt, "the log of partition " + std::to_string(partition.value()) + " begins at " +
                                  std::to_string(start.value()) + ", a reader wants " +
                                  std::to_string(from.value()) + ": records were deleted"};
}

bool to_be_asked_again(const Result<Ends>& ends) {
  if (!ends) return ends.error().code == Errc::unavailable;
  return std::any_of(ends->begin(), ends->end(),
                     [](const Result<Offset>& end) { return !end && end.error().code == Errc::unavailable; });
}

}  // namespace

class Reader::CountReader {
 public:
  CountReader(State& state, const Env& env) : state_(state), env_(env) { ++state_.readers; }
  CountReader(const CountReader&) = delete;
  CountReader& operator=(const CountReader&) = delete;
  ~CountReader() {
    --state_.readers;
    state_.read_at = env_.now();
  }

 private:
  State& state_;
  const Env& env_;
};

Reader::Reader(RealEnv& env, Options options) : env_(env), options_(std::move(options)) {
  const std::size_t share = kTailBytesTogether / options_.topic.partitions;
  for (std::uint32_t i = 0; i < options_.topic.partitions; ++i) {
    states_.emplace_back(std::min(kTailBytesMax, share));
  }
}

Result<std::shared_ptr<Reader>> Reader::open(RealEnv& env, Options options) {
  auto reader = std::make_shared<Reader>(env, std::move(options));
  if (Status started = reader->start(); !started) {
    reader->close();
    return started.error();
  }
  return reader;
}

Status Reader::start() {
  Client::Options follow_options = reader_options(options_.connection, options_.id + "-tail");
  follow_options.on_wake = [weak = weak_from_this()] {
    const auto self = weak.lock();
    return self && self->take_records();
  };
  auto client = Client::open(env_, std::move(follow_options));
  if (!client) return client.error();
  follower_ = std::move(*client);
  if (Status prepared = prepare_topic(*follower_, options_.topic, options_.open_time); !prepared)
    return prepared;
  Error refused;
  topic_ = follower_->topic(options_.topic.name, &refused);
  if (topic_ == nullptr) return refused;
  cursors_ = std::make_shared<Cursors>(
      ReaderSource{env_, options_.topic.name, reader_options(options_.connection, options_.id + "-scan")});
  env_.spawn("kafka log housekeeping", keep_house(shared_from_this()));
  return ok();
}

void Reader::close() {
  if (closed_) return;
  closed_ = true;
  if (cursors_) cursors_->close();
  if (follower_) follower_->close();
  if (question_) question_->answer.set(log_closed());
  for (State& state : states_) state.changed.notify_all();
  closing_.notify_all();
}

std::optional<Error> Reader::unreadable() const {
  if (closed_) return log_closed();
  return exchanged_;
}

// ---- following the ends ----

Task<Watermarks> Reader::watermarks(std::shared_ptr<Reader> self, Partition partition) {
  std::function<Result<Watermarks>(rd_kafka_s*)> ask = [topic = self->options_.topic.name,
                                                        partition](rd_kafka_s* rk) {
    return query_watermarks(rk, topic, partition);
  };
  const MonoTime deadline = self->env_.now() + kAskTime;
  auto marks = co_await self->follower_->call<Watermarks>(ask);
  while (!marks && marks.error().code == Errc::unavailable && self->env_.now() < deadline) {
    co_await sleep_for(self->env_, kAskAgain);
    marks = co_await self->follower_->call<Watermarks>(ask);
  }
  co_return marks;
}

// The partition's ends, `place` lying between them; Errc::corrupt if it does not.
Task<Watermarks> Reader::around(std::shared_ptr<Reader> self, Partition partition, Offset place) {
  auto marks = co_await watermarks(self, partition);
  if (marks && (place < marks->low || place > marks->high)) {
    co_await sleep_for(self->env_, kSecondOpinion);
    marks = co_await watermarks(self, partition);
  }
  if (!marks) co_return marks.error();
  if (place < marks->low) co_return before_the_start(partition, marks->low, place);
  if (place > marks->high) co_return beyond_the_end(partition, marks->high, place);
  co_return marks;
}

// Where to begin: at the end, or where the tail stopped if that is still a place of this log.
Task<Offset> Reader::place_of_tail(std::shared_ptr<Reader> self, Partition partition) {
  State& state = self->state_of(partition);
  const bool goes_on = state.placed;
  const Offset at = state.tail.end();
  Task<Watermarks> asking = goes_on ? around(self, partition, at) : watermarks(self, partition);
  auto marks = co_await std::move(asking);
  if (!marks) co_return marks.error();
  state.known_end = std::max(state.known_end, marks->high);
  Status same = co_await check_identity(self, partition);
  if (!same) co_return same.error();
  co_return goes_on ? at : marks->high;
}

Task<> Reader::follow(std::shared_ptr<Reader> self, Partition partition) {
  State& state = self->state_of(partition);
  state.follow = Follow::changing;
  state.failure.reset();
  auto at = co_await place_of_tail(self, partition);
  Status started = at ? ok() : Status{at.error()};
  if (at && !self->closed_) {
    if (!state.fetch) state.fetch = std::make_shared<Fetch>(self->follower_, self->topic_, partition);
    if (!state.placed) state.tail.restart(*at);
    state.placed = true;
    started = co_await Fetch::start(state.fetch, *at);
  }
  state.follow = started ? Follow::on : Follow::off;
  if (!started) state.failure = started.error();
  state.changed.notify_all();
  if (!self->closed_) self->take_records(state);
  co_return ok();
}

Task<> Reader::leave(std::shared_ptr<Reader> self, Partition partition) {
  State& state = self->state_of(partition);
  state.follow = Follow::changing;
  Status stopped = co_await Fetch::stop(state.fetch);
  // Memory is the point: the next reader begins at the end again.
  state.placed = false;
  state.tail.restart(Offset{});
  state.follow = Follow::off;
  state.changed.notify_all();
  co_return stopped;
}

bool Reader::take_records() {
  bool more = false;
  for (State& state : states_) {
    if (state.follow == Follow::on && take_records(state)) more = true;
  }
  return more;
}

// True if there may be more.
bool Reader::take_records(State& state) {
  if (state.follow != Follow::on) return false;
  const Offset before = state.tail.end();
  std::optional<LogRecord> record;
  Fetch::Taken taken = Fetch::Taken::record;
  int count = 0;
  for (; count < kRecordsPerStep && taken != Fetch::Taken::nothing && taken != Fetch::Taken::failed;
       ++count) {
    taken = state.fetch->take(record);
    if (taken != Fetch::Taken::record) continue;
    if (state.anchor.none) state.anchor = mark_of(*record);
    state.grown_since_check = true;
    state.tail.add(std::move(*record));
  }
  if (state.fetch->position() > state.tail.end()) state.tail.advance(state.fetch->position());
  state.known_end = std::max(state.known_end, state.tail.end());
  if (taken == Fetch::Taken::failed) {
    env_.log(LogLevel::warning, state.fetch->failure().message);
    env_.count("log_fetch_failures");
    state.follow = Follow::off;  // The next reader looks at the topic and begins again.
    if (!state.fetch->out_of_range()) state.failure = state.fetch->failure();
  }
  if (taken == Fetch::Taken::failed || state.tail.end() > before) state.changed.notify_all();
  return count == kRecordsPerStep;
}

// ---- reading ----

Task<ReadBatch> Reader::read(std::shared_ptr<Reader> self, Partition partition, Offset from,
                             ReadOptions options) {
  State& state = self->state_of(partition);
  const CountReader counted(state, self->env_);
  const Offset wanted = from;
  while (true) {
    if (const auto error = self->unreadable()) co_return *error;
    if (state.placed && from < state.tail.begin()) {
      auto batch = co_await read_behind(self, partition, from, options);
      if (!batch || !batch->records.empty()) co_return batch;
      from = batch->next;  // Nothing but a gap.
    } else if (state.placed && from < state.tail.end()) {
      auto batch = state.tail.read(from, options);
      if (!batch.records.empty()) co_return batch;
      from = batch.next;
    } else if (state.follow == Follow::off) {
      if (state.failure) co_return *std::exchange(state.failure, std::nullopt);
      Status followed = co_await follow(self, partition);
      if (!followed) co_return followed.error();
    } else if (state.follow == Follow::changing) {
      co_await state.changed.wait(self->env_, self->env_.now() + kFetchTime);
    } else {
      Status more = co_await wait_for_more(self, partition, from, options);
      if (!more) co_return more.error();
      if (from == state.tail.end() && state.known_end <= from)
        co_return ReadBatch{{}, std::max(from, wanted)};
    }
  }
}

// At the tail's end or beyond it. Ends well when there may be more, or when there is nothing and it is time
// to say so.
Task<> Reader::wait_for_more(std::shared_ptr<Reader> self, Partition partition, Offset from,
                             ReadOptions options) {
  State& state = self->state_of(partition);
  const auto nothing_new = [&] {
    return !self->unreadable() && state.follow == Follow::on && state.tail.end() <= from;
  };
  const bool patient = from == state.tail.end() && self->env_.now() < options.wait_until;
  while (patient && nothing_new() && self->env_.now() < options.wait_until) {
    co_await state.changed.wait(self->env_, options.wait_until);
  }
  if (patient || !nothing_new()) co_return ok();

  if (state.known_end <= from) {
    auto asked = co_await end(self, partition);
    if (!asked) co_return asked.error();
    if (*asked < from) {
      auto marks = co_await around(self, partition, from);
      if (!marks) co_return marks.error();
      state.known_end = std::max(state.known_end, marks->high);
      co_return ok();
    }
    if (*asked == from && state.tail.end() == from) co_return ok();
  }
  // There is something, and it is on its way.
  const MonoTime deadline = self->env_.now() + kFetchTime;
  while (nothing_new() && self->env_.now() < deadline) co_await state.changed.wait(self->env_, deadline);
  if (nothing_new() && !(state.tail.end() == from && state.known_end <= from)) {
    co_return Error{Errc::unavailable, "the newest records of partition " +
                                           std::to_string(partition.value()) + " cannot be read yet"};
  }
  co_return ok();
}

Task<ReadBatch> Reader::read_behind(std::shared_ptr<Reader> self, Partition partition, Offset from,
                                    ReadOptions options) {
  State& state = self->state_of(partition);
  auto out_of_range = std::make_shared<bool>(false);
  auto batch = co_await Cursors::read(self->cursors_, partition, from, options, kFetchTime, out_of_range);
  if (const auto error = self->unreadable()) co_return *error;
  if (batch) {
    if (state.anchor.none && !batch->records.empty()) state.anchor = mark_of(batch->records.back());
    state.known_end = std::max(state.known_end, batch->next);
    co_return batch;
  }
  if (!*out_of_range) co_return batch;
  auto marks = co_await around(self, partition, from);
  if (!marks) co_return marks.error();
  co_return Error{Errc::unavailable, batch.error().message};
}

// ---- the end ----

Task<Offset> Reader::end(std::shared_ptr<Reader> self, Partition partition) {
  if (!self->question_) self->question_ = std::make_shared<EndQuestion>();
  const std::shared_ptr<EndQuestion> mine = self->question_;
  auto& asked = mine->partitions;
  if (std::find(asked.begin(), asked.end(), partition) == asked.end()) asked.push_back(partition);
  if (!self->answering_) {
    self->answering_ = true;
    self->env_.spawn("kafka log ends", answer_ends(self));
  }
  auto answer = co_await mine->answer.get(self->env_, self->env_.now() + kEndTime);
  if (!answer) co_return answer.error();
  const auto place = std::find(asked.begin(), asked.end(), partition) - asked.begin();
  const Result<Offset>& its_end = (**answer)[static_cast<std::size_t>(place)];
  State& state = self->state_of(partition);
  if (its_end) state.known_end = std::max(state.known_end, *its_end);
  co_return its_end;
}

Task<> Reader::answer_ends(std::shared_ptr<Reader> self) {
  while (self->question_) {
    const std::shared_ptr<EndQuestion> now = std::exchange(self->question_, nullptr);
    std::function<Result<Ends>(rd_kafka_s*)> ask = [topic = self->options_.topic.name,
                                                    partitions = now->partitions](rd_kafka_s* rk) {
      return query_ends(rk, topic, partitions);
    };
    const MonoTime deadline = self->env_.now() + kAskTime;
    auto ends = co_await self->follower_->call<Ends>(ask);
    while (to_be_asked_again(ends) && self->env_.now() < deadline) {
      co_await sleep_for(self->env_, kAskAgain);
      ends = co_await self->follower_->call<Ends>(ask);
    }
    if (ends) now->answer.set(std::make_shared<const Ends>(std::move(*ends)));
    if (!ends) now->answer.set(ends.error());
  }
  self->answering_ = false;
  co_return ok();
}

// ---- housekeeping ----

Task<> Reader::keep_house(std::shared_ptr<Reader> self) {
  std::uint32_t checked = 0;
  while (!self->closed_) {
    co_await self->closing_.wait(self->env_, self->env_.now() + kIdentityCheck);
    if (self->closed_) break;
    self->cursors_->close_idle();
    for (std::uint32_t i = 0; i < self->options_.topic.partitions; ++i) {
      State& state = self->states_[i];
      if (state.follow == Follow::on && state.readers == 0 &&
          self->env_.now() - state.read_at > kFollowIdle) {
        self->env_.spawn("kafka log leaves a partition", leave(self, Partition{i}));
      }
    }
    // A topic is exchanged as a whole, so one partition at a time is enough.
    for (std::uint32_t tried = 0; tried < self->options_.topic.partitions && !self->exchanged_; ++tried) {
      checked = (checked + 1) % self->options_.topic.partitions;
      const State& state = self->states_[checked];
      if (state.anchor.none || !state.grown_since_check) continue;
      Status same = co_await check_identity(self, Partition{checked});
      ignore_error(same, "it is tried again, or every reader is told");
      break;
    }
  }
  co_return ok();
}

Task<> Reader::check_identity(std::shared_ptr<Reader> self, Partition partition) {
  State& state = self->state_of(partition);
  if (state.anchor.none) co_return ok();
  const Mark anchor = state.anchor;
  // Seen before the question, so of this topic if the anchor is.
  const Mark newest = state.tail.newest() != nullptr ? mark_of(*state.tail.newest()) : anchor;
  state.grown_since_check = false;
  auto out_of_range = std::make_shared<bool>(false);
  auto batch = co_await Cursors::read_one(self->cursors_, partition, anchor.offset, kFetchTime, out_of_range);
  self->env_.count("log_identity_checks");
  if (!batch) {
    state.grown_since_check = true;
    if (!*out_of_range) co_return batch.error();
    auto marks = co_await around(self, partition, anchor.offset);
    if (marks) co_return Error{Errc::unavailable, batch.error().message};
    if (marks.error().code != Errc::corrupt) co_return marks.error();
  }
  if (batch && !batch->records.empty() && mark_of(batch->records.front()) == anchor) {
    state.anchor = newest;
    co_return ok();
  }
  self->exchanged_ =
      Error{Errc::corrupt, "the record " + to_string(LogPosition{partition, anchor.offset}) +
                               " that was read before is " +
                               (batch ? "another one now" : "not there any more") + ": the topic '" +
                               self->options_.topic.name + "' was truncated, or deleted and made again"};
  self->env_.log(LogLevel::error, self->exchanged_->message);
  for (State& each : self->states_) each.changed.notify_all();
  co_return *self->exchanged_;
}

}  // namespace varve::kafka
