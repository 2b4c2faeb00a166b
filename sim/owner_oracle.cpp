#include "sim/owner_oracle.h"

#include <algorithm>

namespace varve::sim {
namespace {

std::string named(Partition partition, Epoch epoch, Index n) {
  return "commit e=" + std::to_string(epoch.value()) + " n=" + std::to_string(n.value()) + " of partition " +
         std::to_string(partition.value());
}
std::string named(const OwnerLine& line) {
  return named(line.partition, line.epoch, line.n);
}

OwnerLine::Record kind_of(const Record& record) {
  if (std::holds_alternative<Claim>(record)) return OwnerLine::Record::claim;
  return std::holds_alternative<Commit>(record) ? OwnerLine::Record::commit : OwnerLine::Record::ruling;
}

constexpr std::string_view kShard = "shard p=";

}  // namespace

OwnerOracle::OwnerOracle(LogOracle& log, Violations& violations, std::function<bool(Incarnation)> alive)
    : log_(log), violations_(violations), alive_(std::move(alive)), parts_(log.partitions()) {
  log.on_judged([this](Partition partition, const JudgedRecord& judged) { on_judged(partition, judged); });
}

void OwnerOracle::on_trace(Incarnation incarnation, std::string_view node, std::string_view text) {
  if (text.starts_with(kShard)) return on_shard(incarnation, node, text.substr(kShard.size()));
  auto parsed = owner_line(text);
  if (!parsed) return violations_.add("AgreePair", parsed.error().message);
  if (!*parsed) return;
  const OwnerLine& line = **parsed;
  if (line.partition.value() >= parts_.size()) {
    return violations_.add("AgreePair", "no such partition: " + std::string(text));
  }
  traced_ = true;
  log_.look(line.partition);
  if (log_.given_up(line.partition)) return;
  const Key key{incarnation, line.partition};
  if (line.kind == OwnerLine::Kind::reading) return on_reading(key, node, line);
  const auto found = readers_.find(key);
  if (found == readers_.end()) {
    if (line.kind == OwnerLine::Kind::end) return;  // It was revoked before it came to that.
    return violations_.add("AgreePair", std::string(node) + " has not begun to read: " + std::string(text));
  }
  Reader& reader = found->second;
  switch (line.kind) {
    case OwnerLine::Kind::reading:
      break;
    case OwnerLine::Kind::claim_sent:
      if (!claims_.emplace(line.id, incarnation).second) {
        violations_.add("OneWriter", reader.node + " sends the claim id " + to_hex(line.id) + " again");
      }
      reader.claim = line.id;
      break;
    case OwnerLine::Kind::read:
      on_read(reader, line);
      ++reader.next;
      break;
    case OwnerLine::Kind::serve:
      on_serve(key, reader, line);
      break;
    case OwnerLine::Kind::stop:
      reader.serving = false;
      break;
    case OwnerLine::Kind::commit_sent:
      on_commit_sent(key, reader, line);
      break;
    case OwnerLine::Kind::done:
      reader.in_flight.erase({line.epoch, line.n});
      on_done(line);
      break;
    case OwnerLine::Kind::never:
      reader.in_flight.erase({line.epoch, line.n});
      on_never(line);
      break;
    case OwnerLine::Kind::not_written:
      if (Sent* sent = find_sent(line)) sent->not_written = true;
      break;
    case OwnerLine::Kind::unknown:
      break;  // Its fate is open; the reader goes on waiting for it.
    case OwnerLine::Kind::end:
      readers_.erase(found);
      break;
  }
}

// "3 asked cmd=..": the rest of a shard's line.
void OwnerOracle::on_shard(Incarnation incarnation, std::string_view node, std::string_view text) {
  std::uint32_t number = 0;
  while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
    number = number * 10 + static_cast<std::uint32_t>(text.front() - '0');
    text.remove_prefix(1);
  }
  const Partition partition{number};
  const Key key{incarnation, partition};
  if (number >= parts_.size() || log_.given_up(partition)) return;
  log_.look(partition);
  constexpr std::string_view kAsked = " asked ";
  constexpr std::string_view kRefused = " refused ";
  if (text.starts_with(kAsked)) {
    asked_[{key, std::string(text.substr(kAsked.size()))}] = log_.judged(partition).size();
    return;
  }
  if (!text.starts_with(kRefused)) return;
  const auto asked = asked_.find({key, std::string(text.substr(kRefused.size()))});
  const auto reader = readers_.find(key);
  if (asked == asked_.end() || reader == readers_.end() || reader->second.next >= asked->second) return;
  violations_.add("RefusalFresh", std::string(node) + " answers a command of partition " +
                                      std::to_string(number) + " without an event, having read " +
                                      std::to_string(reader->second.next) + " of the " +
                                      std::to_string(asked->second) + " records that were there");
}

