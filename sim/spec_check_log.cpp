// SpecCheck: the log as a reader from the start sees it, and what can only be said of the whole of it.
#include <algorithm>

#include "sim/spec_check.h"

namespace varve::sim {

// Rules 3 and 6, said again.
Verdict SpecCheck::admit(Log& log, const Record& record) {
  Epoch epoch;
  Index n;
  if (const auto* claim = std::get_if<Claim>(&record)) {
    if (!log.cluster.empty() && claim->cluster != log.cluster) return Verdict::foreign;
    if (claim->epoch.value() != log.epoch.value() + 1) return Verdict::fenced;
    log.epoch = claim->epoch;
    log.n = Index{};
    log.cluster = claim->cluster;
    return Verdict::admitted;
  }
  if (const auto* commit = std::get_if<Commit>(&record)) {
    epoch = commit->epoch;
    n = commit->n;
  } else if (const auto* ruling = std::get_if<Ruling>(&record)) {
    epoch = ruling->epoch;
    n = ruling->n;
  } else {
    return Verdict::foreign;
  }
  if (epoch.value() == 0 || epoch != log.epoch) return Verdict::fenced;
  if (n.value() > log.n.value() + 1) return Verdict::gap;
  if (n.value() < log.n.value() + 1) return Verdict::duplicate;
  log.n = n;
  return Verdict::admitted;
}

void SpecCheck::note(Log& log, std::size_t index, Judged& judged, std::string_view bytes) {
  const Record& record = *judged.record;
  if (const auto* claim = std::get_if<Claim>(&record)) {
    if (judged.admitted()) log.claims.emplace(claim->epoch, claim->id);
  } else if (const auto* ruling = std::get_if<Ruling>(&record)) {
    judged.place = Place{ruling->epoch, ruling->n};
    // A ruling has no command; its owner tells it by its bytes.
    judged.command = command_id_from_text("ruling " + std::string(bytes));
  } else if (const auto* commit = std::get_if<Commit>(&record)) {
    judged.place = Place{commit->epoch, commit->n};
    judged.command = commit->command.id;
    if (!judged.admitted()) return;
    for (const Part& part : commit->parts) {
      log.streams[part.stream].emplace_back(index, Sequence{part.first.value() + part.events.size() - 1});
    }
  }
  if (judged.place && judged.admitted()) log.admitted.emplace(*judged.place, index);
}

SpecCheck::Log& SpecCheck::caught_up(Partition partition) {
  Log& log = logs_[partition];
  const std::vector<LogRecord>& all = records_(partition);
  while (log.judged.size() < all.size()) {
    const LogRecord& record = all[log.judged.size()];
    Judged judged;
    judged.offset = record.offset;
    if (auto decoded = decode_record(*record.bytes)) {
      judged.record = std::make_shared<const Record>(std::move(*decoded));
      judged.verdict = admit(log, *judged.record);
      note(log, log.judged.size(), judged, *record.bytes);
    }
    judged.newest = log.epoch;
    log.judged.push_back(std::move(judged));
  }
  return log;
}

// Of the first record at `offset` or behind it.
std::size_t SpecCheck::index_of(const Log& log, Offset offset) {
  const auto found = std::lower_bound(log.judged.begin(), log.judged.end(), offset,
                                      [](const Judged& j, Offset wanted) { return j.offset < wanted; });
  return static_cast<std::size_t>(found - log.judged.begin());
}

void SpecCheck::at_rest() {
  std::vector<Partition> partitions;
  for (const auto& [partition, log] : logs_) {
    if (!given_up_.contains(partition)) partitions.push_back(partition);
  }
  for (const Partition partition : partitions) {
    const Log& log = caught_up(partition);
    OwnerLine line;
    line.partition = partition;
    for (const Judged& judged : log.judged) {
      if (judged.place) check_record(log, judged, line);
    }
  }
}

void SpecCheck::check_record(const Log& log, const Judged& judged, OwnerLine line) {
  Owner nobody;
  nobody.name = "the log";
  line.kind = OwnerLine::Kind::done;
  line.epoch = judged.place->epoch;
  line.n = judged.place->n;
  line.id = judged.command;
  line.offset = judged.offset;
  const auto& sent = sent_[line.partition];
  const auto found = sent.find({*judged.place, judged.command});
  if (found != sent.end() && found->second.not_written == found->second.times)
    fail(2, nobody, line, "its writer was told that it was not written");
  if (!judged.admitted()) return;
  const auto claim = log.claims.find(judged.place->epoch);
  if (found == sent.end() || claim == log.claims.end() || !found->second.claims.contains(claim->second))
    fail(4, nobody, line, "it counts, and no owner sent it under the claim that holds its epoch");
  check_parts(log, judged, line);
}

void SpecCheck::check_parts(const Log& log, const Judged& judged, const OwnerLine& line) {
  Owner nobody;
  nobody.name = "the log";
  if (const auto* commit = std::get_if<Commit>(judged.record.get())) {
    for (std::size_t i = 1; i < commit->parts.size(); ++i) {
      if (commit->parts[i].first != Sequence{1})
        fail(26, nobody, line, "a part behind the first is no birth");
    }
  }
  if (const auto* ruling = std::get_if<Ruling>(judged.record.get())) {
    const std::size_t index = index_of(log, ruling->offset);
    const Judged* on = index < log.judged.size() ? &log.judged[index] : nullptr;
    const bool before = on != nullptr && on->offset == ruling->offset && on->offset < judged.offset;
    const Commit* commit = before && on->admitted() ? std::get_if<Commit>(on->record.get()) : nullptr;
    const bool there =
        commit != nullptr && std::any_of(commit->parts.begin(), commit->parts.end(),
                                         [&](const Part& part) { return part.stream == ruling->stream; });
    if (!there) fail(27, nobody, line, "it is on an event that does not count, or not before it");
  }
}

}  // namespace varve::sim
