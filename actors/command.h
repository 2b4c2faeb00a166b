// Commands: what actors can be asked to do, as values with a JSON form, because the owner of a stream may be
// another node. A CommandEnvelope gets its id before it leaves the API node and keeps it through every retry.
//
// Adding one: a struct here, its JSON in command_codec.cpp, a decide() in agent.cpp or block.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "eventlog/record.h"

namespace varve {

// ---- commands of clients ----

struct CreateAgent {
  AgentSettings settings;
  std::vector<BlockValue> new_blocks;     // Born with the agent.
  std::vector<StreamId> attach_blocks;    // Unknown ones are ignored, as the API's clients know it.
  std::vector<Message> initial_messages;  // Without ids.
  bool erasable = false;                  // Its texts and those of its new blocks can be made unreadable.
  friend bool operator==(const CreateAgent&, const CreateAgent&) = default;
};
struct UpdateAgent {
  // JSON object of settings that change; a member that is null clears what can be cleared (settings_patch.h).
  std::string patch = "{}";
  friend bool operator==(const UpdateAgent&, const UpdateAgent&) = default;
};
struct DeleteAgent {
  friend bool operator==(const DeleteAgent&, const DeleteAgent&) = default;
};
// Deletes an erasable agent, also one that is deleted, and makes all its texts unreadable for ever. The
// answer comes when its keys are destroyed. Errc::invalid_argument: it was not made erasable.
struct EraseAgent {
  std::vector<StreamId> keep_blocks;  // Attached to other agents: they stay, also if they were born with it.
  friend bool operator==(const EraseAgent&, const EraseAgent&) = default;
};
struct AttachBlock {
  StreamId block;
  friend bool operator==(const AttachBlock&, const AttachBlock&) = default;
};
struct DetachBlock {
  StreamId block;
  friend bool operator==(const DetachBlock&, const DetachBlock&) = default;
};
struct SendMessages {             // Starts a turn.
  std::vector<Message> messages;  // Without ids.
  std::int64_t max_steps = 50;
  std::string request = "{}";  // JSON object: options that the turn keeps.
  friend bool operator==(const SendMessages&, const SendMessages&) = default;
};
// Which attached block answers to a label now (asked of the blocks themselves, in the order of attaching).
struct ResolveLabel {
  std::string label;
  friend bool operator==(const ResolveLabel&, const ResolveLabel&) = default;
};

// Changes which tools the agent has; references as in AgentSettings::tools.
struct ChangeTools {
  std::vector<std::string> attach;
  std::vector<std::string> detach;
  friend bool operator==(const ChangeTools&, const ChangeTools&) = default;
};
// Ends the open turn; its messages stay. Errc::conflict if there is none, or none of `run_ids`.
struct CancelTurn {
  std::vector<std::string> run_ids;  // Empty: whatever turn is open.
  friend bool operator==(const CancelTurn&, const CancelTurn&) = default;
};
// Empties the context; the history stays.
struct ResetMessages {
  friend bool operator==(const ResetMessages&, const ResetMessages&) = default;
};
// Joins the open turn without changing anything. Errc::not_found if that turn is not open.
struct FollowTurn {
  std::string run_id;
  friend bool operator==(const FollowTurn&, const FollowTurn&) = default;
};
// What the model would be asked if these messages began a turn now. Changes nothing, asks nobody; an open
// turn counts as over.
struct PreviewTurn {
  std::vector<Message> messages;  // Without ids.
  std::string request = "{}";     // As that of SendMessages.
  friend bool operator==(const PreviewTurn&, const PreviewTurn&) = default;
};
// Asks the agent's model for a summary of its oldest messages, which then leave the context.
struct SummarizeContext {
  friend bool operator==(const SummarizeContext&, const SummarizeContext&) = default;
};

// ---- an import: one BeginImport, an AppendImport for each record, a SealImport ----
// Each is a success without an event if it has taken effect before.

// Makes an agent that nobody sees until it is sealed.
struct BeginImport {
  AgentSettings settings;
  std::vector<BlockValue> new_blocks;  // Born with the agent.
  bool system_message = false;         // Compile one, because what follows does not begin with one.
  std::int64_t records = 0;            // How many AppendImport follow.
  std::string hash;                    // Of the file and what was asked for: the same import has the same.
  StreamId origin;                     // Of a fork: the agent that it was made from; empty = it is none.
  std::string origin_cut;              // Of a fork: as of which cut.
  bool erasable = false;               // As of CreateAgent.
  friend bool operator==(const BeginImport&, const BeginImport&) = default;
};
struct AppendImport {
  std::int64_t ordinal = 0;                  // 0, 1, 2 ..; a gap is a conflict.
  std::vector<Message> messages;             // Their ids are made here.
  std::vector<std::int64_t> out_of_context;  // Places in `messages`.
  friend bool operator==(const AppendImport&, const AppendImport&) = default;
};
// Errc::conflict while a record is missing.
struct SealImport {
  friend bool operator==(const SealImport&, const SealImport&) = default;
};

// ---- commands to the catalogue ----

// Makes a tool, or gives the one with this name a new value. An equal one changes nothing.
struct PutTool {
  ToolValue tool;  // Without id.
  friend bool operator==(const PutTool&, const PutTool&) = default;
};
struct UpdateTool {
  std::string id;
  std::string patch = "{}";  // JSON object of members that change; null is ignored.
  friend bool operator==(const UpdateTool&, const UpdateTool&) = default;
};
struct DeleteTool {
  std::string id;
  friend bool operator==(const DeleteTool&, const DeleteTool&) = default;
};
// The tools with these ids or names, as the catalogue has them now. Unknown ones are left out.
struct ReadTools {
  std::vector<std::string> ids;
  std::vector<std::string> names;
  friend bool operator==(const ReadTools&, const ReadTools&) = default;
};

struct CreateBlock {
  BlockValue block;
  friend bool operator==(const CreateBlock&, const CreateBlock&) = default;
};
struct UpdateBlock {
  std::string patch = "{}";  // JSON object of members that change; null is ignored.
  friend bool operator==(const UpdateBlock&, const UpdateBlock&) = default;
};
struct DeleteBlock {
  friend bool operator==(const DeleteBlock&, const DeleteBlock&) = default;
};
// The block as its owner has it now. May be old if the owner is paused: the sequence tells.
struct ReadBlock {
  friend bool operator==(const ReadBlock&, const ReadBlock&) = default;
};
// A memory tool's edit (memory_tools.h).
struct EditBlock {
  enum class Operation : unsigned char { append, replace, insert };
  Operation operation = Operation::append;
  std::string old_text;  // replace
  std::string new_text;
  std::int64_t line = -1;  // insert: after this line; -1 = at the end
  friend bool operator==(const EditBlock&, const EditBlock&) = default;
};

// ---- commands of a turn to its own agent ----

struct RecordReply {
  std::string run_id;
  Message message;  // Without id.
  Usage usage;
  std::string model;
  std::string prompt_hash;
  std::vector<BlockSeen> blocks;
  std::string stop_reason;  // If the reply ends the turn.
  friend bool operator==(const RecordReply&, const RecordReply&) = default;
};
struct RecordToolReturn {
  std::string run_id;
  Message message;          // Without id.
  std::string stop_reason;  // If this return ends the turn when no other call is left.
  friend bool operator==(const RecordToolReturn&, const RecordToolReturn&) = default;
};
struct FailTurn {
  std::string run_id;
  std::string stop_reason;
  std::string error_type;
  std::string message;
  friend bool operator==(const FailTurn&, const FailTurn&) = default;
};
struct ResumeTurn {
  std::string run_id;
  friend bool operator==(const ResumeTurn&, const ResumeTurn&) = default;
};
struct HandOverTurn {
  std::string run_id;
  friend bool operator==(const HandOverTurn&, const HandOverTurn&) = default;
};
struct RecordSummary {
  std::string text;
  std::vector<std::string> message_ids;  // Those still in the context leave it.
  friend bool operator==(const RecordSummary&, const RecordSummary&) = default;
};
struct DropDeletedBlock {  // An agent has learned that a block of it was deleted.
  StreamId block;
  friend bool operator==(const DropDeletedBlock&, const DropDeletedBlock&) = default;
};

// ---- an operator's command ----

// The event of this stream, which nobody here can read, is absent for ever (Shard::rule). The answer has the
// ruling's position. Errc::conflict: the stream is not damaged by this event.
struct SkipEvent {
  Offset offset;           // Of the record that holds the event.
  std::int64_t event = 0;  // Its ordinal among the record's events of the stream.
  friend bool operator==(const SkipEvent&, const SkipEvent&) = default;
};

// ---- teleport: a stream of another log, event by event (agent_teleport.h) ----

// Appends what is not here yet of these events. Without events it changes nothing and says how far the stream
// is: the answer's payload is {"carried":N,"chain":"..","sealed":false}. Errc::conflict: there is a stream of
// this id that did not come from there, or other events of it.
struct AppendTeleport {
  Sequence first;     // Of the first event; 1, 2, 3 ..
  std::string chain;  // Over all events before it; empty = there are none.
  std::vector<EventTeleported> events;
  friend bool operator==(const AppendTeleport&, const AppendTeleport&) = default;
};
// From now on the stream is there. A turn that was open at the source is cancelled.
struct SealTeleport {
  std::uint64_t events = 0;  // So many it has, in this chain: or Errc::conflict.
  std::string chain;
  friend bool operator==(const SealTeleport&, const SealTeleport&) = default;
};
// The agent lives elsewhere from now on. Errc::conflict: it has other events than `events`, or an open turn.
struct MoveAgent {
  std::string place;  // URL of the other server.
  std::uint64_t events = 0;
  friend bool operator==(const MoveAgent&, const MoveAgent&) = default;
};
// A tool with the id that it had elsewhere. One that is equal but for the id changes nothing: it is in the
// answer. Errc::conflict: there is another tool of this name or id.
struct TakeTool {
  ToolValue tool;
  friend bool operator==(const TakeTool&, const TakeTool&) = default;
};

using Command =
    std::variant<CreateAgent, UpdateAgent, DeleteAgent, AttachBlock, DetachBlock, SendMessages, ResolveLabel,
                 CreateBlock, UpdateBlock, DeleteBlock, ReadBlock, EditBlock, RecordReply, RecordToolReturn,
                 FailTurn, ResumeTurn, HandOverTurn, DropDeletedBlock, ChangeTools, CancelTurn, ResetMessages,
                 FollowTurn, SummarizeContext, PutTool, UpdateTool, DeleteTool, ReadTools, RecordSummary,
                 BeginImport, AppendImport, SealImport, PreviewTurn, SkipEvent, AppendTeleport, SealTeleport,
                 MoveAgent, TakeTool, EraseAgent>;

std::string_view type_of(const Command& command);

struct CommandEnvelope {
  CommandRef command_ref;
  StreamId stream;  // Whose history it is; for a creation, the derived id.
  Command command;

