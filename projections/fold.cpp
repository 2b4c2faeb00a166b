#include "projections/fold.h"

#include <algorithm>
#include <utility>

#include "projections/digest.h"
#include "runtime/mutant.h"

namespace varve {
namespace {

Value text_or_null(const std::optional<std::string>& text) {
  return text ? Value{*text} : Value{};
}
Value text_or_null(const std::string& text) {
  return text.empty() ? Value{} : Value{text};
}
Value integer(std::int64_t value) {
  return Value{value};
}
Value text(std::string value) {
  return Value{std::move(value)};
}

std::string json_texts(const std::vector<std::string>& texts) {
  JsonWriter out;
  out.begin_array();
  for (const std::string& one : texts) out.string(one);
  out.end_array();
  return out.take();
}

// From where on the rows of a part are valid: from its record, or from the ruling that released it.
struct Validity {
  LogPosition position;
  WallTime at;
  bool released = false;
};

// One event's row changes.
struct Folder {
  const StreamId& stream;
  const Commit& commit;
  const Validity& valid;
  std::int64_t ordinal;  // Of the event at that position.
  Sequence sequence;     // Of the event in its stream.
  std::vector<RowChange>& out;
  WallTime at;  // When it happened: the commit's time, or that of the source that it was carried from.
  bool carried = false;  // The rows of agents and blocks wait for the seal.
  std::int64_t rows = 0;

  void insert(View view, std::vector<Value> values) {
    RowFrom from{valid.position.partition, valid.position.offset, ordinal * kRowsPerEventMax + rows++,
                 valid.at, sequence};
    out.emplace_back(RowInsert{view, Row{std::move(values), from, std::nullopt}});
  }
  void close(View view, std::vector<Value> key) {
    out.emplace_back(RowClose{view, std::move(key), RowTo{valid.position.offset, valid.at}});
  }
  bool begins_import() const {
    const auto is_begin = [](const StoredEvent& stored) {
      const auto* event = std::get_if<Event>(&stored);
      return event != nullptr && std::holds_alternative<ImportBegun>(*event);
    };
    const auto& events = commit.parts.front().events;
    return std::any_of(events.begin(), events.end(), is_begin);
  }
  Value id() const { return Value{stream.value()}; }
  Value now() const { return integer(at.value()); }

  // ---- rows ----

