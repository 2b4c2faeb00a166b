#include "projections/fold.h"

#include <algorithm>

#include "projections/digest.h"

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

// One event's row changes.
struct Folder {
  const StreamId& stream;
  const Commit& commit;
  LogPosition position;
  std::int64_t ordinal;  // Of the event in its record.
  Sequence sequence;     // Of the event in its stream.
  std::vector<RowChange>& out;
  std::int64_t rows = 0;

  void insert(View view, std::vector<Value> values) {
    RowFrom from{position.partition, position.offset, ordinal * kRowsPerEventMax + rows++, commit.at,
                 sequence};
    out.emplace_back(RowInsert{view, Row{std::move(values), from, std::nullopt}});
  }
  void close(View view, std::vector<Value> key) {
    out.emplace_back(RowClose{view, std::move(key), RowTo{position.offset, commit.at}});
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
  Value now() const { return integer(commit.at.value()); }

  // ---- rows ----

  void agent_row(const AgentSettings& settings, WallTime created_at, bool importing) {
    insert(View::agents,
           {id(), text(settings.name), text_or_null(settings.description), text(settings.system),
            text(settings.agent_type), text(settings.model), text_or_null(settings.embedding),
            integer(settings.context_window), text(settings.timezone), text(json_texts(settings.tools)),
            text(json_texts(settings.tags)), text(settings.metadata), text(settings.extra),
            integer(importing ? 1 : 0), integer(created_at.value()), now()});
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
    insert(View::blocks,
           {id(), text(block.label), text(block.value), integer(block.limit), text_or_null(block.description),
            integer(block.read_only ? 1 : 0), text(json_texts(block.tags)), text(block.metadata),
            text(block.extra), integer(created_at.value()), now()});
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
           {id(), text(run_id), now(), integer((commit.at.value() - started_at.value()) / 1000),
            text(stop_reason)});
  }

  // ---- events ----

  void operator()(const AgentCreated& event) {
    agent_row(event.settings, commit.at, begins_import());
    insert(View::agent_activity, {id(), Value{}, Value{}, Value{}, Value{}});
    for (const std::string& tag : event.settings.tags) insert(View::tags, {id(), text(tag)});
    for (const BlockRef& ref : event.blocks) {
      insert(View::attachments, {id(), text(ref.block.value()), text(ref.label)});
    }
    for (const Message& message : event.messages) message_row(message, "");
  }
  void operator()(const AgentUpdated& event) {
    close(View::agents, {id()});
    agent_row(event.settings, event.created_at, false);
    for (const std::string& tag : event.tags_removed) close(View::tags, {id(), text(tag)});
    for (const std::string& tag : event.tags_added) insert(View::tags, {id(), text(tag)});
  }
  void operator()(const AgentDeleted& /*event*/) { close(View::agents, {id()}); }
  void operator()(const BlockAttached& event) {
    insert(View::attachments, {id(), text(event.block.block.value()), text(event.block.label)});
  }
  void operator()(const BlockDetached& event) { close(View::attachments, {id(), text(event.block.value())}); }
  void operator()(const ContextTrimmed& event) {
    for (const std::string& message : event.message_ids) close(View::messages, {text(message)});
  }
  void operator()(const UserMessageReceived& event) {
    run_row(event.run_id, "running", "", "", "", event.request, {}, commit.at, false);
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
  void operator()(const MessagesImported& event) {
    for (const Message& message : event.messages) message_row(message, "");
    for (const std::string& outside : event.out_of_context) close(View::messages, {text(outside)});
  }
  void operator()(const ContextSummarized& event) {
    for (const std::string& message : event.message_ids) close(View::messages, {text(message)});
    message_row(event.summary, "");
  }
  void operator()(const ToolCreated& event) { tool_row(event.tool, commit.at); }
  void operator()(const ToolUpdated& event) {
    close(View::tools, {text(event.tool.id)});
    tool_row(event.tool, event.created_at);
  }
  void operator()(const ToolDeleted& event) { close(View::tools, {text(event.id)}); }
  void operator()(const BlockCreated& event) { block_row(event.block, commit.at); }
  void operator()(const BlockUpdated& event) {
    close(View::blocks, {id()});
    block_row(event.block, event.created_at);
  }
  void operator()(const BlockDeleted& /*event*/) { close(View::blocks, {id()}); }
};

void fold_part(const Commit& commit, const Part& part, std::int64_t first_ordinal, LogPosition position,
               std::set<StreamId>& parked, FoldOutput& out) {
  if (parked.contains(part.stream)) {
    out.quarantined.push_back({part.stream, position.partition, position.offset, -1, "",
                               "waits behind an earlier event of its stream", commit.at});
    return;
  }
  for (std::size_t i = 0; i < part.events.size(); ++i) {
    const auto number = static_cast<std::int64_t>(i);
    const auto* event = std::get_if<Event>(&part.events[i]);
    if (event == nullptr) {
      const auto& unreadable = std::get<UnreadableEvent>(part.events[i]);
      out.quarantined.push_back({part.stream, position.partition, position.offset, number, unreadable.type,
                                 unreadable.why, commit.at});
      parked.insert(part.stream);
      return;
    }
    const Sequence sequence{part.first.value() + i};
    std::visit(Folder{part.stream, commit, position, first_ordinal + number, sequence, out.changes}, *event);
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

}  // namespace

void fold_record(const Record& record, LogPosition position, std::set<StreamId>& parked, FoldOutput& out) {
  if (const auto* claim = std::get_if<Claim>(&record)) return fold_claim(*claim, position, out);
  const auto* commit = std::get_if<Commit>(&record);
  if (commit == nullptr) return;  // A ruling changes what retry and rebuild do, not the rows of now.
  std::int64_t ordinal = 0;
  for (const Part& part : commit->parts) {
    fold_part(*commit, part, ordinal, position, parked, out);
    ordinal += static_cast<std::int64_t>(part.events.size());
  }
}

PartitionFold::PartitionFold(Partition partition, const Checkpoint& checkpoint,
                             const std::vector<StreamId>& parked)
    : partition_(partition), checkpoint_(checkpoint), parked_(parked.begin(), parked.end()) {}

Status PartitionFold::take(const LogRecord& record) {
  const LogPosition position{partition_, record.offset};
  const auto read = decoded(record);
  if (!read) return Error{read.error().code, "record " + to_string(position) + ": " + read.error().message};
  if (!first_) {
    first_ = position.offset;
    first_at_ = checkpoint_.at;
  }
  if (admit(checkpoint_.admission, **read) == Verdict::admitted) {
    checkpoint_.at = std::max(checkpoint_.at, time_of(**read));
    fold_record(**read, position, parked_, output_);
  }
  checkpoint_.next = varve::next(position.offset);
  checkpoint_.mark = mark_of(record);
  return ok();
}

Batch PartitionFold::take_batch() {
  CHECK(first_);
  Batch batch;
  batch.partition = partition_;
  batch.expected_version = checkpoint_.version;
  ++checkpoint_.version;
  add_changes(checkpoint_.digests, partition_, output_.changes);
  batch.checkpoint = checkpoint_;
  batch.changes = std::move(output_.changes);
  batch.quarantined = std::move(output_.quarantined);
  batch.times = TimesRow{*first_, checkpoint_.mark.offset, first_at_, checkpoint_.at};
  output_ = {};
  first_.reset();
  return batch;
}

}  // namespace varve