  friend bool operator==(const CommandEnvelope&, const CommandEnvelope&) = default;
};

std::string encode_command(const CommandEnvelope& envelope);
Result<CommandEnvelope> decode_command(std::string_view json);

// ---- answers ----

// What an agent needs to know of a block: asked from its actor, never from the view.
struct BlockFact {
  StreamId block;
  Sequence sequence;  // 0 = unknown block
  bool exists = false;
  BlockValue value;
};

struct TurnMessage {
  Message message;
  WallTime at;
};

struct TurnResult {
  std::string run_id;
  std::vector<TurnMessage> messages;  // Everything after the user's.
  std::string stop_reason;
  Usage usage;
  std::string error_type;  // If it failed.
  std::string error_message;
};

struct SummaryResult {
  std::string text;
  std::int64_t messages_before = 0;  // In the context.
  std::int64_t messages_after = 0;
};

class TurnChannel;

struct CommandAnswer {
  StreamId stream;
  std::vector<LogPosition>
      positions;          // The newest written in each partition; for a replay, a position behind it.
  bool replayed = false;  // The command had taken effect before.
  Sequence first;         // Of the command's events; 0 = it made none.
  // The command's own commit, for an answer while the views are behind; null for a replay and without events.
  std::shared_ptr<const Commit> commit;
  Offset offset;
  std::optional<BlockFact> block;  // ReadBlock, EditBlock, ResolveLabel
  std::optional<TurnResult> turn;  // SendMessages
  std::vector<ToolValue> tools;    // ReadTools, PutTool, UpdateTool, TakeTool
  // SendMessages and FollowTurn of a caller that does not wait for the end (CallLimits::turn): where the turn
  // publishes what it does. Null if the turn has ended before.
  std::shared_ptr<TurnChannel> channel;
  std::optional<SummaryResult> summary;  // SummarizeContext
  std::string payload;                   // PreviewTurn, AppendTeleport: JSON
};

}  // namespace varve
