// decide: what a command means for an actor in a given state. It asks nobody and changes nothing: what it
// needs from elsewhere comes as Facts, and goes into the events. Deciding is never repeated for a command
// that has taken effect: the shard finds it in the state first.
//
// A decision without events is a success that changes nothing. A refusal is an Error with a sentence for the
// client (invalid_argument 422, not_found 404, conflict 409). Pure.
#pragma once

#include <vector>

#include "actors/actor_state.h"
#include "actors/command.h"

namespace varve {

struct Facts {
  StreamId self;
  CommandId command;  // Ids of everything that is created derive from it.
  WallTime now;
  std::uint32_t partitions = 1;
  std::vector<BlockFact> blocks;  // Asked of the blocks that the command concerns, in order.
  // The newest time that the partition's log carries. What is over by it is over for ever: the clock of the
  // next owner may be behind this one's (rule 35).
  WallTime log_time;
};

// A new stream in the same partition, with its first events.
struct Birth {
  StreamId stream;
  std::vector<Event> events;
};

struct Decision {
  std::vector<Event> events;
  std::vector<Birth> births;
};

// Default time that a turn may take.
inline constexpr std::int64_t kTurnMicros = std::int64_t{600} * 1'000'000;
inline constexpr std::int64_t kTurnAttemptsMax = 3;

Result<Decision> decide(const ActorState& state, const Command& command, const Facts& facts);

// Which blocks must be asked before deciding, in order; all attached ones for an attach or a label.
std::vector<StreamId> blocks_to_ask(const ActorState& state, const Command& command);

// What an open turn does next, from its agent's state alone: so a resumed turn goes on where it stopped.
struct CallModel {};
struct RunTool {
  ToolCall call;
  std::string step_id;
  std::int64_t ordinal = 0;  // Of the call in its step.
};
struct TurnOver {};
using NextAction = std::variant<CallModel, RunTool, TurnOver>;
// `also_returned`: a call whose result is just being recorded.
NextAction next_action(const AgentState& agent, const std::string& also_returned = "");

// The oldest whole turns that must leave the agent's context when `added_tokens` of the turn `run_id` come to
// it. Never the first system message, never that turn.
std::vector<std::string> messages_to_trim(const AgentState& agent, std::int64_t added_tokens,
                                          const std::string& run_id);

// Of the message that a RecordReply with this command id makes.
std::string reply_id(const CommandId& record);
std::string step_id(const CommandId& turn_command, std::int64_t step);

// True when the next turns will not fit: a summary is due.
bool context_is_nearly_full(const AgentState& agent);
// The oldest whole turns that a summary should stand for: about a third of the context, never the turn
// `run_id`.
std::vector<std::string> messages_to_summarize(const AgentState& agent, const std::string& run_id);
// These messages as one text for the model that sums them up.
Message transcript_of(const AgentState& agent, const std::vector<std::string>& message_ids);
inline constexpr std::string_view kSummaryPrompt =
    "You sum up conversations. The text that you get is the older part of a conversation between an "
    "assistant "
    "and its users, with the tools that were called. Write what the assistant must remember of it: facts, "
    "names, decisions, promises and what is still open. At most 200 words, no preamble.";

// Begins the message of the conflict that a message meets while a tool call waits for the client; the id of
// the waiting reply follows.
inline constexpr std::string_view kPendingApproval = "PENDING_APPROVAL ";

// The reply whose tool calls wait for the client's decision or return; null if none waits.
const Message* pending_approval(const AgentState& agent);

inline constexpr std::size_t kAgentToolsMax = 256;

// The system message of a prompt: the agent's instructions and the present values of its blocks.
std::string compile_prompt(const AgentSettings& settings, const std::vector<BlockValue>& blocks);

// A merged copy; Errc::invalid_argument over kSettingsBytesMax or for a member of the wrong type.
Result<AgentSettings> patched(const AgentSettings& settings, const Json& patch);
Result<BlockValue> patched(const BlockValue& block, const Json& patch);

}  // namespace varve
