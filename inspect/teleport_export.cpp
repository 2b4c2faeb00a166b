#include "inspect/teleport_export.h"

#include <algorithm>

#include "actors/agent_teleport.h"
#include "actors/catalogue.h"
#include "eventlog/cut.h"
#include "inspect/teleport_check.h"
#include "runtime/mutant.h"
#include "runtime/stored_json.h"

namespace varve {
namespace {

bool is_agent(const StreamId& stream) {
  return stream.value().starts_with("agent-");
}
bool is_carried(const StreamId& stream) {
  return is_agent(stream) || stream.value().starts_with("block-");
}

Error cannot(const StreamId& stream, const std::string& why) {
  return {Errc::conflict, "'" + stream.value() + "' cannot be carried: " + why};
}

// What one event means for the stream that it is of.
template <class Known>
struct Learn {
  Known& known;

  void operator()(const AgentCreated& event) const {
    known.created = true;
    known.erasable = known.erasable || event.erasable;
    known.tools = event.settings.tools;
    for (const BlockRef& ref : event.blocks) known.blocks.insert(ref.block);
  }
  void operator()(const AgentUpdated& event) const { known.tools = event.settings.tools; }
  void operator()(const BlockAttached& event) const { known.blocks.insert(event.block.block); }
  void operator()(const AgentDeleted& /*event*/) const { known.ended = true; }
  void operator()(const AgentErased& /*event*/) const { known.ended = true; }
  void operator()(const AgentMoved& /*event*/) const { known.moved = true; }
  void operator()(const ImportBegun& /*event*/) const { known.hidden = true; }
  void operator()(const ImportSealed& /*event*/) const { known.hidden = false; }
  void operator()(const BlockCreated& event) const {
    known.created = true;
    known.erasable = known.erasable || event.erasable;
  }
  void operator()(const BlockDeleted& /*event*/) const { known.ended = true; }
  void operator()(const EventTeleported& event) const {
    if (event.inner && !std::holds_alternative<TeleportSealed>(event.inner->event)) {
      std::visit(*this, event.inner->event);
    }
    known.hidden = true;
  }
  void operator()(const TeleportSealed& /*event*/) const { known.hidden = false; }
  template <class E>
  void operator()(const E& /*event*/) const {}
};

// An event that was carried here itself goes on as what it was at its source.
ArchiveRecord unwrapped(const StreamId& stream, Sequence sequence, const EventTeleported& event) {
  ArchiveRecord record{stream, sequence, event.at, source_command(event), {}};
  record.events.push_back({event.type, event.version, event.type.empty() ? "" : event.data});
  return record;
}

// The events of a part, as its record's bytes have them.
Result<std::vector<ArchiveRecord>> records_of(const Commit& commit, std::size_t number, const Json& json,
                                              Offset offset, const EventPlaces& absent) {
  const Part& part = commit.parts[number];
  const Json* parts = json.find("parts");
  const Json* events =
      parts != nullptr && number < parts->items().size() ? parts->items()[number].find("events") : nullptr;
  if (events == nullptr || events->items().size() != part.events.size()) {
    return cannot(part.stream, "its record at " + std::to_string(offset.value()) + " is not as it decodes");
  }
  std::vector<ArchiveRecord> records;
  ArchiveRecord plain{part.stream, part.first, commit.at, commit.command, {}};
  // What is born with an agent was not asked for itself.
  plain.command.client = commit.command.client && number == 0;
  for (std::size_t i = 0; i < part.events.size(); ++i) {
    const Sequence sequence{part.first.value() + i};
    const auto* event = std::get_if<Event>(&part.events[i]);
    const bool skipped = absent.contains({part.stream, offset, static_cast<std::int64_t>(i)});
    const auto* carried = event != nullptr && !skipped ? std::get_if<EventTeleported>(event) : nullptr;
    if (carried != nullptr) {
      records.push_back(unwrapped(part.stream, sequence, *carried));
      continue;
    }
    if (event != nullptr && !skipped && std::holds_alternative<AgentMoved>(*event)) break;
    ArchiveEvent written;
    if (!skipped) {
      const Json& stored = events->items()[i];
      const Json* type = stored.find("type");
      const Json* version = stored.find("v");
      const Json* data = stored.find("data");
      if (type == nullptr || version == nullptr || data == nullptr || !type->is_string()) {
        return cannot(part.stream, "an event of it has no type or no data");
      }
      written = {type->as_string(), version->as_integer().value_or(0), data->dump()};
    }
    if (plain.events.empty()) plain.first = sequence;
    plain.events.push_back(std::move(written));
  }
  if (!plain.events.empty()) records.push_back(std::move(plain));
  return records;
}

}  // namespace

// ---- learning what there is ----

Task<std::shared_ptr<TeleportExport>> TeleportExport::prepare(EventLog& log, ExportQuestion question) {
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): its constructor is its own.
  const std::shared_ptr<TeleportExport> made(new TeleportExport(log));
  made->wait_until_ = question.wait_until;
  if (Status learned = co_await made->learn(); !learned) co_return learned.error();
  if (Status chosen = made->choose(question); !chosen) co_return chosen.error();
  co_return made;
}

