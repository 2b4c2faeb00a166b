#include "inspect/explain.h"

#include <algorithm>
#include <array>

#include "inspect/columns.h"
#include "inspect/replay_text.h"

namespace varve {
namespace {

struct Prefix {
  std::string_view text;
  View view;
};
constexpr std::array<Prefix, 6> kPrefixes{{
    {"message-", View::messages},
    {"block-", View::blocks},
    {"agent-", View::agents},
    {"run-", View::runs},
    {"step-", View::steps},
    {"tool-", View::tools},
}};
constexpr std::string_view kInContext = "in_context";
constexpr std::string_view kBlocks = "blocks";

std::vector<std::string> fields_of(View view) {
  std::vector<std::string> names;
  for (const Column& column : schema_of(view).columns) names.emplace_back(column.name);
  if (view == View::messages) names.emplace_back(kInContext);
  if (view == View::agents) names.emplace_back(kBlocks);
  return names;
}

// The stream that makes rows of this name; nothing: it has to be looked for.
std::optional<StreamId> stream_of(const RowName& row) {
  if (row.view == View::blocks || row.view == View::agents) return StreamId{row.id};
  if (row.view == View::tools) return StreamId{"catalogue"};
  return std::nullopt;
}

// Collects what touches the row while a partition is replayed.
class Explainer final : public LogVisitor {
 public:
  Explainer(EventLog& log, Partition partition, Causes causes, Explanation& explanation)
      : replay(log, partition, std::move(causes)), explanation_(explanation) {}

  PartitionReplay replay;

  Task<bool> take(LogRecord record) override {
    const bool named = record.bytes->find(explanation_.row.id) != std::string::npos;
    // A ruling lets rows appear that are named in what it releases; what cannot be decoded ends what readers
    // see.
    if (!named && !may_be_ruling(record) && decoded(record)) {
      if (Status passed = co_await replay.pass(std::move(record)); !passed) co_return passed.error();
      co_return true;
    }
    auto replayed = co_await replay.take(std::move(record));
    if (!replayed) co_return replayed.error();
    look(*replayed);
    co_return true;
  }
  Task<bool> damaged(Offset /*offset*/, std::string why) override {
    explanation_.remarks.push_back(std::move(why));
    co_return true;
  }

 private:
  void look(const ReplayedRecord& record) {
    if (!record.fault.empty()) {
      explanation_.remarks.push_back(to_string(record.position) + ": " + record.fault);
    }
    for (const ReplayedEvent& event : record.events) {
      if (!event.waits.empty() && record.counts()) {
        explanation_.remarks.push_back(to_string(record.position) + ": " + event.type + " of " +
                                       event.stream.value() + " is not in the views: " + event.waits);
      }
      Touch touch{record.position, record.at, event.type, event.stream, event.sequence, {}, {}};
      if (record.commit() != nullptr) touch.command = record.commit()->command.id;
      if (record.cause) touch.cause = *record.cause;
      touch.carried = event.carried;
      look(event.rows, touch);
    }
    if (record.rows.empty()) return;
    Touch touch{record.position, record.at, "Ruling", {}, {}, {}, {}};
    if (const auto* ruling = std::get_if<Ruling>(&*record.record)) touch.stream = ruling->stream;
    look(record.rows, touch);
  }

  void look(const std::vector<RowDelta>& rows, const Touch& touch) {
    bool noted = false;
    for (const RowDelta& delta : rows) {
      const auto changes = changes_of(delta);
      if (changes.empty()) continue;
      if (!noted) explanation_.touches.push_back(touch);
      noted = true;
      for (const auto& [name, change] : changes) add(name, change);
    }
  }

