#include "inspect/replay_text.h"

#include <array>

#include "inspect/columns.h"

namespace varve {
namespace {

constexpr const char* kRed = "\x1b[31m";
constexpr const char* kGreen = "\x1b[32m";
constexpr const char* kYellow = "\x1b[33m";
constexpr const char* kBold = "\x1b[1m";
constexpr const char* kPlain = "\x1b[0m";

class TextWriter {
 public:
  explicit TextWriter(const ReplayStyle& style) : style_(style) {}

  void record(const ReplayedRecord& record) {
    std::string head = to_string(record.position);
    if (record.record) head += "  " + format_rfc3339_micros(record.at);
    head += "  ";
    const char* const verdict = record.verdict ? to_string(*record.verdict) : "undecodable";
    line(painted(kBold, head) + painted(record.counts() ? kBold : kYellow, verdict) + summary(record));
    if (!record.fault.empty()) line("  " + painted(kYellow, "!  " + printable(record.fault)));
    if (!record.verdict) line("     every reader stops here; nobody skips a record");
    if (record.cause) line("  cause  " + describe(*record.cause));
    for (const ReplayedEvent& event : record.events) {
      if (!style_.stream || event.stream == *style_.stream) this->event(event);
    }
    changes(record.state, record.rows, "  ");
  }
  std::string take() { return std::move(out_); }

 private:
  void line(const std::string& text) { out_.append(text).push_back('\n'); }
  std::string painted(const char* colour, const std::string& text) const {
    return style_.colour ? colour + text + kPlain : text;
  }

  static std::string summary(const ReplayedRecord& record) {
    if (!record.record) return "";
    if (const auto* claim = std::get_if<Claim>(&*record.record)) {
      return "  claim  epoch " + std::to_string(claim->epoch.value()) + " by node " + claim->node;
    }
    if (const auto* ruling = std::get_if<Ruling>(&*record.record)) {
      return "  ruling  event " + std::to_string(ruling->event) + " of " + ruling->stream.value() +
             " at offset " + std::to_string(ruling->offset.value()) + " is absent";
    }
    const Commit* commit = record.commit();
    if (commit == nullptr) return "  not a record of ours";
    return "  commit  epoch " + std::to_string(commit->epoch.value()) + " n " +
           std::to_string(commit->n.value()) + "  command " + to_hex(commit->command.id);
  }

  void event(const ReplayedEvent& event) {
    line("  " + event.stream.value() + " #" + std::to_string(event.sequence.value()) + " " +
         painted(kBold, printable(event.type)));
    if (!event.carried.empty()) line("    carried  " + printable(event.carried));
    if (!event.unreadable.empty())
      line("    " + painted(kYellow, "!  unreadable: " + printable(event.unreadable)));
    if (!event.waits.empty())
      line("    " + painted(kYellow, "!  not in the views: " + printable(event.waits)));
    changes(event.state, event.rows, "    ");
  }

  void changes(const std::vector<JsonChange>& state, const std::vector<RowDelta>& rows,
               const std::string& margin) {
    if (!style_.diff) {
      std::string paths;
      for (const JsonChange& change : state) paths += (paths.empty() ? "" : ", ") + change.path;
      if (!paths.empty()) line(margin + "state  " + paths);
    } else {
      for (const JsonChange& change : state) {
        line(margin + "state  " + change.path);
        pair(margin + "       ", change.before, change.after);
      }
    }
    for (const RowDelta& delta : rows) row(delta, margin);
  }

  void pair(const std::string& margin, const std::optional<std::string>& before,
            const std::optional<std::string>& after) {
    ShownPair shown;
    if (before && after) {
      shown = shown_pair(*before, *after);
    } else {
      shown = {before ? shown_alone(*before) : "", after ? shown_alone(*after) : ""};
    }
    if (before) line(margin + painted(kRed, "- " + shown.before));
    if (after) line(margin + painted(kGreen, "+ " + shown.after));
  }

  void row(const RowDelta& delta, const std::string& margin) {
    if (!delta.before && !delta.after) return;
    const Row& any = delta.after ? *delta.after : *delta.before;
    const std::string name = std::string(schema_of(delta.view).name) + " " + shown_key(delta.view, any);
    const std::vector<std::size_t> columns = changed_columns(delta);
    const auto& schema = schema_of(delta.view).columns;
    if (!delta.after) {
      const bool left = delta.view == View::messages;
      return line(margin + "views  " + painted(kRed, "- " + name) + (left ? "  leaves the context" : ""));
    }
    std::string names;
    for (const std::size_t column : columns) {
      names.append(names.empty() ? "" : ", ").append(schema[column].name);
    }
    if (!delta.before) {
      line(margin + "views  " + painted(kGreen, "+ " + name));
    } else {
      line(margin + "views  ~ " + name + (style_.diff || names.empty() ? "" : ": " + names));
    }
    if (!style_.diff) return;
    for (const std::size_t column : columns) {
      const auto shown = [&](const Row& row) { return shown_value(delta.view, column, row.values[column]); };
      if (delta.before) {
        line(margin + "         " + std::string(schema[column].name));
        pair(margin + "         ", shown(*delta.before), shown(*delta.after));
      } else if (!delta.after->is_null(column)) {
        line(margin + "         " +
             painted(kGreen,
                     "+ " + std::string(schema[column].name) + " " + shown_alone(shown(*delta.after))));
      }
    }
  }