void OwnerOracle::on_reading(const Key& key, std::string_view node, const OwnerLine& line) {
  Reader reader;
  reader.node = node;
  reader.next = log_.index_of(line.partition, line.offset);
  readers_[key] = std::move(reader);
}

void OwnerOracle::on_read(const Reader& reader, const OwnerLine& line) {
  const auto& judged = log_.judged(line.partition);
  const std::string what = reader.node + " reads " + place(line.partition, line.offset);
  if (reader.next >= judged.size()) {
    return violations_.add("AgreePair", what + ", which is not in the log");
  }
  const JudgedRecord& record = judged[reader.next];
  if (record.offset != line.offset) {
    return violations_.add("AgreePair",
                           what + ", where " + place(line.partition, record.offset) + " comes next");
  }
  if (record.verdict != line.verdict) {
    return violations_.add("AgreePair", what + " as " + to_string(line.verdict) +
                                            "; a reader from the start as " + to_string(record.verdict));
  }
  const bool foreign = std::holds_alternative<ForeignRecord>(*record.record);
  if (!foreign && kind_of(*record.record) != line.record) {
    violations_.add("AgreePair", what + " as another kind of record");
  }
}

void OwnerOracle::on_serve(const Key& key, Reader& reader, const OwnerLine& line) {
  reader.serving = true;
  reader.epoch = line.epoch;
  const Claim* claim = log_.claim_of(line.partition, line.epoch);
  const std::string what = reader.node + " serves the epoch " + std::to_string(line.epoch.value()) +
                           " of partition " + std::to_string(line.partition.value());
  if (claim == nullptr) return violations_.add("OneWriter", what + ", for which no claim counts");
  if (claim->id != line.id) {
    return violations_.add(
        "OneWriter", what + " under the claim " + to_hex(line.id) + "; " + to_hex(claim->id) + " holds it");
  }
  const auto sender = claims_.find(line.id);
  if (sender == claims_.end() || sender->second != key.incarnation) {
    return violations_.add("OneWriter", what + " under a claim of somebody else");
  }
  if (reader.claim != line.id) {
    return violations_.add("OneWriter", what + " under a claim of its own that is not its newest");
  }
  const auto& judged = log_.judged(line.partition);
  const bool read = std::any_of(
      judged.begin(), judged.begin() + static_cast<std::ptrdiff_t>(reader.next),
      [claim](const JudgedRecord& record) { return std::get_if<Claim>(record.record.get()) == claim; });
  if (!read) violations_.add("OneWriter", what + " before it has read its claim back");
}

// Behind everything that the reader has read, whichever of the two is told later.
Offset OwnerOracle::behind(const OwnerLine& line, const Reader& reader) const {
  const auto& judged = log_.judged(line.partition);
  if (reader.next == 0 || reader.next > judged.size()) return line.next;
  return std::max(line.next, next(judged[reader.next - 1].offset));
}

void OwnerOracle::on_commit_sent(const Key& key, Reader& reader, const OwnerLine& line) {
  if (!reader.serving || reader.epoch != line.epoch) {
    violations_.add("OneWriter", reader.node + " sends the " + named(line) + " without serving that epoch");
  }
  Sent sent;
  sent.by = key.incarnation;
  sent.command = line.id;
  sent.stream = line.stream;
  sent.first = line.first;
  sent.basis = behind(line, reader);
  for (const auto& [place_before, other] : reader.in_flight) {
    if (other.stream == line.stream) sent.before.push_back(other.command);
  }
  auto& attempts = parts_[line.partition.value()].sent[{line.epoch, line.n}];
  // A retry under the same n is the command's new attempt: what was said of the old one is about that.
  std::erase_if(attempts, [&sent](const Sent& old) { return old.command == sent.command; });
  attempts.push_back(std::move(sent));
  reader.in_flight[{line.epoch, line.n}] = {line.stream, line.id};
}

OwnerOracle::Sent* OwnerOracle::find_sent(const OwnerLine& line) {
  auto& sent = parts_[line.partition.value()].sent;
  const auto found = sent.find({line.epoch, line.n});
  if (found == sent.end()) return nullptr;
  for (Sent& one : found->second) {
    if (one.command == line.id) return &one;
  }
  return nullptr;
}

void OwnerOracle::on_done(const OwnerLine& line) {
  const JudgedRecord* record = log_.record_at(line.partition, line.offset);
  bool right = record != nullptr && record->admitted();
  if (right) {
    if (const Commit* commit = record->commit()) {
      right = commit->epoch == line.epoch && commit->n == line.n && commit->command.id == line.id;
    } else if (const auto* ruling = std::get_if<Ruling>(record->record.get())) {
      right = ruling->epoch == line.epoch && ruling->n == line.n;
    } else {
      right = false;
    }
  }
  if (!right) {
    violations_.add("I1", "the " + named(line) + " is called done at " + place(line.partition, line.offset) +
                              ", where it does not count");
  }
}

