#include "cli/log_lines.h"

namespace varve {
namespace {

std::string summary_of(const Record& record) {
  if (const auto* claim = std::get_if<Claim>(&record)) {
    return "claim   epoch " + std::to_string(claim->epoch.value()) + " by node " + claim->node + " (" +
           claim->cluster + ")";
  }
  if (const auto* ruling = std::get_if<Ruling>(&record)) {
    return "ruling  epoch " + std::to_string(ruling->epoch.value()) + " n " +
           std::to_string(ruling->n.value()) + " on " + ruling->stream.value() + " at offset " +
           std::to_string(ruling->offset.value());
  }
  if (std::holds_alternative<ForeignRecord>(record)) return "foreign (not a record of ours)";
  const auto& commit = std::get<Commit>(record);
  std::string text = "commit  epoch " + std::to_string(commit.epoch.value()) + " n " +
                     std::to_string(commit.n.value()) + " cmd " + to_hex(commit.command.id).substr(0, 8);
  if (!commit.command.request_id.empty()) text += " request " + commit.command.request_id;
  for (const Part& part : commit.parts) {
    text += "\n          " + part.stream.value();
    std::uint64_t sequence = part.first.value();
    for (const StoredEvent& stored : part.events) {
      const auto* event = std::get_if<Event>(&stored);
      const std::string type = event != nullptr ? std::string(type_of(*event))
                                                : std::get<UnreadableEvent>(stored).type + " (unreadable)";
      text += " #" + std::to_string(sequence++) + " " + type;
    }
  }
  return text;
}

}  // namespace

std::string line_of_record(Partition partition, const LogRecord& read, Verdict verdict, const Record& record,
                           bool json) {
  const LogPosition position{partition, read.offset};
  if (!json) {
    return to_string(position) + "  " + format_rfc3339_micros(time_of(record)) + "  " + to_string(verdict) +
           "  " + summary_of(record);
  }
  JsonWriter out;
  out.begin_object().field("position", to_string(position));
  out.field_integer("partition", partition.value());
  out.field_integer("offset", static_cast<std::int64_t>(read.offset.value()));
  out.field("verdict", to_string(verdict));
  if (std::holds_alternative<ForeignRecord>(record)) {
    out.field_null("record");
  } else {
    out.field_raw("record", *read.bytes);
  }
  return out.end_object().take();
}

}  // namespace varve