  using Named = std::pair<std::string, FieldChange>;
  std::vector<Named> changes_of(const RowDelta& delta) const {
    std::vector<Named> changes;
    if (!delta.before && !delta.after) return changes;
    const Row& any = delta.after ? *delta.after : *delta.before;
    const View view = explanation_.row.view;
    if (view == View::agents && delta.view == View::attachments) {
      if (any.text(attachments::agent_id) != explanation_.row.id) return changes;
      std::string block;
      append_json_string(block, any.text(attachments::label) + " " + any.text(attachments::block_id));
      FieldChange change;
      (delta.after ? change.after : change.before) = block;
      changes.emplace_back(kBlocks, change);
      return changes;
    }
    if (delta.view != view || any.text(0) != explanation_.row.id) return changes;
    const auto& columns = schema_of(view).columns;
    const bool closed = !delta.after;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (closed && view == View::messages) break;  // It only leaves the context.
      FieldChange change;
      if (delta.before) change.before = shown_value(view, i, delta.before->values[i]);
      if (delta.after) change.after = shown_value(view, i, delta.after->values[i]);
      if (change.before != change.after) changes.emplace_back(columns[i].name, std::move(change));
    }
    if (view == View::messages && delta.before.has_value() != delta.after.has_value()) {
      FieldChange change;
      if (closed) change.before = "true";
      change.after = closed ? "false" : "true";
      changes.emplace_back(kInContext, std::move(change));
    }
    return changes;
  }

  void add(const std::string& name, FieldChange change) {
    if (explanation_.row.field && name != *explanation_.row.field) return;
    change.touch = explanation_.touches.size() - 1;
    auto& fields = explanation_.fields;
    auto field = std::find_if(fields.begin(), fields.end(),
                              [&name](const ExplainedField& one) { return one.name == name; });
    if (field == fields.end()) field = fields.insert(fields.end(), ExplainedField{name, {}});
    field->chain.push_back(std::move(change));
  }

  Explanation& explanation_;
};

bool is_there(const MemoryViewStorage& views, const RowName& row) {
  const MemoryTable& table = views.tables[static_cast<std::size_t>(row.view)];
  if (row.view == View::messages) {
    const auto& rows = table.rows();
    return std::any_of(rows.begin(), rows.end(),
                       [&](const Row& one) { return one.text(messages::id) == row.id; });
  }
  return table.open_row({Value{row.id}}).has_value();
}

Task<> explain_in(EventLog& log, Partition partition, Causes causes,
                  std::shared_ptr<Explanation> explanation) {
  auto end = co_await log.end(partition);
  if (!end) co_return end.error();
  Explainer explainer{log, partition, std::move(causes), *explanation};
  if (Status begun = co_await explainer.replay.begin(*end); !begun) co_return begun;
  const Offset start;
  if (Status read = co_await visit_log(log, partition, start, *end, explainer); !read) co_return read;
  explanation->is_there = is_there(explainer.replay.views(), explanation->row);
  co_return ok();
}

std::string touch_line(const Touch& touch) {
  std::string line =
      to_string(touch.position) + "  " + format_rfc3339_micros(touch.at) + "  " + printable(touch.type);
  if (touch.sequence > Sequence{}) line += " #" + std::to_string(touch.sequence.value());
  if (!touch.stream.value().empty()) line += " of " + touch.stream.value();
  line += "\n       command " + to_hex(touch.command) + "\n       cause   " + describe(touch.cause) + "\n";
  if (!touch.carried.empty()) line += "       carried " + printable(touch.carried) + "\n";
  return line;
}

std::string column_wide(const std::string& text, std::size_t width) {
  return text.size() < width ? text + std::string(width - text.size(), ' ') : text + " ";
}

void print_chain(std::string& out, const Explanation& explanation, const ExplainedField& field) {
  for (const FieldChange& change : field.chain) {
    out.append("  ").append(touch_line(explanation.touches[change.touch]));
    const bool both = change.before && change.after;
    ShownPair shown;
    if (both) shown = shown_pair(*change.before, *change.after);
    if (change.before)
      out.append("       - ").append(both ? shown.before : shown_alone(*change.before)) += "\n";
    if (change.after) out.append("       + ").append(both ? shown.after : shown_alone(*change.after)) += "\n";
  }
}

}  // namespace

