#include "sim/spec_check.h"

namespace varve::sim {
namespace {

constexpr std::size_t kViolationsMax = 50;

using Kind = OwnerLine::Kind;

bool same_kind(OwnerLine::Record said, const Record& record) {
  if (std::holds_alternative<Claim>(record)) return said == OwnerLine::Record::claim;
  if (std::holds_alternative<Commit>(record)) return said == OwnerLine::Record::commit;
  // Of a record that is not ours nothing is known.
  return std::holds_alternative<ForeignRecord>(record) || said == OwnerLine::Record::ruling;
}

}  // namespace

void SpecCheck::fail(int rule, const Owner& owner, const OwnerLine& line, const std::string& why) {
  if (violations_.size() >= kViolationsMax) return;
  violations_.push_back(
      {"spec rule " + std::to_string(rule), owner.name + ": \"" + to_text(line) + "\": " + why});
}

Epoch SpecCheck::newest_read(const Log& log, const Owner& owner) {
  return owner.next == 0 ? Epoch{} : log.judged[owner.next - 1].newest;
}

const SpecCheck::Judged* SpecCheck::last_read(const Log& log, const Owner& owner) {
  return owner.next == 0 ? nullptr : &log.judged[owner.next - 1];
}

// ---- the lines

void SpecCheck::on_trace(Incarnation incarnation, std::string_view node, std::string_view text) {
  auto parsed = owner_line(text);
  if (!parsed) {
    if (violations_.size() < kViolationsMax)
      violations_.push_back({"spec trace", std::string(node) + ": " + parsed.error().message});
    return;
  }
  if (!*parsed) return;
  const OwnerLine& line = **parsed;
  if (given_up_.contains(line.partition)) return;
  Owner& owner = owners_[{incarnation, line.partition}];
  owner.name = std::string(node);
  ++steps_;
  take(owner, caught_up(line.partition), line);
}

// What an owner owes is about the state in which it is: anything else that it does first comes too late.
void SpecCheck::check_duty(Owner& owner, const OwnerLine& line) {
  const Duty duty = owner.duty;
  const bool about_place = line.epoch == owner.place.epoch && line.n == owner.place.n;
  switch (duty) {
    case Duty::none:
      return;
    case Duty::serve:
      if (line.kind == Kind::serve || line.kind == Kind::never) return;
      return fail(5, owner, line, "it has read its own admitted claim and must serve first");
    case Duty::stop:
      if (line.kind == Kind::stop || line.kind == Kind::unknown || line.kind == Kind::never) return;
      return fail(11, owner, line, "it must stop first");
    case Duty::done:
      if (line.kind == Kind::done && about_place) return;
      // Whom the read-back commit wakes may be decided before its own committer is told.
      if (line.kind == Kind::commit_sent) return;
      return fail(10, owner, line, "it has read its own admitted commit and must tell the committer first");
    case Duty::never:
      if (line.kind == Kind::never && about_place) return;
      return fail(2, owner, line, "the committer of what was not written must be told first");
    case Duty::end:
      return fail(11, owner, line, "it has stopped for no reason that the protocol knows, and goes on");
  }
}

void SpecCheck::take(Owner& owner, Log& log, const OwnerLine& line) {
  // An error ends a reader at any time, and with it all that it owes.
  if (line.kind == Kind::end || line.kind == Kind::reading) {
    owner.duty = Duty::none;
  } else if (owner.phase == Phase::ended) {
    fail(4, owner, line, "its reader has ended, or never began");
  }
  check_duty(owner, line);
  if (line.kind != Kind::reading) owner.has_acted = true;
  switch (line.kind) {
    case Kind::reading:
      return reading(owner, log, line);
    case Kind::claim_sent:
      return claim_sent(owner, log, line);
    case Kind::read:
      return read(owner, log, line);
    case Kind::serve:
      return serve(owner, log, line);
    case Kind::stop:
      return stop(owner, line);
    case Kind::commit_sent:
      return commit_sent(owner, log, line);
    case Kind::done:
      return done(owner, log, line);
    case Kind::never:
      return never(owner, log, line);
    case Kind::not_written:
      return not_written(owner, line);
    case Kind::unknown:
      return unknown(owner, line);
    case Kind::end:
      owner.phase = Phase::ended;
      owner.claim.reset();
      owner.in_flight.clear();
      return;
  }
}

void SpecCheck::reading(Owner& owner, const Log& log, const OwnerLine& line) {
  // One that was stopped before it began may still say that it reads, and does nothing then.
  if (owner.phase != Phase::ended && owner.has_acted) fail(4, owner, line, "its reader before has not ended");
  Owner fresh;
  fresh.name = owner.name;
  fresh.phase = Phase::claiming;
  fresh.next = index_of(log, line.offset);
  owner = std::move(fresh);
}

void SpecCheck::claim_sent(Owner& owner, const Log& log, const OwnerLine& line) {
  if (owner.phase == Phase::serving) fail(4, owner, line, "it serves and has not stopped");
  if (line.epoch.value() != newest_read(log, owner).value() + 1) {
    fail(3, owner, line,
         "the newest epoch it has read is " + std::to_string(newest_read(log, owner).value()));
  }
  if (!claim_ids_.insert(line.id).second) fail(3, owner, line, "the id was used before");
  owner.claim = line.id;
  owner.claim_epoch = line.epoch;
}

void SpecCheck::read(Owner& owner, const Log& log, const OwnerLine& line) {
  if (owner.duty == Duty::serve || owner.duty == Duty::stop || owner.duty == Duty::done)
    owner.duty = Duty::none;  // Said already.
  if (owner.next >= log.judged.size() || log.judged[owner.next].offset != line.offset) {
    const std::string expected = owner.next < log.judged.size()
                                     ? std::to_string(log.judged[owner.next].offset.value())
                                     : std::string("nothing, it has read all");
    fail(1, owner, line, "the next record is " + expected);
    const std::size_t there = index_of(log, line.offset);
    if (there >= log.judged.size() || log.judged[there].offset != line.offset) return;
    owner.next = there;
  }
  const Epoch newest = newest_read(log, owner);
  while (!owner.in_flight.empty() && owner.in_flight.begin()->first.epoch < newest) {
    fail(12, owner, line, "committers of an earlier epoch have not been told their fate");
    owner.in_flight.erase(owner.in_flight.begin());
  }
  const Judged& judged = log.judged[owner.next++];
  if (!judged.record || !same_kind(line.record, *judged.record) || judged.verdict != line.verdict) {
    fail(6, owner, line, std::string("a reader from the start says ") + to_string(judged.verdict));
    return;
  }
  if (const auto* claim = std::get_if<Claim>(judged.record.get())) {
    read_claim(owner, judged, *claim);
  } else if (judged.place) {
    read_numbered(owner, judged);
  }
}

void SpecCheck::read_claim(Owner& owner, const Judged& judged, const Claim& claim) {
  const bool own = owner.claim && *owner.claim == claim.id;
  if (!judged.admitted()) {
    // A skipped claim is no claim; but a second copy of the one under which it serves says nothing.
    if (own && owner.phase != Phase::serving) owner.claim.reset();
    return;
  }
  if (own) {
    owner.duty = Duty::serve;
  } else if (owner.phase == Phase::serving) {
    owner.duty = Duty::stop;
  }
}

void SpecCheck::read_numbered(Owner& owner, const Judged& judged) {
  const auto found = owner.in_flight.find(*judged.place);
  const bool own = found != owner.in_flight.end() && found->second.command == judged.command;
  const bool current = owner.phase == Phase::serving && judged.place->epoch == owner.epoch;
  if (judged.admitted() && own) {
    owner.duty = Duty::done;
    owner.place = *judged.place;
  } else if (current && (own || judged.admitted())) {
    owner.duty = Duty::stop;  // An own one that does not count, or one of its epoch that it did not write.
  }
}

void SpecCheck::serve(Owner& owner, const Log& log, const OwnerLine& line) {
  const Judged* last = last_read(log, owner);
  const Claim* claim = last != nullptr && last->admitted() ? std::get_if<Claim>(last->record.get()) : nullptr;
  if (claim == nullptr || claim->id != line.id || claim->epoch != line.epoch) {
    fail(4, owner, line, "the record that it has just read is not this claim, admitted");
  } else if (!owner.claim || *owner.claim != line.id) {
    fail(4, owner, line, "this is not its current claim");
  }
  if (!owner.in_flight.empty() && owner.in_flight.begin()->first.epoch < line.epoch) {
    fail(12, owner, line, "committers of an earlier epoch have not been told their fate");
  }
  owner.phase = Phase::serving;
  owner.epoch = line.epoch;
  owner.n = Index{1};
  owner.duty = Duty::none;
}

void SpecCheck::stop(Owner& owner, const OwnerLine& line) {
  if (owner.phase != Phase::serving || line.epoch != owner.epoch)
    fail(11, owner, line, "it does not serve that epoch");
  // A reader that ends may stop; nobody else without a reason.
  owner.duty = owner.duty == Duty::stop ? Duty::none : Duty::end;
  owner.phase = Phase::claiming;
  owner.claim.reset();
}

void SpecCheck::commit_sent(Owner& owner, const Log& log, const OwnerLine& line) {
  if (owner.phase != Phase::serving) {
    fail(11, owner, line, "it does not serve");
  } else if (line.epoch != owner.epoch) {
    fail(6, owner, line, "it serves epoch " + std::to_string(owner.epoch.value()));
  } else if (line.n != owner.n) {
    fail(6, owner, line, "the next index is " + std::to_string(owner.n.value()));
  }
  for (const auto& [place, sent] : owner.in_flight) {
    if (sent.command == line.id) fail(13, owner, line, "the command is in flight");
    if (sent.stream == line.stream) fail(9, owner, line, "the stream has another record in flight");
  }
  if (index_of(log, line.next) > owner.next) fail(9, owner, line, "it says that it has read what it has not");
  std::uint64_t length = 0;
  std::uint64_t longest = 0;
  if (const auto stream = log.streams.find(line.stream); stream != log.streams.end()) {
    for (const auto& [index, sequence] : stream->second) {
      longest = sequence.value();
      if (index < owner.next) length = longest;
    }
  }
  // Whoever has been replaced and has not noticed may have loaded a snapshot of the next owner. What it sends
  // does not count.
  const bool replaced = !log.claims.empty() && line.epoch < log.claims.rbegin()->first;
  const bool ahead = replaced && line.first.value() > length + 1 && line.first.value() <= longest + 1;
  // A ruling has no sequence.
  if (line.first.value() != length + 1 && line.first != Sequence{} && !ahead) {
    fail(7, owner, line, "the stream has " + std::to_string(length) + " events up to what it has read");
  }
  owner.in_flight.insert_or_assign(Place{line.epoch, line.n}, Sent{line.id, line.stream});
  owner.n = next(line.n);
  Sends& sends = sent_[line.partition][{Place{line.epoch, line.n}, line.id}];
  ++sends.times;
  const auto claim = log.claims.find(line.epoch);
  if (owner.claim) sends.claims.insert(*owner.claim);
  if (owner.phase == Phase::serving &&
      (claim == log.claims.end() || !owner.claim || claim->second != *owner.claim))
    fail(4, owner, line, "the epoch belongs to another claim");
}

// Forgives what is not in flight, after it has said so.
bool SpecCheck::is_in_flight(const Owner& owner, const OwnerLine& line) {
  const auto found = owner.in_flight.find({line.epoch, line.n});
  if (found != owner.in_flight.end() && found->second.command == line.id) return true;
  fail(10, owner, line, "it has no such commit in flight");
  return false;
}

void SpecCheck::done(Owner& owner, const Log& log, const OwnerLine& line) {
  if (!is_in_flight(owner, line)) return;
  const Place place{line.epoch, line.n};
  const Judged* last = last_read(log, owner);
  if (last == nullptr || !last->admitted() || last->place != place || last->command != line.id ||
      last->offset != line.offset) {
    fail(10, owner, line, "the record that it has just read is not this commit, admitted");
  }
  owner.in_flight.erase(place);
  if (owner.duty == Duty::done) owner.duty = Duty::none;
}

void SpecCheck::never(Owner& owner, const Log& log, const OwnerLine& line) {
  if (!is_in_flight(owner, line)) return;
  const Place place{line.epoch, line.n};
  if (owner.duty == Duty::never && owner.place == place) {
    owner.duty = owner.stops_after ? Duty::stop : Duty::none;
  } else if (newest_read(log, owner) <= line.epoch) {
    fail(12, owner, line, "its fate is open: it has read no admitted claim of a higher epoch");
  } else if (const auto admitted = log.admitted.find(place);
             admitted != log.admitted.end() && admitted->second < owner.next &&
             log.judged[admitted->second].command == line.id) {
    fail(12, owner, line, "it counts: it lies before that claim");
  }
  owner.in_flight.erase(place);
}

void SpecCheck::not_written(Owner& owner, const OwnerLine& line) {
  if (!is_in_flight(owner, line)) return;
  ++sent_[line.partition][{Place{line.epoch, line.n}, line.id}].not_written;
  owner.duty = Duty::never;
  owner.place = {line.epoch, line.n};
  const bool current = owner.phase == Phase::serving && line.epoch == owner.epoch;
  const bool alone = owner.in_flight.size() == 1 && owner.n == next(line.n);
  owner.stops_after = current && !alone;
  if (current && alone) owner.n = line.n;  // The next commit takes its index.
}

void SpecCheck::unknown(Owner& owner, const OwnerLine& line) {
  if (!is_in_flight(owner, line)) return;
  if (owner.phase == Phase::serving && line.epoch == owner.epoch) owner.duty = Duty::stop;
}

}  // namespace varve::sim
