// The event catalogue: everything that can happen to an agent, a block or the tools. Past tense, versioned;
// the version in the table of event.cpp is the newest, older ones are lifted by upcasters. An event that
// changes an entity carries its whole new value and the ids or labels of what it ends, so that a fold never
// has to read.
//
// Adding one: CONTRIBUTING.md, "Add an event".
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "eventlog/ids.h"
#include "runtime/json.h"

namespace varve {

// `approval`: a client's decision about tool calls that wait for it. `summary`: what stands for messages that
// have left the context.
enum class Role : unsigned char { system, user, assistant, tool, approval, summary };
const char* to_string(Role role);
std::optional<Role> parse_role(std::string_view text);

struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments;  // As the model sent them; JSON if the model is good.
  friend bool operator==(const ToolCall&, const ToolCall&) = default;
};

// One row of an agent's history.
struct Message {
  std::string id;  // message-<uuid4>
  Role role = Role::user;
  std::string content = "\"\"";  // JSON: a string, or a list of parts as the client sent them.
  std::optional<std::string> name;
  std::optional<std::string> sender_id;
  std::optional<std::string> group_id;
  std::optional<std::string> otid;
  std::string step_id;               // step-<uuid4>, empty outside of a turn.
  std::vector<ToolCall> tool_calls;  // Assistant only.
  std::string reasoning;             // Assistant only.
  std::string tool_call_id;          // Tool only.
  bool is_error = false;             // Tool only: the call failed.
  std::string stdout_lines;          // Tool only: JSON list of texts, or empty.
  std::string stderr_lines;          // Tool only: the same.
  bool is_approval_request = false;  // Assistant only: its calls wait for the client.
  WallTime sent_at;                  // Of an imported message; 0 = the time of its record.
  std::string extra;  // Imported only: JSON object of what its agent file had besides, or empty.
  friend bool operator==(const Message&, const Message&) = default;
};

// The plain text of a message's content: the string, or its text parts joined.
std::string text_of(const Message& message);

struct AgentSettings {
  std::string name;
  std::optional<std::string> description;
  std::string system;
  std::string agent_type;
  std::string model;
  std::optional<std::string> embedding;
  std::int64_t context_window = 0;  // Tokens.
  std::string timezone;
  std::vector<std::string>
      tools;                      // References: the name of a built-in tool, or tool-<uuid4> of a custom one.
  std::vector<std::string> tags;  // Each once.
  std::string metadata = "null";  // JSON.
  std::string extra = "{}";       // JSON object: fields of features that come later, kept and returned.
  friend bool operator==(const AgentSettings&, const AgentSettings&) = default;
};

struct BlockRef {
  StreamId block;
  std::string label;  // At the time of attaching.
  friend bool operator==(const BlockRef&, const BlockRef&) = default;
};

struct BlockValue {
  std::string label;
  std::string value;
  std::int64_t limit = 100000;  // Kept, not enforced, as the API's clients know it.
  std::optional<std::string> description;
  bool read_only = false;
  std::vector<std::string> tags;
  std::string metadata = "{}";  // JSON.
  std::string extra = "{}";     // JSON object.
  friend bool operator==(const BlockValue&, const BlockValue&) = default;
};

// A custom tool, as the catalogue keeps it.
struct ToolValue {
  std::string id;    // tool-<uuid4>
  std::string name;  // Unique.
  std::optional<std::string> description;
  std::string source_type = "python";
  std::string source_code;         // Kept and offered to the model; not run.
  std::string json_schema = "{}";  // JSON object: name, description, parameters.
  std::vector<std::string> tags;
  std::int64_t return_char_limit = 50000;
  std::string extra = "{}";  // JSON object: requirements, approval, what clients keep with it.
  friend bool operator==(const ToolValue&, const ToolValue&) = default;
};

struct Usage {
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;
  std::int64_t steps = 0;
  std::int64_t context_tokens = 0;  // Of the newest step's prompt and reply; 0 = not known.
  friend bool operator==(const Usage&, const Usage&) = default;
};

struct BlockSeen {  // Which value of a block a step's prompt held.
  StreamId block;
  Sequence sequence;
  friend bool operator==(const BlockSeen&, const BlockSeen&) = default;
};

// ---- agents ----