  const ReplayStyle& style_;
  std::string out_;
};

void write_value(JsonWriter& out, const Value& value) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    out.string(*text);
  } else if (const auto* number = std::get_if<std::int64_t>(&value)) {
    out.integer(*number);
  } else {
    out.null();
  }
}

void write_state(JsonWriter& out, const std::vector<JsonChange>& changes) {
  out.key("state").begin_array();
  for (const JsonChange& change : changes) {
    out.begin_object().field("path", change.path);
    if (change.before) out.field_raw("before", *change.before);
    if (change.after) out.field_raw("after", *change.after);
    out.end_object();
  }
  out.end_array();
}

void write_rows(JsonWriter& out, const std::vector<RowDelta>& rows) {
  out.key("rows").begin_array();
  for (const RowDelta& delta : rows) {
    if (!delta.before && !delta.after) continue;
    const Row& any = delta.after ? *delta.after : *delta.before;
    const ViewSchema& schema = schema_of(delta.view);
    out.begin_object().field("view", schema.name).key("key").begin_array();
    for (std::size_t i = 0; i < schema.key_columns; ++i) write_value(out, any.values[i]);
    out.end_array().field("change", kind_of(delta)).key("columns").begin_object();
    for (const std::size_t column : changed_columns(delta)) {
      out.key(schema.columns[column].name).begin_object();
      if (delta.before) {
        out.key("before");
        write_value(out, delta.before->values[column]);
      }
      if (delta.after) {
        out.key("after");
        write_value(out, delta.after->values[column]);
      }
      out.end_object();
    }
    out.end_object().end_object();
  }
  out.end_array();
}

const char* kind_of_record(const ReplayedRecord& record) {
  if (!record.record) return "undecodable";
  constexpr std::array<const char*, 4> kKinds{"commit", "claim", "ruling", "foreign"};
  return kKinds[record.record->index()];
}

void indent(std::string& out, const Json& json, std::size_t depth) {
  const std::string margin(2 * depth + 2, ' ');
  const bool object = json.is_object();
  const std::size_t size = object ? json.members().size() : json.is_array() ? json.items().size() : 0;
  if (size == 0) return json.dump_to(out);
  out.push_back(object ? '{' : '[');
  for (std::size_t i = 0; i < size; ++i) {
    out.append(i == 0 ? "\n" : ",\n").append(margin);
    if (object) {
      append_json_string(out, json.members()[i].first);
      out.append(": ");
    }
    indent(out, object ? json.members()[i].second : json.items()[i], depth + 1);
  }
  out.append("\n").append(margin.substr(2)).push_back(object ? '}' : ']');
}

}  // namespace

const char* kind_of(const RowDelta& delta) {
  if (!delta.after) return "closed";
  return delta.before ? "changed" : "opened";
}

std::vector<std::size_t> changed_columns(const RowDelta& delta) {
  std::vector<std::size_t> columns;
  if (!delta.after) return columns;
  for (std::size_t i = 0; i < delta.after->values.size(); ++i) {
    if (!delta.before || delta.before->values[i] != delta.after->values[i]) columns.push_back(i);
  }
  return columns;
}

std::string replay_text(const ReplayedRecord& record, const ReplayStyle& style) {
  TextWriter writer{style};
  writer.record(record);
  return writer.take();
}

std::string replay_json(const ReplayedRecord& record, const ReplayStyle& style) {
  JsonWriter out;
  out.begin_object().field("position", to_string(record.position));
  out.field_integer("partition", record.position.partition.value());
  out.field_integer("offset", static_cast<std::int64_t>(record.position.offset.value()));
  record.record ? out.field("at", format_rfc3339_micros(record.at)) : out.field_null("at");
  record.verdict ? out.field("verdict", to_string(*record.verdict)) : out.field_null("verdict");
  out.field("kind", kind_of_record(record));
  record.fault.empty() ? out.field_null("fault") : out.field("fault", record.fault);
  const Commit* commit = record.commit();
  if (commit != nullptr) {
    out.key("command").begin_object().field("id", to_hex(commit->command.id));
    out.field_boolean("client", commit->command.client).end_object();
    out.field_integer("epoch", static_cast<std::int64_t>(commit->epoch.value()));
    out.field_integer("n", static_cast<std::int64_t>(commit->n.value())).field("node", commit->node);
  }
  if (record.cause) {
    out.key("cause");
    write_cause(out, *record.cause);
  }
  out.key("events").begin_array();
  for (const ReplayedEvent& event : record.events) {
    if (style.stream && event.stream != *style.stream) continue;
    out.begin_object().field("stream", event.stream.value());
    out.field_integer("sequence", static_cast<std::int64_t>(event.sequence.value()));
    out.field("type", event.type);
    event.unreadable.empty() ? out.field_null("unreadable") : out.field("unreadable", event.unreadable);
    event.waits.empty() ? out.field_null("waits") : out.field("waits", event.waits);
    if (!event.carried.empty()) out.field("carried", event.carried);
    out.field_raw("data", event.data);
    write_state(out, event.state);
    write_rows(out, event.rows);
    out.end_object();
  }
  out.end_array();
  write_state(out, record.state);
  write_rows(out, record.rows);
  return out.end_object().take();
}

std::string damaged_json(const std::string& why) {
  JsonWriter out;
  out.begin_object().field_null("position").field("kind", "damaged").field("fault", why).end_object();
  return out.take();
}

std::string indented(const Json& json) {
  std::string out;
  indent(out, json, 0);
  return out;
}

}  // namespace varve
