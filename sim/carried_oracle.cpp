#include "sim/carried_oracle.h"

#include "actors/agent_teleport.h"

namespace varve::sim {
namespace {

// An event of a stream, as it happened where it happened.
struct Happened {
  WallTime at;
  CommandId command;
  const Event* event = nullptr;  // Null: nobody can read it.
};

// Every event of a stream that counts, in order. `visit` has the commit, the event, and null for one that
// cannot be read.
template <class Visit>
void each_event(const LogOracle& log, const StreamId& stream, const Visit& visit) {
  const Partition home = partition_of(stream, log.partitions());
  for (const StreamStep& step : log.steps_of(stream)) {
    const JudgedRecord* record = log.record_at(home, step.offset);
    if (record == nullptr || record->commit() == nullptr) continue;
    for (const Part& part : record->commit()->parts) {
      if (part.stream != stream) continue;
      for (const StoredEvent& stored : part.events) {
        visit(*record->commit(), std::get_if<Event>(&stored));
      }
    }
  }
}

Happened unwrapped(const EventTeleported& carried) {
  return {carried.at, source_command(carried).id, carried.inner ? &carried.inner->event : nullptr};
}

// Up to where it has moved. What was carried here itself is what it was there.
std::vector<Happened> at_source(const LogOracle& log, const StreamId& stream, bool& moved) {
  std::vector<Happened> all;
  each_event(log, stream, [&all, &moved](const Commit& commit, const Event* event) {
    const auto* carried = event != nullptr ? std::get_if<EventTeleported>(event) : nullptr;
    moved = moved || (event != nullptr && std::holds_alternative<AgentMoved>(*event));
    if (moved) return;
    all.push_back(carried != nullptr ? unwrapped(*carried) : Happened{commit.at, commit.command.id, event});
  });
  return all;
}

struct AtTarget {
  std::vector<Happened> carried;
  std::size_t seals = 0;
};

AtTarget at_target(const LogOracle& log, const StreamId& stream) {
  AtTarget found;
  each_event(log, stream, [&found](const Commit& /*commit*/, const Event* event) {
    if (event == nullptr) return;
    if (const auto* carried = std::get_if<EventTeleported>(event))
      found.carried.push_back(unwrapped(*carried));
    if (std::holds_alternative<TeleportSealed>(*event)) ++found.seals;
  });
  return found;
}

// Under new ids what people and models have written is the same, and so is what happened.
bool same(const Happened& one, const Happened& other, bool renamed) {
  if (one.event == nullptr || other.event == nullptr) return one.event == other.event;
  if (one.at != other.at || type_of(*one.event) != type_of(*other.event)) return false;
  return renamed || (one.command == other.command && *one.event == *other.event);
}

}  // namespace

void check_carried(const LogOracle& source, const LogOracle& target, const CarriedStream& carried,
                   Violations& violations) {
  bool moved = false;
  const auto there = at_source(source, carried.origin, moved);
  const AtTarget here = at_target(target, carried.stream);
  const std::string name = carried.stream.value() + ", carried from " + carried.origin.value() + ",";
  if (here.carried.size() != carried.events) {
    violations.add(here.carried.size() > carried.events ? "I2" : "I4",
                   name + " has " + std::to_string(here.carried.size()) + " carried events of " +
                       std::to_string(carried.events));
    return;
  }
  if (here.seals != 1) violations.add("I2", name + " was sealed " + std::to_string(here.seals) + " times");
  if (there.size() < carried.events) {
    return violations.add("I4", name + " has more events than its source ever had");
  }
  for (std::size_t i = 0; i < here.carried.size(); ++i) {
    if (same(there[i], here.carried[i], carried.origin != carried.stream)) continue;
    return violations.add("I4", name + " has another event " + std::to_string(i + 1) + " than its source");
  }
  if (!carried.moved) return;
  if (!moved) violations.add("I1", name + " has moved, and its source's log does not say so");
  if (there.size() != carried.events) {
    violations.add("I1", name + " has moved with " + std::to_string(carried.events) +
                             " events; its source has " + std::to_string(there.size()));
  }
}

std::map<StreamId, std::string> moved_agents(const LogOracle& log) {
  std::map<StreamId, std::string> moved;
  for (const auto& [stream, steps] : log.streams()) {
    if (!stream.value().starts_with("agent-")) continue;
    each_event(log, stream, [&moved, &id = stream](const Commit& /*commit*/, const Event* event) {
      const auto* gone = event != nullptr ? std::get_if<AgentMoved>(event) : nullptr;
      if (gone != nullptr) moved[id] = gone->place;
    });
  }
  return moved;
}

}  // namespace varve::sim