Result<RowName> parse_row_name(std::string row, std::string field) {
  if (const std::size_t dot = row.find('.'); dot != std::string::npos && field.empty()) {
    field = row.substr(dot + 1);
    row.resize(dot);
  }
  const auto prefix = std::find_if(kPrefixes.begin(), kPrefixes.end(), [&row](const Prefix& one) {
    return row.starts_with(one.text) && row.size() > one.text.size();
  });
  if (prefix == kPrefixes.end()) {
    return Error{Errc::invalid_argument,
                 "'" + printable(std::move(row)) +
                     "' is no id of a row: message-<uuid>, block-<uuid>, agent-<uuid>, "
                     "run-<uuid>, step-<uuid> or tool-<uuid>"};
  }
  RowName name{prefix->view, std::move(row), std::nullopt};
  if (field.empty()) return name;
  const std::vector<std::string> known = fields_of(name.view);
  if (std::find(known.begin(), known.end(), field) == known.end()) {
    std::string all;
    for (const std::string& one : known) all += (all.empty() ? "" : ", ") + one;
    return Error{Errc::invalid_argument, "'" + printable(std::move(field)) + "' is no field of " +
                                             std::string(schema_of(name.view).name) + ", which have " + all};
  }
  name.field = std::move(field);
  return name;
}

Task<Explanation> explain(EventLog& log, RowName row) {
  auto causes = co_await read_causes(log);
  if (!causes) co_return causes.error();
  auto explanation = std::make_shared<Explanation>();
  explanation->row = std::move(row);
  const auto stream = stream_of(explanation->row);
  for (std::uint32_t number = 0; number < log.partitions(); ++number) {
    const Partition partition{number};
    if (stream && partition != partition_of(*stream, log.partitions())) continue;
    if (Status explained = co_await explain_in(log, partition, *causes, explanation); !explained) {
      co_return explained.error();
    }
    if (!explanation->touches.empty()) break;
  }
  if (explanation->touches.empty()) {
    std::string why = "no event that counts has made " + explanation->row.id;
    for (const std::string& remark : explanation->remarks) why += "\n  " + remark;
    co_return Error{Errc::not_found, std::move(why)};
  }
  co_return std::move(*explanation);
}

std::string explanation_text(const Explanation& explanation) {
  const std::string view{schema_of(explanation.row.view).name};
  std::string out = explanation.row.id + (explanation.row.field ? " " + *explanation.row.field : "") +
                    "  (view " + view + (explanation.is_there ? "" : ", not there any more") + ")\n";
  if (explanation.row.field) {
    for (const ExplainedField& field : explanation.fields) print_chain(out, explanation, field);
    if (explanation.fields.empty()) out += "  it has never had a value\n";
  } else {
    for (const Touch& touch : explanation.touches) out += "  " + touch_line(touch);
    for (const ExplainedField& field : explanation.fields) {
      const FieldChange& last = field.chain.back();
      out += "  " + column_wide(field.name, 20);
      std::string places;
      for (const FieldChange& change : field.chain) {
        places += (places.empty() ? "" : " > ") + to_string(explanation.touches[change.touch].position);
      }
      out += column_wide(places, 16) + (last.after ? shown_alone(*last.after) : "gone") + "\n";
    }
  }
  for (const std::string& remark : explanation.remarks) out += "  !  " + printable(remark) + "\n";
  return out;
}

std::string explanation_json(const Explanation& explanation) {
  JsonWriter out;
  out.begin_object().field("row", explanation.row.id).field("view", schema_of(explanation.row.view).name);
  out.field_boolean("exists", explanation.is_there).key("events").begin_array();
  for (const Touch& touch : explanation.touches) {
    out.begin_object().field("position", to_string(touch.position));
    out.field("at", format_rfc3339_micros(touch.at)).field("type", touch.type);
    out.field("stream", touch.stream.value());
    out.field_integer("sequence", static_cast<std::int64_t>(touch.sequence.value()));
    out.field("command", to_hex(touch.command)).key("cause");
    write_cause(out, touch.cause);
    if (!touch.carried.empty()) out.field("carried", touch.carried);
    out.end_object();
  }
  out.end_array().key("fields").begin_object();
  for (const ExplainedField& field : explanation.fields) {
    out.key(field.name).begin_array();
    for (const FieldChange& change : field.chain) {
      out.begin_object();
      out.field("position", to_string(explanation.touches[change.touch].position));
      if (change.before) out.field_raw("before", *change.before);
      if (change.after) out.field_raw("after", *change.after);
      out.end_object();
    }
    out.end_array();
  }
  out.end_object().key("remarks").begin_array();
  for (const std::string& remark : explanation.remarks) out.string(remark);
  return out.end_array().end_object().take();
}

}  // namespace varve