  void agent_row(const AgentSettings& settings, WallTime created_at, bool importing) {
    if (carried) return;
    agent_row(settings, created_at, at, importing);
  }
  void agent_row(const AgentSettings& settings, WallTime created_at, WallTime updated_at, bool importing) {
    insert(View::agents,
           {id(), text(settings.name), text_or_null(settings.description), text(settings.system),
            text(settings.agent_type), text(settings.model), text_or_null(settings.embedding),
            integer(settings.context_window), text(settings.timezone), text(json_texts(settings.tools)),
            text(json_texts(settings.tags)), text(settings.metadata), text(settings.extra),
            integer(importing ? agents::kImporting : 0), integer(created_at.value()),
            integer(updated_at.value())});
  }
  // The agent is here no more.
  void gone_row(const std::string& gone) {
    JsonWriter extra;
    extra.begin_object().field("gone", gone).end_object();
    const Value none{std::string{}};
    const Value list{std::string{"[]"}};
    insert(View::agents, {id(), none, Value{}, none, none, none, Value{}, integer(0), none, list, list,
                          text("null"), text(extra.take()), integer(agents::kGone), now(), now()});
  }
  void message_row(const Message& message, const std::string& run_id) {
    Value calls;
    if (!message.tool_calls.empty()) {
      JsonWriter json;
      json.begin_array();
      for (const ToolCall& call : message.tool_calls) {
        json.begin_object().field("id", call.id).field("name", call.name);
        json.field("arguments", call.arguments).end_object();
      }
      json.end_array();
      calls = json.take();
    }
    insert(View::messages, {text(message.id), id(), text(to_string(message.role)), text(message.content),
                            text_or_null(message.name), text_or_null(message.sender_id),
                            text_or_null(message.group_id), text_or_null(message.otid), text_or_null(run_id),
                            text_or_null(message.step_id), std::move(calls), text_or_null(message.reasoning),
                            text_or_null(message.tool_call_id), integer(message.is_error ? 1 : 0),
                            message.sent_at == WallTime{} ? now() : integer(message.sent_at.value()),
                            text_or_null(message.stdout_lines), text_or_null(message.stderr_lines),
                            integer(message.is_approval_request ? 1 : 0), text_or_null(message.extra)});
  }
  void tool_row(const ToolValue& tool, WallTime created_at) {
    insert(View::tools,
           {text(tool.id), text(tool.name), text_or_null(tool.description), text(tool.source_type),
            text(tool.source_code), text(tool.json_schema), text(json_texts(tool.tags)),
            integer(tool.return_char_limit), text(tool.extra), integer(created_at.value()), now()});
  }
  void block_row(const BlockValue& block, WallTime created_at) {
    if (!carried) block_row(block, created_at, at);
  }
  void block_row(const BlockValue& block, WallTime created_at, WallTime updated_at) {
    insert(View::blocks,
           {id(), text(block.label), text(block.value), integer(block.limit), text_or_null(block.description),
            integer(block.read_only ? 1 : 0), text(json_texts(block.tags)), text(block.metadata),
            text(block.extra), integer(created_at.value()), integer(updated_at.value())});
  }
  void run_row(const std::string& run_id, const char* status, const std::string& stop_reason,
               const std::string& error_type, const std::string& error_message, const std::string& request,
               const Usage& usage, WallTime started_at, bool completed) {
    insert(View::runs, {text(run_id), id(), text(status), text_or_null(stop_reason), text_or_null(error_type),
                        text_or_null(error_message), text(request), integer(usage.prompt_tokens),
                        integer(usage.completion_tokens), integer(usage.steps), integer(started_at.value()),
                        completed ? now() : Value{}});
  }
  void end_run(const std::string& run_id, const char* status, const std::string& stop_reason,
               const std::string& error_type, const std::string& error_message, const Usage& usage,
               WallTime started_at, const std::string& request) {
    close(View::runs, {text(run_id)});
    run_row(run_id, status, stop_reason, error_type, error_message, request, usage, started_at, true);
    close(View::agent_activity, {id()});
    insert(View::agent_activity,
           {id(), text(run_id), now(), integer((at.value() - started_at.value()) / 1000), text(stop_reason)});
  }

  // ---- events ----