struct AgentCreated {
  AgentSettings settings;
  std::vector<BlockRef> blocks;
  std::vector<Message> messages;  // The compiled system message, then the initial sequence.
  bool erasable = false;          // Its personal texts are sealed, here and in all that follows.
  friend bool operator==(const AgentCreated&, const AgentCreated&) = default;
};
struct AgentUpdated {
  AgentSettings settings;
  std::vector<std::string> tags_added;
  std::vector<std::string> tags_removed;
  WallTime created_at;
  friend bool operator==(const AgentUpdated&, const AgentUpdated&) = default;
};
struct AgentDeleted {
  friend bool operator==(const AgentDeleted&, const AgentDeleted&) = default;
};
struct BlockAttached {
  BlockRef block;
  friend bool operator==(const BlockAttached&, const BlockAttached&) = default;
};
struct BlockDetached {
  StreamId block;
  friend bool operator==(const BlockDetached&, const BlockDetached&) = default;
};
struct ContextTrimmed {
  std::vector<std::string> message_ids;  // Every message that leaves the context.
  friend bool operator==(const ContextTrimmed&, const ContextTrimmed&) = default;
};

struct ContextSummarized {
  Message summary;                       // Takes the place of what leaves, behind the system message.
  std::vector<std::string> message_ids;  // Every message that leaves the context.
  friend bool operator==(const ContextSummarized&, const ContextSummarized&) = default;
};

// ---- turns; run_id is run-<uuid4> ----

struct UserMessageReceived {  // Opens the turn.
  std::string run_id;
  std::vector<Message> messages;
  std::int64_t max_steps = 50;
  WallTime deadline;
  std::string request = "{}";  // JSON object: options of the request that the turn keeps.
  friend bool operator==(const UserMessageReceived&, const UserMessageReceived&) = default;
};
struct AssistantReplied {
  std::string run_id;
  Message message;
  Usage usage;  // Of this step.
  std::string model;
  std::string prompt_hash;  // XXH64 of the compiled prompt, 16 hexadecimal digits.
  std::vector<BlockSeen> blocks;
  friend bool operator==(const AssistantReplied&, const AssistantReplied&) = default;
};
struct ToolReturned {
  std::string run_id;
  Message message;
  friend bool operator==(const ToolReturned&, const ToolReturned&) = default;
};
struct TurnResumed {
  std::string run_id;
  std::int64_t attempt = 0;  // 1, 2, 3; the fourth attempt is a TurnFailed.
  friend bool operator==(const TurnResumed&, const TurnResumed&) = default;
};
struct TurnHandedOver {
  std::string run_id;
  friend bool operator==(const TurnHandedOver&, const TurnHandedOver&) = default;
};
struct TurnFinished {
  std::string run_id;
  std::string stop_reason;
  Usage usage;  // Of the whole turn.
  WallTime started_at;
  std::string request = "{}";  // As in UserMessageReceived.
  friend bool operator==(const TurnFinished&, const TurnFinished&) = default;
};
struct TurnFailed {
  std::string run_id;
  std::string stop_reason;
  std::string error_type;  // As in the API's error bodies: llm_error, llm_rate_limit ...
  std::string message;
  Usage usage;
  WallTime started_at;
  std::string request = "{}";
  friend bool operator==(const TurnFailed&, const TurnFailed&) = default;
};
struct TurnCancelled {
  std::string run_id;
  Usage usage;
  WallTime started_at;
  std::string request = "{}";
  friend bool operator==(const TurnCancelled&, const TurnCancelled&) = default;
};

// ---- imports ----

struct ImportBegun {
  std::int64_t records = 0;
  std::string hash;
  friend bool operator==(const ImportBegun&, const ImportBegun&) = default;
};
struct ImportSealed {
  friend bool operator==(const ImportSealed&, const ImportSealed&) = default;
};

// Some of an imported agent's history. Only between ImportBegun and ImportSealed.
struct MessagesImported {
  std::vector<Message> messages;
  std::vector<std::string> out_of_context;  // Ids of those that are history only.
  friend bool operator==(const MessagesImported&, const MessagesImported&) = default;
};

// The first event of an agent that was made from another one, as that was at a cut of the log. What it was
// made of follows as an import.
struct AgentForked {
  StreamId origin;
  std::string cut;  // As to_string(Cut): "0:17,1:88".
  friend bool operator==(const AgentForked&, const AgentForked&) = default;
};

// ---- teleport: a stream that was carried here from another log, event by event ----

struct CarriedEvent;  // An Event.