Task<> TeleportExport::learn() {
  for (std::uint32_t number = 0; number < log_.partitions(); ++number) {
    const Partition partition{number};
    auto end = co_await log_.end(partition);
    if (!end) co_return end.error();
    ends_.push_back(*end);
  }
  std::vector<LogPosition> cut;
  for (std::uint32_t number = 0; number < log_.partitions(); ++number) {
    const Partition partition{number};
    if (Status learned = co_await learn_partition(partition); !learned) co_return learned;
    if (ends_[number] > Offset{}) cut.push_back({partition, Offset{ends_[number].value() - 1}});
  }
  header_.cut = to_string(Cut{cut});
  header_.source = source_;
  co_return ok();
}

// A reader may see an older end than another one did: what is not shown yet is not the end.
Task<> TeleportExport::expect_newest(Partition partition) {
  const Offset end = ends_[partition.value()];
  if (end == Offset{} || mutant(Mutant::export_ends_early)) co_return ok();
  ReadOptions newest;
  newest.records_max = 1;
  newest.wait_until = wait_until_;
  const Offset last{end.value() - 1};
  const auto batch = co_await log_.read(partition, last, newest);
  if (!batch) co_return batch.error();
  if (!batch->records.empty() || batch->next > last) co_return ok();
  co_return Error{Errc::unavailable, "the newest records of partition " + std::to_string(partition.value()) +
                                         " cannot be read yet; try again"};
}

Task<> TeleportExport::learn_partition(Partition partition) {
  const Offset end = ends_[partition.value()];
  if (Status shown = co_await expect_newest(partition); !shown) co_return shown;
  const Offset start;
  const AdmissionState unclaimed;
  auto rulings = co_await rulings_in(log_, partition, start, end, unclaimed);
  if (!rulings) co_return rulings.error();
  EventPlaces& absent = absent_.emplace_back();
  for (const FoundRuling& found : *rulings) absent.insert(place_of(found.ruling));
  AdmissionState admission;
  Offset from;
  while (from < end) {
    ReadOptions options;
    options.records_max = 256;  // One short transaction.
    auto batch = co_await log_.read(partition, from, options);
    if (!batch) co_return batch.error();
    for (const LogRecord& record : batch->records) {
      if (record.offset >= end) break;
      const auto read = decoded(record);
      if (!read) {
        const LogPosition position{partition, record.offset};
        co_return Error{read.error().code, "record " + to_string(position) + ": " + read.error().message};
      }
      learn_record(record, partition, admission);
    }
    if (batch->next <= from) {
      if (mutant(Mutant::export_ends_early)) break;
      co_return not_readable_yet();
    }
    from = batch->next;
  }
  if (source_.empty()) source_ = admission.cluster;
  co_return ok();
}

void TeleportExport::learn_record(const LogRecord& record, Partition partition, AdmissionState& admission) {
  const auto read = decoded(record);
  if (admit(admission, **read) != Verdict::admitted) return;
  const auto* commit = std::get_if<Commit>(&**read);
  if (commit == nullptr) return;
  for (std::size_t number = 0; number < commit->parts.size(); ++number) {
    learn_part(*commit, number, {partition, record.offset}, record.bytes->size());
  }
}