void OwnerOracle::on_never(const OwnerLine& line) {
  const JudgedRecord* record = log_.commit_of(line.partition, line.epoch, line.n);
  if (record != nullptr && record->commit()->command.id == line.id) {
    return violations_.add("NoLateEffect", "the " + named(line) + " is called off; it counts at " +
                                               place(line.partition, record->offset));
  }
  Sent* sent = find_sent(line);
  if (sent != nullptr) sent->never = true;
  const bool known = log_.epoch(line.partition) > line.epoch || (sent != nullptr && sent->not_written);
  if (!known) {
    violations_.add("NoLateEffect", "the " + named(line) + " is called off before its fate can be known");
  }
}

void OwnerOracle::on_judged(Partition partition, const JudgedRecord& judged) {
  if (!traced_ || !judged.admitted()) return;
  auto& sent = parts_[partition.value()].sent;
  if (std::holds_alternative<Claim>(*judged.record)) {
    // Nothing of an older epoch counts from here on.
    sent.erase(sent.begin(), sent.lower_bound({judged.after.epoch, Index{}}));
    return;
  }
  const Commit* commit = judged.commit();
  if (commit == nullptr) return;
  const std::string what =
      "the " + named(partition, commit->epoch, commit->n) + " at " + place(partition, judged.offset);
  const Claim* claim = log_.claim_of(partition, commit->epoch);
  if (claim != nullptr && claim->node != commit->node) {
    violations_.add("OneWriter", what + " was written by another node than the claim of its epoch");
  }
  const auto found = sent.find({commit->epoch, commit->n});
  const Sent* ours = nullptr;
  if (found != sent.end()) {
    for (const Sent& one : found->second) {
      if (one.command == commit->command.id) ours = &one;
    }
  }
  if (ours == nullptr) return violations_.add("OneWriter", what + " was sent by nobody");
  const auto holder = claim == nullptr ? claims_.end() : claims_.find(claim->id);
  if (holder == claims_.end() || holder->second != ours->by) {
    violations_.add("OneWriter", what + " was not sent by whoever sent the claim of its epoch");
  }
  if (ours->never) violations_.add("NoLateEffect", what + " counts after it was called off");
  check_basis(partition, judged, *commit, *ours);
  sent.erase(sent.begin(), std::next(found));
}

void OwnerOracle::check_basis(Partition partition, const JudgedRecord& judged, const Commit& commit,
                              const Sent& sent) {
  const std::string what =
      "the " + named(partition, commit.epoch, commit.n) + " at " + place(partition, judged.offset);
  const StreamId& stream = commit.parts.front().stream;
  if (stream != sent.stream || commit.parts.front().first != sent.first) {
    return violations_.add("DecidedOn", what + " is not what was sent under its n");
  }
  // Its stream's history as the log has it now: what had been read, then what was in flight, nothing else.
  const auto& steps = log_.steps_of(stream);
  std::size_t in_flight = 0;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    const bool known = std::find(sent.before.begin(), sent.before.end(), step->command) != sent.before.end();
    if (known) ++in_flight;
    if (step->offset < sent.basis) {
      if (in_flight >= sent.before.size()) break;
      continue;  // Some of what was in flight may lie here: read meanwhile, or it is missing.
    }
    if (!known) {
      return violations_.add("DecidedOn", what + " follows an event of " + stream.value() + " at offset " +
                                              std::to_string(step->offset.value()) +
                                              " that it was decided without");
    }
  }
  if (in_flight < sent.before.size()) {
    return violations_.add(
        "DecidedOn", what + " was decided after a commit of " + stream.value() + " that does not count");
  }
  const std::uint64_t wanted = steps.empty() ? 1 : steps.back().first.value() + steps.back().events;
  if (commit.parts.front().first.value() != wanted) {
    violations_.add("DecidedOn", what + " does not follow the last event of " + stream.value());
  }
}

std::string OwnerOracle::pending(Partition partition) const {
  if (log_.given_up(partition)) return "";
  const std::string name = "partition " + std::to_string(partition.value());
  for (const auto& [key, reader] : readers_) {
    if (key.partition != partition || !reader.serving || !alive_(key.incarnation)) continue;
    if (reader.epoch != log_.epoch(partition)) continue;
    if (reader.next < log_.judged(partition).size()) return name + ": its owner has not read everything";
    if (!reader.in_flight.empty()) return name + ": its owner has commits in flight";
    return "";
  }
  return name + " has no owner that serves";
}

}  // namespace varve::sim
