#include "sim/erasure_oracle.h"

namespace varve::sim {
namespace {

bool is_plain(std::string_view text) {
  return text.find(kSecret) != std::string_view::npos;
}

void check_keys(const ErasableWorld& world, const StreamId& agent, const AgentErased& erased,
                Violations& violations) {
  std::vector<StreamId> streams = erased.blocks;
  streams.push_back(agent);
  for (const StreamId& stream : streams) {
    if (!world.keys.has(stream)) continue;
    violations.add("Erased", agent.value() + " was erased, and the key of " + stream.value() + " is there");
  }
}

void check_log(const ErasableWorld& world, Counters& counters, Violations& violations) {
  for (std::uint32_t i = 0; i < world.log.partitions(); ++i) {
    const Partition partition{i};
    for (const LogRecord& record : world.log.log().records(partition)) {
      if (is_plain(*record.bytes))
        violations.add("Plain", "in the record " + place(partition, record.offset));
    }
    for (const JudgedRecord& judged : world.log.judged(partition)) {
      if (!judged.admitted() || judged.commit() == nullptr) continue;
      for (const Part& part : judged.commit()->parts) {
        for (const StoredEvent& stored : part.events) {
          const auto* event = std::get_if<Event>(&stored);
          const auto* erased = event != nullptr ? std::get_if<AgentErased>(event) : nullptr;
          if (erased == nullptr) continue;
          counters.add("sometimes.erase.key_is_gone");
          check_keys(world, part.stream, *erased, violations);
        }
      }
    }
  }
}

}  // namespace

void check_erasures(const ErasableWorld& world, Counters& counters, Violations& violations) {
  check_log(world, counters, violations);
  for (const auto& [stream, row] : world.snapshots.snapshots) {
    if (is_plain(row.state)) violations.add("Plain", "in the snapshot of " + stream.value());
  }
  for (const View view : all_views()) {
    for (const Row& row : world.views.tables[static_cast<std::size_t>(view)].rows()) {
      for (const Value& value : row.values) {
        const auto* text = std::get_if<std::string>(&value);
        if (text == nullptr || !is_plain(*text)) continue;
        violations.add("Plain", "in a row of the views: " + *text);
      }
    }
  }
}

}  // namespace varve::sim
