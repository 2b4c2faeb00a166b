#include "actors/decide.h"

#include <algorithm>

#include "actors/agent_block.h"
#include "actors/agent_teleport.h"
#include "actors/catalogue.h"
#include "actors/memory_tools.h"

namespace varve {
namespace {

bool is_stream_of(const StreamId& stream, std::string_view prefix) {
  return stream.value().starts_with(prefix);
}

Error block_not_found(const StreamId& block) {
  return {Errc::not_found, "Block with id '" + block.value() + "' not found"};
}

struct Router {
  const ActorState& state;
  const Facts& facts;

  template <class C>
  Result<Decision> operator()(const C& command) const {
    if constexpr (std::is_same_v<C, SkipEvent>) {
      // A ruling is a record of its own: the shard writes it (Shard::rule).
      return Error{Errc::invalid_argument, "a ruling is not decided by its stream"};
    } else if constexpr (std::is_invocable_v<TeleportDecider, const C&>) {
      return TeleportDecider{state, facts}(command);
    } else if constexpr (std::is_invocable_v<AgentDecider, const C&>) {
      if (!is_stream_of(facts.self, "agent-")) {
        return Error{Errc::invalid_argument, "'" + facts.self.value() + "' is not an agent"};
      }
      // Who erases an agent again has erased it.
      if (!state.gone.empty() && !std::is_same_v<C, EraseAgent>)
        return Error{Errc::not_found, std::string(kGone) + state.gone};
      return AgentDecider{state, facts}(command);
    } else if constexpr (std::is_invocable_v<CatalogueDecider, const C&>) {
      if (facts.self.value() != kCatalogueStream) {
        return Error{Errc::invalid_argument, "'" + facts.self.value() + "' is not the catalogue"};
      }
      return CatalogueDecider{state, facts}(command);
    } else {
      if (!is_stream_of(facts.self, "block-")) {
        return Error{Errc::invalid_argument, "'" + facts.self.value() + "' is not a block"};
      }
      return BlockDecider{state, facts}(command);
    }
  }
};

Decision one_event(Event event) {
  Decision decision;
  decision.events.push_back(std::move(event));
  return decision;
}

}  // namespace

std::string step_id(const CommandId& turn_command, std::int64_t step) {
  return "step-" + derived_uuid(turn_command, "step", static_cast<std::uint64_t>(step));
}

std::string reply_id(const CommandId& record) {
  return "message-" + derived_uuid(record, "reply", 0);
}

std::string turn_message_id(const OpenTurn& turn, std::int64_t step, std::int64_t ordinal) {
  const auto number = static_cast<std::uint64_t>(step) * 1000 + static_cast<std::uint64_t>(ordinal);
  return "message-" + derived_uuid(turn.command, "reply", number);
}

Error block_too_large(const std::string& label, std::size_t bytes) {
  return {Errc::invalid_argument, "the value of block '" + label + "' has " + std::to_string(bytes) +
                                      " bytes; the limit is " + std::to_string(kBlockBytesMax)};
}

Result<Decision> BlockDecider::operator()(const CreateBlock& command) const {
  if (command.block.value.size() > kBlockBytesMax) {
    return block_too_large(command.block.label, command.block.value.size());
  }
  return one_event(BlockCreated{command.block});
}

Result<Decision> BlockDecider::operator()(const UpdateBlock& command) const {
  if (!state.exists()) return block_not_found(facts.self);
  const auto patch = Json::parse(command.patch);
  if (!patch) return patch.error();
  auto block = patched(state.block()->value, *patch);
  if (!block) return block.error();
  return one_event(BlockUpdated{std::move(*block), state.created_at});
}

Result<Decision> BlockDecider::operator()(const DeleteBlock& /*command*/) const {
  if (!state.exists()) return block_not_found(facts.self);
  return one_event(BlockDeleted{});
}

Result<Decision> BlockDecider::operator()(const ReadBlock& /*command*/) const {
  if (!state.exists()) return block_not_found(facts.self);
  return Decision{};
}

Result<Decision> BlockDecider::operator()(const EditBlock& command) const {
  if (!state.exists()) return block_not_found(facts.self);
  auto edited = edit_block_text(state.block()->value, command);
  if (!edited) return edited.error();
  BlockValue value = state.block()->value;
  value.value = std::move(*edited);
  return one_event(BlockUpdated{std::move(value), state.created_at});
}

Result<Decision> decide(const ActorState& state, const Command& command, const Facts& facts) {
  return std::visit(Router{state, facts}, command);
}

std::vector<StreamId> blocks_to_ask(const ActorState& state, const Command& command) {
  std::vector<StreamId> blocks;
  if (const auto* create = std::get_if<CreateAgent>(&command)) return create->attach_blocks;
  if (state.agent() == nullptr || !state.exists()) return blocks;
  if (const auto* update = std::get_if<UpdateAgent>(&command)) {
    // Most name no blocks, and are parsed again to be decided. (A name may be written with escapes.)
    if (update->patch.find("block_ids") == std::string::npos && update->patch.find('\\') == std::string::npos)
      return blocks;
    const auto patch = Json::parse(update->patch);
    const Json* listed = patch ? patch->find("block_ids") : nullptr;
    if (listed == nullptr) return blocks;
    for (const Json& id : listed->items()) {
      if (id.is_string()) blocks.emplace_back(id.as_string());
    }
    return blocks;
  }
  const auto* attach = std::get_if<AttachBlock>(&command);
  if (attach == nullptr && !std::holds_alternative<ResolveLabel>(command)) return blocks;
  for (const BlockRef& ref : state.agent()->blocks) blocks.push_back(ref.block);
  if (attach != nullptr && std::find(blocks.begin(), blocks.end(), attach->block) == blocks.end()) {
    blocks.push_back(attach->block);
  }
  return blocks;
}

}  // namespace varve
