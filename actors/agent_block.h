// The deciders: one overload per command, so that std::visit appears once (decide.cpp). Internal to actors/.
#pragma once

#include "actors/decide.h"

namespace varve {

// Ids of what a turn makes: the same on every attempt, because a step that was not committed is done again.
std::string turn_message_id(const OpenTurn& turn, std::int64_t step, std::int64_t ordinal);

Error block_too_large(const std::string& label, std::size_t bytes);

// The blocks that are born with an agent, and the refusal of one that is too large. Of two with one label the
// first is kept, as the API's clients know it. An erasable agent's blocks are erasable.
struct BornBlocks {
  std::vector<BlockRef> refs;
  std::vector<BlockValue> values;
  std::vector<Birth> births;
};
Result<BornBlocks> born_blocks(const Facts& facts, const std::vector<BlockValue>& blocks, bool erasable);

// It is neither sealed nor over.
bool import_goes_on(const ActorState& state, WallTime log_time);

// Errc::invalid_argument over kSettingsBytesMax.
Status check_settings(const AgentSettings& settings);

struct AgentDecider {
  const ActorState& state;
  const Facts& facts;

  const AgentState& agent() const { return *state.agent(); }

  Result<Decision> operator()(const CreateAgent& command) const;
  Result<Decision> operator()(const UpdateAgent& command) const;
  Result<Decision> operator()(const DeleteAgent& command) const;
  Result<Decision> operator()(const EraseAgent& command) const;
  Result<Decision> operator()(const AttachBlock& command) const;
  Result<Decision> operator()(const DetachBlock& command) const;
  Result<Decision> operator()(const DropDeletedBlock& command) const;
  Result<Decision> operator()(const ResolveLabel& command) const;
  Result<Decision> operator()(const SendMessages& command) const;
  Result<Decision> operator()(const RecordReply& command) const;
  Result<Decision> operator()(const RecordToolReturn& command) const;
  Result<Decision> operator()(const FailTurn& command) const;
  Result<Decision> operator()(const ResumeTurn& command) const;
  Result<Decision> operator()(const HandOverTurn& command) const;
  Result<Decision> operator()(const ChangeTools& command) const;
  Result<Decision> operator()(const CancelTurn& command) const;
  Result<Decision> operator()(const ResetMessages& command) const;
  Result<Decision> operator()(const FollowTurn& command) const;
  Result<Decision> operator()(const PreviewTurn& command) const;
  Result<Decision> operator()(const SummarizeContext& command) const;
  Result<Decision> operator()(const RecordSummary& command) const;
  Result<Decision> operator()(const BeginImport& command) const;
  Result<Decision> operator()(const AppendImport& command) const;
  Result<Decision> operator()(const SealImport& command) const;

  // It exists, and its import, if it came by one, is sealed.
  bool available() const { return state.exists() && state.agent() != nullptr && !agent().importing; }
  Status check_approvals(std::vector<Message>& messages) const;
  Status check_open(const std::string& run_id) const;
  Status replace_blocks(const Json& listed, Decision& decision) const;
};

struct CatalogueDecider {
  const ActorState& state;
  const Facts& facts;

  const CatalogueState& catalogue() const {
    static const CatalogueState kEmpty;
    return state.catalogue() != nullptr ? *state.catalogue() : kEmpty;
  }

  Result<Decision> operator()(const PutTool& command) const;
  Result<Decision> operator()(const UpdateTool& command) const;
  Result<Decision> operator()(const DeleteTool& command) const;
  Result<Decision> operator()(const ReadTools& command) const;
  Result<Decision> operator()(const TakeTool& command) const;
};

struct BlockDecider {
  const ActorState& state;
  const Facts& facts;

  Result<Decision> operator()(const CreateBlock& command) const;
  Result<Decision> operator()(const UpdateBlock& command) const;
  Result<Decision> operator()(const DeleteBlock& command) const;
  Result<Decision> operator()(const ReadBlock& command) const;
  Result<Decision> operator()(const EditBlock& command) const;
};

}  // namespace varve
