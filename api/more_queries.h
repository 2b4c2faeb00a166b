// More of what the API reads: tools, runs, steps, tags, messages of all agents. As queries.h. Pure but for
// the reader.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "actors/command.h"
#include "api/queries.h"

namespace varve {

// ---- tools ----

struct ToolFilter {
  std::vector<std::string> names;
  std::vector<std::string> ids;
  std::optional<std::string> search;  // In the name, ASCII case folded.
  std::vector<std::string> types;
  std::vector<std::string> not_types;
  bool only_builtin = false;
};
// What clients get of a tool.
ToolView builtin_tool_view(std::string_view name);
ToolView tool_view(const ToolValue& tool);
ToolView tool_view(const Row& row);
// Custom tools by creation, behind the built-in ones; cursors follow the asked order, an unknown one is
// ignored.
Result<std::vector<ToolView>> list_tools(ViewReader& reader, const Page& page, const ToolFilter& filter);
Result<std::optional<ToolView>> find_tool(ViewReader& reader, const std::string& id);
// The tools of an agent's references, in their order; those that are gone are left out.
Result<std::vector<ToolView>> tools_of(ViewReader& reader, const std::string& references_json);
// The part of `tools` that a page shows.
std::vector<ToolView> page_of_tools(std::vector<ToolView> tools, const Page& page);

// ---- runs ----

struct RunFilter {
  std::vector<std::string> agent_ids;
  std::vector<std::string> statuses;
  std::optional<std::string> stop_reason;
  std::optional<bool> background;
  bool active = false;
  // Cursors as the archived server has them, the other way round than elsewhere: in a descending list `after`
  // is newer, in an ascending one older.
  bool reversed_cursors = false;
};
// By creation.
Result<std::vector<Row>> list_runs(ViewReader& reader, const Page& page, const RunFilter& filter);
std::string render_run(const Row& run);
// The outcome of a run that has ended.
TurnResult turn_of(const RunParts& run);
// All messages of a run, the user's too.
Result<std::vector<Row>> messages_of_run(ViewReader& reader, const std::string& run_id);
Result<std::vector<Row>> steps_of_run(ViewReader& reader, const std::string& run_id);
Result<std::vector<Row>> list_steps(ViewReader& reader, const Page& page,
                                    const std::optional<std::string>& agent,
                                    const std::optional<std::string>& run);
Result<std::optional<Row>> find_step(ViewReader& reader, const std::string& id);
std::string render_step(const Row& step);

// ---- others ----

// Every tag of an agent that exists, each once, sorted.
Result<std::vector<std::string>> all_tags(ViewReader& reader);
// Messages of all agents that exist: a page that is always oldest first. Errc::not_found: unknown cursor.
Result<std::vector<Row>> list_all_messages(ViewReader& reader, const Page& page);
Result<std::optional<Row>> find_message(ViewReader& reader, const std::string& id);
// How an agent's context window is used, as GET /v1/agents/{id}/context answers it.
Result<std::string> render_context(ViewReader& reader, const AgentParts& agent);
Result<std::vector<std::string>> agents_with_block(ViewReader& reader, const std::string& block_id);

}  // namespace varve
