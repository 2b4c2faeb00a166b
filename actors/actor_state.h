// ActorState: all that an actor remembers, folded from its stream. Bounded: identity, settings, attached
// blocks, the context window, the open turn, the last kRecentCommandsMax client commands. Older messages live
// in the view only.
//
// apply_part() is total: what is in the log is a fact. What it cannot read, or a jump in the sequences, marks
// the stream corrupt at that record: its commands get 503 from then on, everything else goes on. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "eventlog/record.h"
#include "eventlog/rulings.h"

namespace varve {

inline constexpr std::size_t kRecentCommandsMax = 256;
// ActorState::gone of an agent whose keys are destroyed or about to be.
inline constexpr const char* kGoneErased = "erased";

// 32 bytes, because a busy actor keeps 256 of them.
struct RecentCommand {
  CommandId id;
  CommandHash hash;
  Sequence first;  // Of the command's events.
  friend bool operator==(const RecentCommand&, const RecentCommand&) = default;
};
static_assert(sizeof(RecentCommand) == 32);

// The newest client commands of a stream, oldest first.
class RecentCommands {
 public:
  void add(const RecentCommand& command);
  const RecentCommand* find(const CommandId& id) const;
  // Oldest first.
  std::vector<RecentCommand> list() const;
  friend bool operator==(const RecentCommands& a, const RecentCommands& b) { return a.list() == b.list(); }

 private:
  std::vector<RecentCommand> ring_;  // Grows to kRecentCommandsMax, then start_ walks around it.
  std::size_t start_ = 0;
  // The beginnings of the ids in ring_, at the same places: nearly every question ends at them.
  std::vector<std::uint32_t> marks_;
};

// Shared and never changed: a context is copied for every model call.
struct ContextMessage {
  std::shared_ptr<const Message> message;
  std::string run_id;  // Empty outside of a turn.
  std::int64_t tokens = 0;
  friend bool operator==(const ContextMessage& a, const ContextMessage& b) {
    return a.run_id == b.run_id && a.tokens == b.tokens && *a.message == *b.message;
  }
};

struct OpenTurn {
  std::string run_id;
  CommandId command;
  std::string request_id;  // Of the request that opened it: every event of the turn carries it.
  Sequence first;          // Of UserMessageReceived.
  WallTime started_at;
  WallTime deadline;
  std::int64_t max_steps = 0;
  std::int64_t attempt = 0;
  bool handed_over = false;
  Usage usage;  // So far; steps counts replies.
  std::string request = "{}";
  std::vector<WallTime> message_times;  // Of the turn's replies and tool returns, in order.
  friend bool operator==(const OpenTurn&, const OpenTurn&) = default;
};

struct AgentState {
  AgentSettings settings;
  std::vector<BlockRef> blocks;  // In the order of attaching.
  std::vector<ContextMessage> context;
  std::int64_t context_tokens = 0;  // Sum over the context.
  std::optional<OpenTurn> turn;
  bool importing = false;
  // Of the import that it came by; kept when that is sealed, so that a retry finds it.
  std::string import_hash;
  std::int64_t import_records = 0;
  std::int64_t records_imported = 0;
  friend bool operator==(const AgentState&, const AgentState&) = default;
};

struct BlockState {
  BlockValue value;
  // The agent whose import it was born with, in the same partition: until that is sealed nobody sees the
  // block. Empty for every other block.
  StreamId imported_with;
  bool imported() const { return !imported_with.value().empty(); }
  friend bool operator==(const BlockState&, const BlockState&) = default;
};

// Custom tools. Bounded: kToolsMax, kCatalogueBytesMax together.
struct CatalogueTool {
  ToolValue value;
  WallTime created_at;
  friend bool operator==(const CatalogueTool&, const CatalogueTool&) = default;
};
struct CatalogueState {
  std::map<std::string, CatalogueTool> tools;  // By id.
  friend bool operator==(const CatalogueState&, const CatalogueState&) = default;
};

// Of a stream that was carried here from another log (EventTeleported).
struct Teleport {
  std::string source;         // The cluster that it comes from.
  StreamId origin;            // Its id there, if that is another one.
  std::uint64_t carried = 0;  // Events, as their sequences count them.
  std::string chain;          // Over all of them, in order: next_chain() of agent_teleport.h.
  WallTime updated_at;        // Of the entity at the source.
  bool sealed = false;        // Until then nobody sees it.
  friend bool operator==(const Teleport&, const Teleport&) = default;
};

struct ActorState {
  StreamId stream;
  Sequence sequence;
  Offset born;  // Of the record with the first event.
  WallTime created_at;
  CommandRef created_by;  // Kept for ever, also after deletion; without its request's id.
  bool deleted = false;
  // Its texts are sealed in the log, the views and the snapshots; here they are plain, unless the key is
  // gone.
  bool erasable = false;
  std::vector<StreamId> born_with;  // Of an erasable agent: its first blocks. Kept after deletion.
  bool corrupt = false;
  Offset bad_offset;
  std::string why_corrupt;
  RecentCommands recent;
  std::variant<std::monostate, AgentState, BlockState, CatalogueState> body;

  std::optional<Teleport> teleport;  // Kept for ever, so that a repeated import finds it.
  std::string gone;                  // "moved:<place>", "erased"; empty = it is here.

  bool erased() const { return gone == kGoneErased; }
  bool carrying() const { return teleport && !teleport->sealed; }
  bool exists() const { return sequence > Sequence{} && !deleted && !carrying() && gone.empty(); }
  // A turn that somebody drives: of a stream that is being carried here nobody does.
  bool has_open_turn() const { return agent() != nullptr && agent()->turn.has_value() && !carrying(); }
  const AgentState* agent() const { return std::get_if<AgentState>(&body); }
  const BlockState* block() const { return std::get_if<BlockState>(&body); }
  const CatalogueState* catalogue() const { return std::get_if<CatalogueState>(&body); }
  friend bool operator==(const ActorState&, const ActorState&) = default;
};

// Folds one part of an admitted commit. `deciding` = it is the commit's first part. An event of `absent`
// keeps its sequence and does nothing: a ruling has said so.
void apply_part(ActorState& state, const Commit& commit, const Part& part, Offset offset, bool deciding,
                const EventPlaces& absent);
void apply_part(ActorState& state, const Commit& commit, const Part& part, Offset offset, bool deciding);

// What a text costs in the context window: an estimate, the same everywhere.
std::int64_t tokens_of(const Message& message);

}  // namespace varve
