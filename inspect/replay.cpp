#include "inspect/replay.h"

#include <algorithm>

#include "actors/state_codec.h"

namespace varve {
namespace {

std::int64_t as_signed(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}

// Without what changes with every event and says nothing.
Json told_state(const ActorState& state) {
  if (state.sequence == Sequence{} && !state.corrupt) return Json::object();
  auto json = Json::parse(encode_state(state));
  if (!json) return Json::object();
  for (const char* noise :
       {"v", "stream", "sequence", "recent", "born", "created_at", "created_by", "kind"}) {
    json->remove(noise);
  }
  if (!state.deleted) json->remove("deleted");
  if (!state.corrupt) {
    for (const char* noise : {"corrupt", "bad_offset", "why_corrupt"}) json->remove(noise);
  }
  // "settings.name" instead of "body.settings.name".
  const Json* body = json->find("body");
  Json told = body != nullptr && body->is_object() ? *body : Json::object();
  for (const auto& [name, value] : json->members()) {
    if (name != "body") told.set(name, value);
  }
  return told;
}

std::string type_of_stored(const StoredEvent& stored) {
  const auto* event = std::get_if<Event>(&stored);
  return event != nullptr ? std::string(type_of(*event)) : std::get<UnreadableEvent>(stored).type;
}

// The event's own data, without type and version.
std::string data_of(const StoredEvent& stored) {
  const auto* event = std::get_if<Event>(&stored);
  if (event == nullptr) return std::get<UnreadableEvent>(stored).data;
  JsonWriter out;
  write_event(out, *event);
  const auto json = Json::parse(out.text());
  const Json* data = json ? json->find("data") : nullptr;
  return data == nullptr ? "{}" : data->dump();
}

// "AssistantReplied of 2026-.., command .., request .."
std::string carried_by(const EventTeleported& event) {
  const std::string type = event.type.empty() ? "an absent event" : event.type;
  const std::string request = event.request_id.empty() ? "" : ", request " + event.request_id;
  return type + " of " + format_rfc3339_micros(event.at) + ", command " + event.command + request;
}

ReplayedEvent told_event(const Part& part, std::size_t number) {
  const StoredEvent& stored = part.events[number];
  ReplayedEvent told;
  told.stream = part.stream;
  told.sequence = Sequence{part.first.value() + number};
  told.type = type_of_stored(stored);
  told.data = data_of(stored);
  if (const auto* event = std::get_if<Event>(&stored)) {
    const auto* carried = std::get_if<EventTeleported>(event);
    if (carried != nullptr) told.carried = carried_by(*carried);
    told.run = run_of(carried != nullptr && carried->inner ? carried->inner->event : *event);
  } else {
    told.unreadable = std::get<UnreadableEvent>(stored).why;
  }
  return told;
}

// Null: there is none, or it cannot be read.
const Event* first_event(const Commit& commit) {
  const std::vector<StoredEvent>& events = commit.parts.front().events;
  return events.empty() ? nullptr : std::get_if<Event>(&events.front());
}

// How many row changes an event makes: each is counted alone, because a closing does not say whose it is.
std::size_t changes_of(const Commit& commit, const Part& part, std::size_t number, LogPosition position) {
  Commit alone{commit.epoch, commit.n, commit.node, commit.at, commit.command, {}};
  alone.parts.push_back({part.stream, Sequence{part.first.value() + number}, {part.events[number]}});
  std::set<StreamId> parked;
  FoldOutput out;
  fold_record(Record{std::move(alone)}, position, parked, out);
  return out.changes.size();
}

// Why the event did not reach the views.
std::string waits(const std::vector<QuarantineRow>& parked, const StreamId& stream, std::size_t number) {
  for (const QuarantineRow& row : parked) {
    if (row.stream == stream && row.event <= as_signed(number)) return row.reason;
  }
  return "";
}

// The rows that these changes are about, as far as the deltas of the whole record tell.
bool made_by(const RowDelta& delta, const RowChange& change) {
  const auto same_key = [&delta](const std::vector<Value>& key) {
    const Row& row = delta.after ? *delta.after : *delta.before;
    return std::equal(key.begin(), key.end(), row.values.begin());
  };
  if (const auto* close = std::get_if<RowClose>(&change)) {
    return delta.view == close->view && (delta.after || delta.before) && same_key(close->key) && !delta.after;
  }
  const auto& insert = std::get<RowInsert>(change);
  return delta.view == insert.view && delta.after && delta.after->from == insert.row.from &&
         delta.after->values == insert.row.values;
}

}  // namespace

bool ReplayedRecord::concerns(const StreamId& stream) const {
  if (!record) return true;
  if (const auto* ruling = std::get_if<Ruling>(&*record)) return ruling->stream == stream;
  return std::any_of(events.begin(), events.end(),
                     [&](const ReplayedEvent& event) { return event.stream == stream; });
}

PartitionReplay::PartitionReplay(EventLog& log, Partition partition, Causes causes)
    : log_(log), partition_(partition), causes_(std::move(causes)), fold_(log, partition, *storage_) {}

void PartitionReplay::replay_parts(const Commit& commit, const Folded& folded, ReplayedRecord& replayed) {
  const LogPosition position = replayed.position;
  std::size_t change = 0;
  for (const Part& part : commit.parts) {
    ActorState state = actors_[part.stream];
    Json before = told_state(state);
    for (std::size_t i = 0; i < part.events.size(); ++i) {
      ReplayedEvent told = told_event(part, i);
      told.waits = waits(folded.parked, part.stream, i);
      const Part one{part.stream, told.sequence, {part.events[i]}};
      apply_part(state, commit, one, position.offset, false);
      Json after = told_state(state);
      told.state = json_changes(before, after);
      before = std::move(after);
      const std::size_t made = told.waits.empty() ? changes_of(commit, part, i, position) : 0;
      for (const RowDelta& delta : folded.rows) {
        const auto first = folded.changes.begin() + static_cast<std::ptrdiff_t>(change);
        const std::size_t left = std::min(made, folded.changes.size() - change);
        const auto last = first + static_cast<std::ptrdiff_t>(left);
        const bool ours = std::any_of(first, last, [&](const RowChange& c) { return made_by(delta, c); });
        if (ours) told.rows.push_back(delta);
      }
      change = std::min(change + made, folded.changes.size());
      replayed.events.push_back(std::move(told));
    }
  }
}

void PartitionReplay::apply_parts(const Commit& commit, Offset offset) {
  for (std::size_t i = 0; i < commit.parts.size(); ++i) {
    const Part& part = commit.parts[i];
    apply_part(actors_[part.stream], commit, part, offset, i == 0);
  }
}

// From here on the event is absent, and what came behind it counts.
Task<> PartitionReplay::obey(Ruling ruling, Offset at, std::shared_ptr<ReplayedRecord> replayed) {
  absent_.insert(place_of(ruling));
  struct Refold final : LogVisitor {
    explicit Refold(StreamId of, const EventPlaces& skipped) : stream(std::move(of)), absent(skipped) {}
    StreamId stream;
    const EventPlaces& absent;
    AdmissionState admission;
    ActorState state;
    Task<bool> take(LogRecord record) override {
      const auto read = decoded(record);
      if (!read || admit(admission, **read) != Verdict::admitted) co_return true;
      const auto* commit = std::get_if<Commit>(&**read);
      for (std::size_t i = 0; commit != nullptr && i < commit->parts.size(); ++i) {
        const Part& part = commit->parts[i];
        if (part.stream == stream) apply_part(state, *commit, part, record.offset, i == 0, absent);
      }
      co_return true;
    }
    Task<bool> damaged(Offset /*offset*/, std::string /*why*/) override { co_return true; }
  };
  Refold refold{ruling.stream, absent_};
  const Offset start;
  if (Status read = co_await visit_log(log_, partition_, start, at, refold); !read) co_return read;
  ActorState& state = actors_[ruling.stream];
  if (replayed) replayed->state = json_changes(told_state(state), told_state(refold.state));
  state = std::move(refold.state);
  co_return ok();
}

Task<ReplayedRecord> PartitionReplay::take(LogRecord record) {
  auto replayed = std::make_shared<ReplayedRecord>();
  replayed->position = {partition_, record.offset};
  const Offset offset = record.offset;
  auto folded = co_await fold_.take(std::move(record), LogFold::Detail::changes);
  if (!folded) co_return folded.error();
  replayed->record = folded->record;
  replayed->verdict = folded->verdict;
  replayed->fault = folded->fault;
  if (!folded->record) co_return std::move(*replayed);
  replayed->at = time_of(*folded->record);
  const auto* commit = std::get_if<Commit>(&*folded->record);
  if (commit != nullptr && replayed->counts()) {
    causes_.note(*folded->record, replayed->position);
    replay_parts(*commit, *folded, *replayed);
    apply_parts(*commit, offset);
  } else if (commit != nullptr) {
    for (const Part& part : commit->parts) {
      for (std::size_t i = 0; i < part.events.size(); ++i) replayed->events.push_back(told_event(part, i));
    }
  } else {
    replayed->rows = folded->rows;
  }
  if (commit != nullptr) replayed->cause = causes_.of(commit->command, first_event(*commit));
  const auto* ruling = std::get_if<Ruling>(&*folded->record);
  if (ruling != nullptr && replayed->counts()) {
    if (Status obeyed = co_await obey(*ruling, offset, replayed); !obeyed) co_return obeyed.error();
  }
  co_return std::move(*replayed);
}

Task<> PartitionReplay::pass(LogRecord record) {
  const LogPosition position{partition_, record.offset};
  auto folded = co_await fold_.take(std::move(record), LogFold::Detail::none);
  if (!folded) co_return folded.error();
  if (!folded->record || folded->verdict != Verdict::admitted) co_return ok();
  causes_.note(*folded->record, position);
  if (const auto* commit = std::get_if<Commit>(&*folded->record)) {
    apply_parts(*commit, position.offset);
  } else if (const auto* ruling = std::get_if<Ruling>(&*folded->record)) {
    co_return co_await obey(*ruling, position.offset, nullptr);
  }
  co_return ok();
}

std::string PartitionReplay::state_of(const StreamId& stream) const {
  const auto actor = actors_.find(stream);
  return actor == actors_.end() ? "" : encode_state(actor->second);
}

Result<bool> PartitionReplay::holds(const Expression& expression, const std::optional<StreamId>& about,
                                    const ReplayedRecord& record, std::size_t number) const {
  ViewFacts facts(*storage_, std::nullopt, about,
                  [&](EventField field) { return field_of(record, number, field); });
  return expression.holds(facts);
}

Result<std::optional<std::size_t>> PartitionReplay::first_held(const Expression& expression,
                                                               const std::optional<StreamId>& about,
                                                               const ReplayedRecord& record) const {
  if (!record.record) return std::optional<std::size_t>{};
  std::vector<std::size_t> numbers;
  for (std::size_t number = 0; number < record.events.size(); ++number) {
    if (!about || record.events[number].stream == *about) numbers.push_back(number);
  }
  if (numbers.empty()) numbers.push_back(!about || record.concerns(*about) ? 0 : kNoEvent);
  for (const std::size_t number : numbers) {
    auto held = holds(expression, about, record, number);
    if (!held) return held.error();
    if (*held) return std::optional{number};
  }
  return std::optional<std::size_t>{};
}

ReplayedRecord bare_record(LogPosition position, const LogRecord& record) {
  ReplayedRecord bare;
  bare.position = position;
  auto read = decoded(record);
  if (!read) {
    bare.fault = read.error().message;
    return bare;
  }
  bare.record = *read;
  bare.at = time_of(**read);
  const Commit* commit = bare.commit();
  if (commit == nullptr) return bare;
  for (const Part& part : commit->parts) {
    for (std::size_t i = 0; i < part.events.size(); ++i) bare.events.push_back(told_event(part, i));
  }
  return bare;
}

Value field_of(const ReplayedRecord& record, std::size_t number, EventField field) {
  if (number == kNoEvent) return Value{};
  const ReplayedEvent* event = number < record.events.size() ? &record.events[number] : nullptr;
  const Commit* commit = record.commit();
  const auto text = [](const std::string& value) { return value.empty() ? Value{} : Value{value}; };
  switch (field) {
    case EventField::type:
      return event != nullptr ? Value{event->type} : Value{};
    case EventField::stream:
      return event != nullptr ? Value{event->stream.value()} : Value{};
    case EventField::sequence:
      return event != nullptr ? Value{as_signed(event->sequence.value())} : Value{};
    case EventField::data:
      return event != nullptr ? Value{event->data} : Value{};
    case EventField::run:
      return event != nullptr ? text(event->run) : Value{};
    case EventField::partition:
      return Value{as_signed(record.position.partition.value())};
    case EventField::offset:
      return Value{as_signed(record.position.offset.value())};
    case EventField::time:
      return record.record ? Value{record.at.value()} : Value{};
    case EventField::command:
      return commit != nullptr ? Value{to_hex(commit->command.id)} : Value{};
    case EventField::request:
      return record.cause ? text(record.cause->request_id) : Value{};
    case EventField::node:
      return commit != nullptr ? Value{commit->node} : Value{};
    case EventField::epoch:
      return commit != nullptr ? Value{as_signed(commit->epoch.value())} : Value{};
    case EventField::verdict:
      return record.verdict ? Value{std::string(to_string(*record.verdict))} : Value{};
  }
  return Value{};
}

Task<Causes> read_causes(EventLog& log) {
  struct Noting final : LogVisitor {
    Partition partition;
    AdmissionState admission;
    Causes causes;
    Task<bool> take(LogRecord record) override {
      const auto read = decoded(record);
      if (read && admit(admission, **read) == Verdict::admitted) {
        causes.note(**read, LogPosition{partition, record.offset});
      }
      co_return true;
    }
    Task<bool> damaged(Offset /*offset*/, std::string /*why*/) override { co_return true; }
  };
  Noting noting;
  for (std::uint32_t number = 0; number < log.partitions(); ++number) {
    noting.partition = Partition{number};
    noting.admission = {};
    auto end = co_await log.end(noting.partition);
    if (!end) co_return end.error();
    const Offset start;
    if (Status read = co_await visit_log(log, noting.partition, start, *end, noting); !read) {
      co_return read.error();
    }
  }
  co_return std::move(noting.causes);
}

}  // namespace varve