// One event of the source's stream, as the source wrote it; it has the same sequence here. Until the stream
// is sealed nobody sees it. Whoever applies or folds it does with the inner event what the source did, at the
// source's time.
struct EventTeleported {
  WallTime at;               // Of the source's record.
  std::string command;       // Of the source's command: 32 hexadecimal digits
  std::string command_hash;  // and 16.
  bool client = false;       // As in CommandRef; with the first event of the source's record only.
  std::string request_id;
  std::string type;  // Empty: the event is absent, by a ruling at the source.
  std::int64_t version = 0;
  std::string data = "{}";  // JSON
  // With the first event of a stream only.
  std::string source;  // The cluster that it comes from.
  StreamId origin;     // Of a stream that has another id here.
  // What type, version and data say; null if absent.
  std::shared_ptr<const CarriedEvent> inner;
  friend bool operator==(const EventTeleported& a, const EventTeleported& b) {
    return a.at == b.at && a.command == b.command && a.command_hash == b.command_hash &&
           a.client == b.client && a.request_id == b.request_id && a.type == b.type &&
           a.version == b.version && a.data == b.data && a.source == b.source && a.origin == b.origin;
  }
};
// Ends it: from here on the stream is like any other. Its rows of `agents` or `blocks` begin here.
struct TeleportSealed {
  std::optional<AgentSettings> settings;  // Of an agent.
  std::optional<BlockValue> block;        // Of a block.
  WallTime created_at;
  WallTime updated_at;
  friend bool operator==(const TeleportSealed&, const TeleportSealed&) = default;
};
// The agent lives elsewhere from now on; here it answers with its place.
struct AgentMoved {
  std::string place;  // URL of the other server.
  friend bool operator==(const AgentMoved&, const AgentMoved&) = default;
};

// What the agent was told and said can never be read again: the keys of its stream and of these blocks are
// destroyed once this is in the log. Ends the agent as AgentDeleted does.
struct AgentErased {
  bool was_deleted = false;      // AgentDeleted came before: its row has ended.
  std::vector<StreamId> blocks;  // Born with it and attached to no other agent. Their BlockDeleted follow.
  friend bool operator==(const AgentErased&, const AgentErased&) = default;
};

// ---- the catalogue ----

struct ToolCreated {
  ToolValue tool;
  friend bool operator==(const ToolCreated&, const ToolCreated&) = default;
};
struct ToolUpdated {
  ToolValue tool;
  WallTime created_at;
  friend bool operator==(const ToolUpdated&, const ToolUpdated&) = default;
};
struct ToolDeleted {
  std::string id;
  friend bool operator==(const ToolDeleted&, const ToolDeleted&) = default;
};

// ---- blocks ----

struct BlockCreated {
  BlockValue block;
  bool erasable = false;  // As of an agent. It has a key of its own.
  friend bool operator==(const BlockCreated&, const BlockCreated&) = default;
};
struct BlockUpdated {
  BlockValue block;
  WallTime created_at;
  friend bool operator==(const BlockUpdated&, const BlockUpdated&) = default;
};
struct BlockDeleted {
  friend bool operator==(const BlockDeleted&, const BlockDeleted&) = default;
};

using Event =
    std::variant<AgentCreated, AgentUpdated, AgentDeleted, BlockAttached, BlockDetached, ContextTrimmed,
                 UserMessageReceived, AssistantReplied, ToolReturned, TurnResumed, TurnHandedOver,
                 TurnFinished, TurnFailed, TurnCancelled, ImportBegun, ImportSealed, BlockCreated,
                 BlockUpdated, BlockDeleted, ContextSummarized, MessagesImported, ToolCreated, ToolUpdated,
                 ToolDeleted, AgentForked, EventTeleported, TeleportSealed, AgentMoved, AgentErased>;

struct CarriedEvent {
  Event event;
};

// "AgentCreated"
std::string_view type_of(const Event& event);
// The newest version of an event's type.
std::int64_t version_of(const Event& event);

// {"type":...,"v":...,"data":{...}}
void write_event(JsonWriter& out, const Event& event);
// Lifts an old version through the upcaster chain. Errc::corrupt for an unknown type, a version from the
// future, or data that does not fit: whoever folds it treats the event as poison.
Result<Event> read_event(std::string_view type, std::int64_t version, const Json& data);
// Fills `inner` from type, version and data.
Status read_inner(EventTeleported& event);

// JSON of the value types, for commands and snapshots.
void write_settings(JsonWriter& out, const AgentSettings& settings);
Result<AgentSettings> read_settings(const Json& json);
void write_block_value(JsonWriter& out, const BlockValue& block);
Result<BlockValue> read_block_value(const Json& json);
void write_tool(JsonWriter& out, const ToolValue& tool);
Result<ToolValue> read_tool(const Json& json);
void write_message(JsonWriter& out, const Message& message);
Result<Message> read_message(const Json& json);
void write_usage(JsonWriter& out, const Usage& usage);
Result<Usage> read_usage(const Json& json);

}  // namespace varve
