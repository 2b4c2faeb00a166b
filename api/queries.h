// What the API reads: functions over one consistent read of the views. They run off the Env's thread and
// touch nothing but their arguments. Pure but for the reader.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/body.h"
#include "api/render.h"
#include "projections/view_store.h"

namespace varve {

Result<std::optional<AgentParts>> find_agent(ViewReader& reader, const std::string& id,
                                             const Relationships& include);
Result<std::optional<Row>> find_block(ViewReader& reader, const std::string& id);
// The blocks attached to an agent that exist, in the order of attaching.
Result<std::vector<Row>> attached_blocks(ViewReader& reader, const std::string& agent_id);
Result<bool> agent_exists(ViewReader& reader, const std::string& id);

// What has become of an agent that is not here any more; nothing if it is, or never was.
Result<std::optional<std::string>> find_gone(ViewReader& reader, const std::string& id);

struct AgentFilter {
  std::optional<std::vector<std::string>> ids;  // Only these.
  std::optional<std::string> last_stop_reason;
  std::optional<std::string> name;
  std::optional<std::string> query_text;
  std::vector<std::string> tags;
  bool match_all_tags = false;
  bool by_update = false;  // Order by updated_at instead of created_at.
};
// Cursors follow the asked order; an unknown one is ignored. Limit 0 = all (10,000 at most).
Result<std::vector<AgentParts>> list_agents(ViewReader& reader, const Page& page, const AgentFilter& filter,
                                            const Relationships& include);

Result<std::int64_t> count_agents(ViewReader& reader, const AgentFilter& filter);
// The filter that a query string asks for.
Parsed<AgentFilter> agent_filter(const Target& target);

struct BlockFilter {
  std::optional<std::string> label;
  std::optional<std::string> label_search;
  std::optional<std::string> value_search;
  std::optional<std::string> description_search;
};
Result<std::vector<Row>> list_blocks(ViewReader& reader, const Page& page, const BlockFilter& filter);

// A page of an agent's messages: always oldest first; `order` only picks which end the limit keeps, `after`
// is newer and `before` older in time. Errc::not_found for an unknown cursor.
Result<std::vector<Row>> list_messages(ViewReader& reader, const std::string& agent_id, const Page& page);

Result<std::int64_t> count_blocks(ViewReader& reader, const BlockFilter& filter);
BlockFilter block_filter(const Target& target);

struct RunParts {
  Row run;
  std::vector<Row> messages;        // Of the assistant and the tools.
  std::int64_t context_tokens = 0;  // Of the last step.
};
Result<std::optional<RunParts>> find_run(ViewReader& reader, const std::string& run_id);

}  // namespace varve