void TeleportExport::learn_part(const Commit& commit, std::size_t number, LogPosition position,
                                std::size_t bytes) {
  const Part& part = commit.parts[number];
  const EventPlaces& absent = absent_.back();
  if (part.stream.value() == kCatalogueStream) {
    apply_part(catalogue_, commit, part, position.offset, number == 0, absent);
    return;
  }
  if (!is_carried(part.stream)) return;
  Known& known = known_[part.stream];
  known.partition = position.partition;
  if (known.moved) return;
  std::int64_t plain = 0;
  std::int64_t carried = 0;
  bool imported = false;
  for (const StoredEvent& stored : commit.parts.front().events) {
    const auto* event = std::get_if<Event>(&stored);
    imported = imported || (event != nullptr && std::holds_alternative<ImportBegun>(*event));
  }
  if (number > 0 && imported) known.blocks.insert(commit.parts.front().stream);
  for (std::size_t i = 0; i < part.events.size(); ++i) {
    const auto* event = std::get_if<Event>(&part.events[i]);
    const bool skipped = absent.contains({part.stream, position.offset, static_cast<std::int64_t>(i)});
    if (event == nullptr && !skipped && known.damage.empty()) {
      known.damage = "its event " + std::to_string(part.first.value() + i) + " at " + to_string(position) +
                     " cannot be read: " + std::get<UnreadableEvent>(part.events[i]).why;
    }
    if (event != nullptr && !skipped) std::visit(Learn<Known>{known}, *event);
    if (known.moved) break;
    const bool wrapped = event != nullptr && !skipped && std::holds_alternative<EventTeleported>(*event);
    ++(wrapped ? carried : plain);
    known.sequence = part.first.value() + i;
  }
  if (plain + carried == 0) return;
  known.records += carried + (plain > 0 ? 1 : 0);
  known.events += plain + carried;
  known.bytes += bytes;
  known.offsets.push_back(position.offset);
}

// ---- choosing ----

std::optional<Error> TeleportExport::refusal(const StreamId& agent) const {
  const auto found = known_.find(agent);
  if (found == known_.end() || !found->second.created || found->second.hidden || found->second.ended) {
    return Error{Errc::not_found, "there is no agent with ID " + agent.value()};
  }
  const auto refused = [](const StreamId& stream, const Known& known) -> std::optional<Error> {
    if (!known.damage.empty()) return cannot(stream, known.damage);
    if (known.erasable) {
      return cannot(stream, "it is erasable: its texts are sealed under a key that stays where it is");
    }
    return std::nullopt;
  };
  if (auto why = refused(agent, found->second)) return why;
  std::set<StreamId> blocks;
  add_blocks(found->second, blocks);
  for (const StreamId& block : blocks) {
    if (auto why = refused(block, known_.at(block))) return why;
  }
  return std::nullopt;
}

void TeleportExport::add_blocks(const Known& agent, std::set<StreamId>& chosen) const {
  for (const StreamId& block : agent.blocks) {
    const auto found = known_.find(block);
    if (found == known_.end() || !found->second.created) continue;
    if (!found->second.ended && !found->second.hidden) chosen.insert(block);
  }
}

Status TeleportExport::choose(const ExportQuestion& question) {
  std::set<StreamId> chosen;
  for (const StreamId& agent : question.agents) {
    if (auto refused = refusal(agent)) return *refused;
    chosen.insert(agent);
    add_blocks(known_.at(agent), chosen);
  }
  for (const auto& [stream, known] : known_) {
    if (!question.all || !known.created || known.hidden || known.ended || known.moved) continue;
    if (is_agent(stream)) {
      if (auto refused = refusal(stream)) {
        header_.left_out.push_back(refused->message);
        continue;
      }
    } else if (!known.damage.empty() || known.erasable) {
      continue;
    } else if (std::any_of(known.blocks.begin(), known.blocks.end(), [this](const StreamId& with) {
                 const auto agent = known_.find(with);
                 return agent != known_.end() && agent->second.hidden;
               })) {
      continue;  // Of an import that nobody has sealed.
    }
    chosen.insert(stream);
  }
  count(chosen);
  make_groups(chosen, question.group_bytes);
  return ok();
}

void TeleportExport::count(const std::set<StreamId>& chosen) {
  std::set<std::string> references;
  for (const StreamId& stream : chosen) {
    const Known& known = known_.at(stream);
    header_.records += known.records;
    header_.events += known.events;
    ++(is_agent(stream) ? header_.agents : header_.blocks);
    if (!is_agent(stream)) continue;
    agents_[stream] = known.sequence;
    references.insert(known.tools.begin(), known.tools.end());
  }
  if (catalogue_.catalogue() == nullptr) return;
  // In the order in which they were made: a target lists them by when it made them.
  std::vector<std::pair<WallTime, std::string>> ordered;
  for (const auto& [id, tool] : catalogue_.catalogue()->tools) {
    if (references.contains(id)) ordered.emplace_back(tool.created_at, id);
  }
  std::sort(ordered.begin(), ordered.end());
  for (const auto& [made, id] : ordered) tools_.push_back(catalogue_.catalogue()->tools.at(id).value);
  header_.tools = static_cast<std::int64_t>(tools_.size());
}

