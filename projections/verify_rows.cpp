#include "projections/verify_rows.h"

#include "projections/digest.h"

namespace varve {
namespace {

constexpr std::size_t kPrintedMax = 80;

std::string printed(const Value& value) {
  if (std::holds_alternative<std::monostate>(value)) return "null";
  if (const auto* number = std::get_if<std::int64_t>(&value)) return std::to_string(*number);
  const auto& text = std::get<std::string>(value);
  return "'" + (text.size() > kPrintedMax ? text.substr(0, kPrintedMax - 3) + "..." : text) + "'";
}

std::string printed(const Mark& mark) {
  return mark.none ? "none"
                   : "offset " + std::to_string(mark.offset.value()) + ", hash " + std::to_string(mark.hash);
}

std::string closing_of(const Row& row) {
  return row.to ? "closed at offset " + std::to_string(row.to->offset.value()) : "open";
}

// The first thing in which two versions of one row differ.
std::string difference_of(View view, const Row& stored, const Row& replayed) {
  const auto columns = schema_of(view).columns;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (stored.values[i] != replayed.values[i]) {
      return std::string(columns[i].name) + " is " + printed(stored.values[i]) + ", the log says " +
             printed(replayed.values[i]);
    }
  }
  if (stored.to != replayed.to)
    return "it is " + closing_of(stored) + ", the log says " + closing_of(replayed);
  return "its time or sequence differs from the log's";
}

}  // namespace

std::string sentence_of(View view, const Row& row, const std::string& what) {
  return describe(view, row) + ": " + what + " (last touched at offset " +
         std::to_string((row.to ? row.to->offset : row.from.offset).value()) + ")";
}

void RowComparison::report(const Row& row, const std::string& what) {
  if (differences_.size() < kDifferencesMax)
    differences_.push_back({partition_, sentence_of(view_, row, what)});
}

void RowComparison::take(const Row& stored) {
  while (at_ < expected_.size() && place_before(view_, expected_[at_], stored)) {
    report(expected_[at_++], "the row is missing in the table");
  }
  if (at_ >= expected_.size() || place_before(view_, stored, expected_[at_])) {
    report(stored, "the row is in the table, but not in the log");
    return;
  }
  if (!(stored == expected_[at_])) report(stored, difference_of(view_, stored, expected_[at_]));
  ++at_;
}

void RowComparison::end() {
  while (at_ < expected_.size()) report(expected_[at_++], "the row is missing in the table");
}

void compare_checkpoint(Partition partition, const Checkpoint& stored, const Checkpoint& replayed,
                        std::vector<Difference>& differences) {
  const auto report = [&](const std::string& what, const std::string& is, const std::string& should) {
    differences.push_back({partition, "the checkpoint at offset " + std::to_string(stored.next.value()) +
                                          ": its " + what + " is " + is + ", the log says " + should});
  };
  const auto admission = [](const AdmissionState& state) {
    return "epoch " + std::to_string(state.epoch.value()) + ", index " + std::to_string(state.index.value());
  };
  if (!(stored.admission == replayed.admission))
    report("place in the epochs", admission(stored.admission), admission(replayed.admission));
  if (!(stored.mark == replayed.mark)) report("mark", printed(stored.mark), printed(replayed.mark));
  if (stored.at != replayed.at)
    report("time", format_rfc3339_micros(stored.at), format_rfc3339_micros(replayed.at));
}

Difference rows_do_not_add_up(Partition partition, View view) {
  return {partition,
          std::string{schema_of(view).name} + ": the rows do not add up to the checkpoint's digest"};
}

Difference digest_is_not_the_logs(Partition partition, View view) {
  return {partition, std::string{schema_of(view).name} + ": the checkpoint's digest is not that of the log"};
}

std::string log_ends_before(Offset next) {
  return "the log ends before the checkpoint at offset " + std::to_string(next.value()) +
         ": the checkpoint was moved, or the log was cut or exchanged";
}

std::string lies_between_records(Offset next) {
  return "the checkpoint at offset " + std::to_string(next.value()) +
         " lies between two records of the log: it was moved";
}

}  // namespace varve
