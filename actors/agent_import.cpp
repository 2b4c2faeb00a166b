// decide() for agents: imports that are larger than one record. Begun, appended to record by record, sealed.
// Every command of an import may come again: what has taken effect is a success that changes nothing.
#include "actors/agent_block.h"

namespace varve {
namespace {

// An import that nobody has sealed by then is over; its agent stays hidden. By the log's time: in a partition
// where nothing is written it never is.
constexpr std::int64_t kImportMicros = std::int64_t{24} * 3600 * 1'000'000;

Error no_such_agent(const Facts& facts) {
  return {Errc::not_found, "Agent with ID " + facts.self.value() + " not found"};
}

Error another_import() {
  return {Errc::conflict, "the idempotency key was used before for another request; use a new key"};
}

std::string compiled_system_message(const BeginImport& command, const std::vector<BlockValue>& blocks) {
  std::string content;
  append_json_string(content, compile_prompt(command.settings, blocks));
  return content;
}

// Nothing if the import goes on; else what a command of it comes to.
std::optional<Result<Decision>> ended(const ActorState& state, const Facts& facts) {
  if (state.sequence == Sequence{} || state.agent() == nullptr) return Result<Decision>{no_such_agent(facts)};
  // It has taken effect, and what it made has gone since.
  if (state.deleted) return Result<Decision>{Decision{}};
  const AgentState& agent = *state.agent();
  if (agent.import_hash.empty()) return Result<Decision>{another_import()};
  if (!agent.importing) return Result<Decision>{Decision{}};
  if (!import_goes_on(state, facts.log_time)) return Result<Decision>{no_such_agent(facts)};
  return std::nullopt;
}

}  // namespace

bool import_goes_on(const ActorState& state, WallTime log_time) {
  const AgentState* agent = state.agent();
  return agent != nullptr && agent->importing && log_time.value() - state.created_at.value() <= kImportMicros;
}

Result<Decision> AgentDecider::operator()(const BeginImport& command) const {
  if (state.sequence > Sequence{}) {
    const bool same = state.created_by.id == facts.command &&
                      (state.deleted || (state.agent() != nullptr && agent().import_hash == command.hash));
    if (!same) return another_import();
    if (auto over = ended(state, facts)) return std::move(*over);
    return Decision{};
  }
  if (const Status fits = check_settings(command.settings); !fits) return fits.error();
  Decision decision;
  if (!command.origin.value().empty()) {
    decision.events.emplace_back(AgentForked{command.origin, command.origin_cut});
  }
  AgentCreated created;
  created.settings = command.settings;
  created.erasable = command.erasable;
  auto born = born_blocks(facts, command.new_blocks, command.erasable);
  if (!born) return born.error();
  created.blocks = std::move(born->refs);
  decision.births = std::move(born->births);
  if (command.system_message) {
    Message system;
    system.id = "message-" + derived_uuid(facts.command, "message", 0);
    system.role = Role::system;
    system.content = compiled_system_message(command, born->values);
    created.messages.push_back(std::move(system));
  }
  decision.events.emplace_back(std::move(created));
  decision.events.emplace_back(ImportBegun{command.records, command.hash});
  return decision;
}

Result<Decision> AgentDecider::operator()(const AppendImport& command) const {
  if (auto over = ended(state, facts)) return std::move(*over);
  if (command.ordinal < agent().records_imported) return Decision{};
  if (command.ordinal > agent().records_imported || command.ordinal >= agent().import_records) {
    return Error{Errc::conflict,
                 "the import waits for its record " + std::to_string(agent().records_imported) + " of " +
                     std::to_string(agent().import_records) + ", not for " + std::to_string(command.ordinal)};
  }
  Decision decision;
  MessagesImported imported;
  imported.messages = command.messages;
  std::uint64_t number = 0;
  for (Message& message : imported.messages) {
    message.id = "message-" + derived_uuid(facts.command, "message", number++);
  }
  for (const std::int64_t place : command.out_of_context) {
    if (place < 0 || static_cast<std::size_t>(place) >= imported.messages.size()) {
      return Error{Errc::invalid_argument, "out_of_context: there is no message " + std::to_string(place)};
    }
    imported.out_of_context.push_back(imported.messages[static_cast<std::size_t>(place)].id);
  }
  decision.events.emplace_back(std::move(imported));
  return decision;
}

Result<Decision> AgentDecider::operator()(const SealImport& /*command*/) const {
  if (auto over = ended(state, facts)) return std::move(*over);
  if (agent().records_imported < agent().import_records) {
    return Error{Errc::conflict, "the import has " + std::to_string(agent().records_imported) + " of its " +
                                     std::to_string(agent().import_records) + " records"};
  }
  Decision decision;
  decision.events.emplace_back(AgentUpdated{agent().settings, {}, {}, state.created_at});
  decision.events.emplace_back(ImportSealed{});
  return decision;
}

}  // namespace varve