void TeleportExport::make_groups(const std::set<StreamId>& chosen, std::size_t group_bytes) {
  std::vector<StreamId> ordered(chosen.begin(), chosen.end());
  const auto place = [this](const StreamId& stream) {
    const Known& known = known_.at(stream);
    return std::pair{known.partition, known.offsets.front()};
  };
  std::stable_sort(ordered.begin(), ordered.end(),
                   [&place](const StreamId& a, const StreamId& b) { return place(a) < place(b); });
  std::size_t bytes = 0;
  for (const StreamId& stream : ordered) {
    const Known& known = known_.at(stream);
    const bool fits =
        !groups_.empty() && groups_.back().partition == known.partition && bytes + known.bytes <= group_bytes;
    if (!fits) {
      groups_.push_back({known.partition, known.offsets.front(), Offset{}, {}});
      bytes = 0;
    }
    bytes += known.bytes;
    Group& group = groups_.back();
    group.streams.insert(stream);
    group.to = std::max(group.to, varve::next(known.offsets.back()));
  }
}

// ---- writing ----

Task<std::optional<std::string>> TeleportExport::next() {
  for (;;) {
    std::string bytes = writer_.take();
    if (!bytes.empty()) co_return std::optional<std::string>{std::move(bytes)};
    if (over_) co_return std::optional<std::string>{};
    if (Status done = co_await step(); !done) {
      writer_.fail(done.error().message);
      over_ = true;
    }
  }
}

Task<> TeleportExport::step() {
  if (!begun_) {
    begun_ = true;
    writer_.write(ArchiveFrame{header_});
    for (const ToolValue& tool : tools_) writer_.write(ArchiveFrame{ArchiveTool{tool}});
  } else if (groups_.empty()) {
    writer_.seal();
    over_ = true;
  } else {
    co_return co_await read_group();
  }
  co_return ok();
}

// One batch of the group's records.
Task<> TeleportExport::read_group() {
  const Partition partition = groups_.front().partition;
  const Offset to = groups_.front().to;
  const Offset from = at_.value_or(groups_.front().from);
  ReadOptions options;
  options.records_max = 256;
  options.bytes_max = std::size_t{1} << 20U;
  auto batch = co_await log_.read(partition, from, options);
  if (!batch) co_return batch.error();
  for (const LogRecord& record : batch->records) {
    if (record.offset >= to) break;
    if (Status taken = take_record(record); !taken) co_return taken;
  }
  const Group& group = groups_.front();
  at_ = batch->next;
  const bool stuck = batch->next <= from;
  if (stuck && !mutant(Mutant::export_ends_early)) co_return not_readable_yet();
  const bool ended = batch->next >= to || stuck;
  // A stream alone may be larger than what is held.
  if (!ended && group.streams.size() > 1) co_return ok();
  for (const StreamId& stream : group.streams) {
    if (Status written = write_held(stream); !written) co_return written;
  }
  if (ended) {
    at_.reset();
    groups_.pop_front();
  }
  co_return ok();
}

Status TeleportExport::take_record(const LogRecord& record) {
  const auto read = decoded(record);
  if (!read) return read.error();
  const auto* commit = std::get_if<Commit>(&**read);
  if (commit == nullptr) return ok();
  const Group& group = groups_.front();
  std::optional<Json> json;
  for (std::size_t number = 0; number < commit->parts.size(); ++number) {
    const StreamId& stream = commit->parts[number].stream;
    if (!group.streams.contains(stream)) continue;
    const std::vector<Offset>& offsets = known_.at(stream).offsets;
    // What was not admitted, or came behind the cut, is not among them.
    if (!std::binary_search(offsets.begin(), offsets.end(), record.offset)) continue;
    if (!json) {
      auto parsed = parse_stored_json(*record.bytes);
      if (!parsed) return parsed.error();
      json = std::move(*parsed);
    }
    auto records = records_of(*commit, number, *json, record.offset, absent_[group.partition.value()]);
    if (!records) return records.error();
    auto& held = held_[stream];
    std::move(records->begin(), records->end(), std::back_inserter(held));
  }
  return ok();
}

// Nothing is written that a target would refuse.
Status TeleportExport::write_held(const StreamId& stream) {
  if (checked_.stream != stream) {
    checked_ = ActorState{};
    checked_.stream = stream;
  }
  const auto held = held_.extract(stream);
  if (held.empty()) return ok();
  for (const ArchiveRecord& record : held.mapped()) {
    auto events = carried_events(record, header_.source, stream);
    if (!events) return events.error();
    for (EventTeleported& event : *events) {
      if (Status fits = check_carried(checked_, event); !fits) {
        return cannot(stream, "its event " + std::to_string(checked_.sequence.value() + 1) +
                                  " builds on one that is not there: " + fits.error().message);
      }
      apply_carried(checked_, std::move(event));
    }
    writer_.write(ArchiveFrame{record});
  }
  return ok();
}

}  // namespace varve
