// Agent files: an agent with its memory, tools and history as one JSON text, as its clients move it from
// server to server. Read are the current format (a list of agents with blocks and tools beside it), the older
// one (a single agent) and either as a JSON text within a JSON text; written is the current one.
//
// Promises: what the file holds and this program has no use for is kept verbatim and written again; what does
// not fit is an Errc::invalid_argument that names the place, as in "agents[0].messages[3].role: expected ..".
// The same history in is the same text out. Never: a secret kept. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "actors/command.h"
#include "api/body.h"
#include "projections/schema.h"
#include "runtime/json.h"

namespace varve {

class BodyReader;

inline constexpr std::size_t kAgentFileBytesMax = std::size_t{64} << 20U;
inline constexpr std::size_t kAgentsPerFileMax = 100;
// Of an AppendImport; a message that is larger has one of its own.
inline constexpr std::size_t kImportRecordBytes = std::size_t{1} << 20U;
inline constexpr std::size_t kImportMessageBytesMax = std::size_t{4} << 20U;
inline constexpr std::size_t kImportBlocksBytesMax = std::size_t{4} << 20U;  // Of an agent, together.

struct ImportedAgent {
  AgentSettings settings;               // Without its tools.
  std::vector<std::string> tool_names;  // In the agent's order.
  std::vector<BlockValue> blocks;
  std::vector<Message> messages;  // Without ids, oldest first.
  std::vector<bool> in_context;   // One per message.
  StreamId origin;                // Of a fork: BeginImport::origin and origin_cut.
  std::string origin_cut;
  bool erasable = false;  // So is the new agent, with keys of its own: of a fork, if the origin is.
};

struct AgentFile {
  std::vector<ImportedAgent> agents;
  std::vector<ToolValue> tools;  // Without ids; built-in ones are left out.
};

Result<AgentFile> parse_agent_file(std::string_view text);

// What an import may ask for besides the file.
struct ImportOptions {
  bool append_copy_suffix = true;
  bool override_existing_tools = true;
  bool strip_messages = false;
  bool erasable = false;
  std::optional<std::string> name;
  std::optional<std::string> model;
  std::optional<std::string> embedding;
};
// Of a model that the file names and this server does not serve.
struct ReplacedModel {
  std::string agent;  // Its name.
  std::string model;
  std::string used;
};
// Changes the agents as asked. The models are then ones that this server serves.
Result<std::vector<ReplacedModel>> apply_options(AgentFile& file, const ImportOptions& options,
                                                 const KnownModels& models);

// The commands that append an agent's messages, in order. What is in the context beyond the agent's context
// window becomes history.
std::vector<AppendImport> records_of(ImportedAgent& agent);
// Whether a system message must be compiled because the agent's context does not begin with one.
bool lacks_system_message(const ImportedAgent& agent);

// ---- writing ----

struct ExportedAgent {
  Row agent;
  std::vector<Row> blocks;  // In the order of attaching.
  std::vector<Row> tools;   // Of the catalogue, in any order.
};

// Writes a file in three steps, because a history is read page by page.
class AgentFileWriter {
 public:
  explicit AgentFileWriter(ExportedAgent agent);
  void add_message(const Row& row);  // Oldest first.
  std::string finish(WallTime now);

 private:
  ExportedAgent agent_;
  JsonWriter messages_;
  std::vector<std::string> in_context_;
  std::map<std::string, std::string> requests_;  // For approval: by the server's id, the file's.
  std::size_t count_ = 0;
};

// ---- shared by reading and writing ----

// A message as a file has it.
Json file_message(const Message& message, const std::string& id, const std::string& agent_id);
// Nothing if it does not fit; the reader has then the error. More than one for a message with many returns.
std::vector<Message> read_file_message(const Json& json, const std::string& path, BodyReader& outer);
Message message_of_row(const Row& row);
// In Message::extra of a message that a file has as a part of the one before.
inline constexpr std::string_view kContinues = "continues_previous";
// In AgentSettings::extra: what the file had.
inline constexpr std::string_view kAgentFileField = "agent_file";
// Members of a file's agent that settings, blocks and messages hold, or that are made anew.
bool is_live_agent_member(std::string_view name);
bool is_live_block_member(std::string_view name);
bool is_live_tool_member(std::string_view name);

// "2025-10-10T07:14:29.912336+00:00"
std::string format_file_time(WallTime time);

}  // namespace varve