  void operator()(const AgentCreated& event) {
    agent_row(event.settings, at, begins_import());
    insert(View::agent_activity, {id(), Value{}, Value{}, Value{}, Value{}});
    for (const std::string& tag : event.settings.tags) insert(View::tags, {id(), text(tag)});
    for (const BlockRef& ref : event.blocks) {
      insert(View::attachments, {id(), text(ref.block.value()), text(ref.label)});
    }
    for (const Message& message : event.messages) message_row(message, "");
  }
  void operator()(const AgentUpdated& event) {
    if (!carried) close(View::agents, {id()});
    agent_row(event.settings, event.created_at, false);
    for (const std::string& tag : event.tags_removed) close(View::tags, {id(), text(tag)});
    for (const std::string& tag : event.tags_added) insert(View::tags, {id(), text(tag)});
  }
  void operator()(const AgentDeleted& /*event*/) { close(View::agents, {id()}); }
  void operator()(const BlockAttached& event) {
    insert(View::attachments, {id(), text(event.block.block.value()), text(event.block.label)});
  }
  void operator()(const BlockDetached& event) {
    close(View::attachments, {id(), text(event.block.value())});
    if (mutant(Mutant::fold_closes_foreign_row)) close(View::blocks, {text(event.block.value())});
  }
  void operator()(const ContextTrimmed& event) {
    for (const std::string& message : event.message_ids) close(View::messages, {text(message)});
  }
  void operator()(const UserMessageReceived& event) {
    run_row(event.run_id, "running", "", "", "", event.request, {}, at, false);
    for (const Message& message : event.messages) message_row(message, event.run_id);
  }
  void operator()(const AssistantReplied& event) {
    message_row(event.message, event.run_id);
    const bool last = event.message.tool_calls.empty();
    insert(View::steps, {text(event.message.step_id), text(event.run_id), id(), text(event.model),
                         integer(event.usage.prompt_tokens), integer(event.usage.completion_tokens),
                         last ? text("end_turn") : Value{}, now()});
  }
  void operator()(const ToolReturned& event) { message_row(event.message, event.run_id); }
  void operator()(const TurnResumed& /*event*/) {}
  void operator()(const TurnHandedOver& /*event*/) {}
  void operator()(const TurnFinished& event) {
    end_run(event.run_id, "completed", event.stop_reason, "", "", event.usage, event.started_at,
            event.request);
  }
  void operator()(const TurnFailed& event) {
    end_run(event.run_id, "failed", event.stop_reason, event.error_type, event.message, event.usage,
            event.started_at, event.request);
  }
  void operator()(const TurnCancelled& event) {
    end_run(event.run_id, "cancelled", "cancelled", "", "", event.usage, event.started_at, event.request);
  }
  void operator()(const ImportBegun& /*event*/) {}   // Its commit holds AgentCreated,
  void operator()(const ImportSealed& /*event*/) {}  // and this one's AgentUpdated.
  void operator()(const AgentForked& /*event*/) {}   // Its import makes the rows.
  void operator()(const EventTeleported& event) {
    if (!event.inner) return;  // A ruling at the source has made it absent.
    // Of an earlier teleport, which is over.
    if (std::holds_alternative<TeleportSealed>(event.inner->event)) return;
    std::visit(Folder{stream, commit, valid, ordinal, sequence, out, event.at, true}, event.inner->event);
  }
  void operator()(const TeleportSealed& event) {
    if (event.settings) agent_row(*event.settings, event.created_at, event.updated_at, false);
    if (event.block) block_row(*event.block, event.created_at, event.updated_at);
  }
  void operator()(const AgentErased& event) {
    if (!event.was_deleted) close(View::agents, {id()});
    gone_row("erased");
  }
  void operator()(const AgentMoved& event) {
    close(View::agents, {id()});
    gone_row("moved:" + event.place);
  }
  void operator()(const MessagesImported& event) {
    for (const Message& message : event.messages) message_row(message, "");
    for (const std::string& outside : event.out_of_context) close(View::messages, {text(outside)});
  }
  void operator()(const ContextSummarized& event) {
    for (const std::string& message : event.message_ids) close(View::messages, {text(message)});
    message_row(event.summary, "");
  }
  void operator()(const ToolCreated& event) { tool_row(event.tool, at); }
  void operator()(const ToolUpdated& event) {
    close(View::tools, {text(event.tool.id)});
    tool_row(event.tool, event.created_at);
  }
  void operator()(const ToolDeleted& event) { close(View::tools, {text(event.id)}); }
  void operator()(const BlockCreated& event) { block_row(event.block, at); }
  void operator()(const BlockUpdated& event) {
    if (!carried) close(View::blocks, {id()});
    block_row(event.block, event.created_at);
  }
  void operator()(const BlockDeleted& /*event*/) { close(View::blocks, {id()}); }
};

// A part and how it is folded.
struct PartToFold {
  const Part& part;
  LogPosition position;      // Of its record.
  std::int64_t ordinal = 0;  // Of its first event in the record.
  std::size_t first = 0;     // The event to begin with.
  Validity valid;
};

void fold_part(const Commit& commit, const PartToFold& what, const EventPlaces& stops,
               std::set<StreamId>& parked, FoldOutput& out) {
  const Part& part = what.part;
  const LogPosition position = what.position;
  const auto park = [&](std::int64_t number, std::string type, std::string why) {
    out.quarantined.push_back({part.stream, position.partition, position.offset, number, std::move(type),
                               std::move(why), commit.at});
    parked.insert(part.stream);
  };
  if (parked.contains(part.stream)) return park(-1, "", "waits behind an earlier event of its stream");
  for (std::size_t i = what.first; i < part.events.size(); ++i) {
    const auto number = static_cast<std::int64_t>(i);
    const auto* event = std::get_if<Event>(&part.events[i]);
    if (event == nullptr) {
      const auto& unreadable = std::get<UnreadableEvent>(part.events[i]);
      return park(number, unreadable.type, unreadable.why);
    }
    if (!stops.empty() && stops.contains({part.stream, position.offset, number})) {
      return park(number, "", "a ruling about it follows");
    }
    const Sequence sequence{part.first.value() + i};
    // What a ruling releases comes from many records: only the sequence tells its events apart.
    const std::int64_t ordinal =
        what.valid.released ? static_cast<std::int64_t>(sequence.value()) : what.ordinal + number;
    std::visit(Folder{part.stream, commit, what.valid, ordinal, sequence, out.changes, commit.at}, *event);
  }
}

void fold_claim(const Claim& claim, LogPosition position, FoldOutput& out) {
  const Value partition = integer(position.partition.value());
  if (claim.epoch > Epoch{1}) {
    out.changes.emplace_back(RowClose{View::shard_owners, {partition}, RowTo{position.offset, claim.at}});
  }
  RowFrom from{position.partition, position.offset, 0, claim.at, Sequence{}};
  out.changes.emplace_back(
      RowInsert{View::shard_owners,
                Row{{partition, integer(static_cast<std::int64_t>(claim.epoch.value())),
                     text(to_hex(claim.id)), text(claim.node), text(claim.url), integer(claim.at.value())},
                    from,
                    std::nullopt}});
}

void fold_parts(const Record& record, LogPosition position, const EventPlaces& stops,
                std::set<StreamId>& parked, FoldOutput& out) {
  if (const auto* claim = std::get_if<Claim>(&record)) return fold_claim(*claim, position, out);
  const auto* commit = std::get_if<Commit>(&record);
  if (commit == nullptr) return;  // A ruling that releases a stream goes through take_ruling().
  std::int64_t ordinal = 0;
  for (const Part& part : commit->parts) {
    fold_part(*commit, {part, position, ordinal, 0, {position, commit->at}}, stops, parked, out);
    ordinal += static_cast<std::int64_t>(part.events.size());
  }
}

RowKey key_of(const RowChange& change) {
  if (const auto* close = std::get_if<RowClose>(&change)) return {close->view, close->key};
  const auto& insert = std::get<RowInsert>(change);
  const auto begin = insert.row.values.begin();
  return {insert.view, {begin, begin + static_cast<std::ptrdiff_t>(schema_of(insert.view).key_columns)}};
}

Error not_there(const StreamId& stream, LogPosition position) {
  return Error{Errc::corrupt, "the record " + to_string(position) + " holds nothing of '" + stream.value() +
                                  "', which is parked there"};
}

}  // namespace

void fold_record(const Record& record, LogPosition position, std::set<StreamId>& parked, FoldOutput& out) {
  fold_parts(record, position, {}, parked, out);
}

PartitionFold::PartitionFold(Partition partition, const Checkpoint& checkpoint,
                             const std::vector<QuarantineRow>& quarantine)
    : partition_(partition), checkpoint_(checkpoint), begun_(checkpoint.next), taken_(checkpoint.next) {
  for (const QuarantineRow& row : quarantine) {
    parked_.insert(row.stream);
    waiting_[row.stream].push_back({row.offset, row.event});
  }
}

// The ruling, if it counts and names the event at which its stream waits.
const Ruling* PartitionFold::releasing(const Record& record) const {
  const auto* ruling = std::get_if<Ruling>(&record);
  if (ruling == nullptr) return nullptr;
  const auto queue = waiting_.find(ruling->stream);
  if (queue == waiting_.end()) return nullptr;
  const Waiting& front = queue->second.front();
  if (front.offset != ruling->offset || std::max<std::int64_t>(front.event, 0) != ruling->event)
    return nullptr;
  AdmissionState admission = checkpoint_.admission;
  return admit(admission, record) == Verdict::admitted ? ruling : nullptr;
}

bool PartitionFold::is_late(const Ruling& ruling) const {
  const EventPlace place = place_of(ruling);
  if (place.offset >= begun_ && stops_.contains(place)) return false;
  const auto queue = waiting_.find(ruling.stream);
  // What waits is not folded: this ruling changes nothing.
  return queue == waiting_.end() || queue->second.front().offset > place.offset ||
         (queue->second.front().offset == place.offset && queue->second.front().event > place.event);
}

std::vector<Offset> PartitionFold::released_by(const LogRecord& record) const {
  if (waiting_.empty() || !may_be_ruling(record)) return {};
  const auto read = decoded(record);
  const Ruling* ruling = read ? releasing(**read) : nullptr;
  return ruling == nullptr ? std::vector<Offset>{} : waiting_at(ruling->stream);
}

std::vector<Offset> PartitionFold::waiting_at(const StreamId& stream) const {
  std::vector<Offset> offsets;
  const auto queue = waiting_.find(stream);
  if (queue == waiting_.end()) return offsets;
  for (const Waiting& waiting : queue->second) offsets.push_back(waiting.offset);
  return offsets;
}

EventPlaces PartitionFold::parked_at() const {
  EventPlaces places;
  for (const auto& [stream, queue] : waiting_) {
    places.insert({stream, queue.front().offset, std::max<std::int64_t>(queue.front().event, 0)});
  }
  return places;
}

Status PartitionFold::take(const LogRecord& record) {
  const LogPosition position{partition_, record.offset};
  const auto read = decoded(record);
  if (!read) return Error{read.error().code, "record " + to_string(position) + ": " + read.error().message};
  if (releasing(**read) != nullptr) {
    return Error{Errc::invalid_argument, "the ruling " + to_string(position) + " releases a stream"};
  }
  const Index before = checkpoint_.admission.index;
  step_over(record, **read);
  met_late_.reset();
  const auto* ruling = std::get_if<Ruling>(&**read);
  const bool counts = checkpoint_.admission.index != before;
  if (ruling != nullptr && counts && is_late(*ruling)) met_late_ = place_of(*ruling);
  return ok();
}

void PartitionFold::step_over(const LogRecord& record, const Record& read) {
  const LogPosition position{partition_, record.offset};
  if (!first_) {
    first_ = position.offset;
    first_at_ = checkpoint_.at;
  }
  const AdmissionState before = checkpoint_.admission;
  const Verdict verdict = admit(checkpoint_.admission, read);
  const bool fenced_commit = verdict == Verdict::fenced && std::holds_alternative<Commit>(read);
  if (verdict == Verdict::admitted || (fenced_commit && mutant(Mutant::fold_ignores_epoch))) {
    checkpoint_.at = std::max(checkpoint_.at, time_of(read));
    const std::size_t known = output_.quarantined.size();
    fold_parts(read, position, stops_, parked_, output_);
    const bool parks = output_.quarantined.size() > known;
    if (parks && mutant(Mutant::parked_not_admitted)) checkpoint_.admission = before;
    remember_waiting(known);
  }
  checkpoint_.next = varve::next(position.offset);
  checkpoint_.mark = mark_of(record);
}

void PartitionFold::remember_waiting(std::size_t known) {
  for (; known < output_.quarantined.size(); ++known) {
    const QuarantineRow& row = output_.quarantined[known];
    waiting_[row.stream].push_back({row.offset, row.event});
  }
}

Status PartitionFold::take_ruling(const LogRecord& record, const std::vector<LogRecord>& waiting) {
  CHECK(empty());
  const auto read = decoded(record);
  if (!read) return read.error();
  const Ruling* ruling = releasing(**read);
  CHECK(ruling != nullptr);
  step_over(record, **read);
  return fold_waiting(ruling->stream, waiting, {FoundRuling{record.offset, *ruling}, true});
}

Status PartitionFold::try_again(const StreamId& stream, const std::vector<LogRecord>& waiting,
                                const std::vector<FoundRuling>& rulings) {
  CHECK(empty() && waiting_.contains(stream));
  // Only the first ruling about an event released it. After the newest such everything waits again that came
  // before it: it would have become valid with it.
  Release release;
  const Waiting& first = waiting_.find(stream)->second.front();
  const EventPlace front{stream, first.offset, std::max<std::int64_t>(first.event, 0)};
  EventPlaces released;
  for (const FoundRuling& found : rulings) {
    const EventPlace place = place_of(found.ruling);
    if (place.stream != stream || !(place < front) || !released.insert(place).second) continue;
    release.ruling = found;
  }
  return fold_waiting(stream, waiting, release);
}

Status PartitionFold::fold_waiting(const StreamId& stream, const std::vector<LogRecord>& waiting,
                                   const Release& release) {
  auto node = waiting_.extract(stream);
  const Queue& queue = node.mapped();
  CHECK(queue.size() == waiting.size());
  parked_.erase(stream);
  released_.push_back(stream);
  for (std::size_t i = 0; i < queue.size(); ++i) {
    const LogPosition position{partition_, waiting[i].offset};
    const auto read = decoded(waiting[i]);
    if (!read) return read.error();
    const auto* commit = std::get_if<Commit>(&**read);
    if (commit == nullptr || position.offset != queue[i].offset) return not_there(stream, position);
    std::int64_t ordinal = 0;
    const auto part = std::find_if(commit->parts.begin(), commit->parts.end(), [&](const Part& one) {
      if (one.stream == stream) return true;
      ordinal += static_cast<std::int64_t>(one.events.size());
      return false;
    });
    if (part == commit->parts.end()) return not_there(stream, position);
    const bool ruled = release.ruling && release.ruling->at > position.offset;
    Validity valid{position, commit->at};
    if (ruled) valid = {{partition_, release.ruling->at}, release.ruling->ruling.at, true};
    std::size_t first = static_cast<std::size_t>(std::max<std::int64_t>(queue[i].event, 0));
    if (i == 0 && (release.skip_first || mutant(Mutant::skip_not_in_log))) ++first;
    fold_part(*commit, {*part, position, ordinal, first, valid}, stops_, parked_, output_);
    if (ruled) to_fit_ = output_.changes.size();
  }
  remember_waiting(0);
  return ok();
}

std::set<RowKey> PartitionFold::to_fit() const {
  std::set<RowKey> keys;
  for (std::size_t i = 0; i < to_fit_; ++i) keys.insert(key_of(output_.changes[i]));
  return keys;
}

void PartitionFold::fit(std::set<RowKey> open) {
  std::vector<RowChange> fitted;
  for (std::size_t i = 0; i < output_.changes.size(); ++i) {
    RowChange& change = output_.changes[i];
    if (i < to_fit_) {
      RowKey key = key_of(change);
      if (const auto* insert = std::get_if<RowInsert>(&change)) {
        const RowFrom& from = insert->row.from;
        if (!open.insert(key).second)
          fitted.emplace_back(RowClose{key.first, std::move(key.second), RowTo{from.offset, from.at}});
      } else if (open.erase(key) == 0) {
        continue;
      }
    }
    fitted.push_back(std::move(change));
  }
  output_.changes = std::move(fitted);
  to_fit_ = 0;
}

Batch PartitionFold::take_batch() {
  CHECK(to_fit_ == 0 && (first_ || !released_.empty()));
  Batch batch;
  batch.partition = partition_;
  batch.expected_version = checkpoint_.version;
  batch.expected_next = std::exchange(taken_, checkpoint_.next);
  ++checkpoint_.version;
  if (rewrite_) rewrite_(output_.changes);
  add_changes(checkpoint_.digests, partition_, output_.changes);
  batch.checkpoint = checkpoint_;
  batch.changes = std::move(output_.changes);
  batch.released = std::exchange(released_, {});
  batch.quarantined = std::move(output_.quarantined);
  // What is tried again moves no position.
  if (first_) batch.times = TimesRow{*first_, checkpoint_.mark.offset, first_at_, checkpoint_.at};
  output_ = {};
  first_.reset();
  return batch;
}

}  // namespace varve
