#include "api/agent_fork.h"

#include <set>

#include "api/queries.h"

namespace varve {
namespace {

constexpr std::size_t kPage = 1'000;

std::optional<std::string> optional_of(const Row& row, std::size_t column) {
  return row.is_null(column) ? std::optional<std::string>{} : std::optional<std::string>{row.text(column)};
}

// A JSON list of texts, as the fold writes it.
std::vector<std::string> texts_of(const std::string& json) {
  std::vector<std::string> texts;
  const auto listed = Json::parse(json);
  if (!listed) return texts;
  for (const Json& item : listed->items()) {
    if (item.is_string()) texts.push_back(item.as_string());
  }
  return texts;
}

AgentSettings settings_of(const Row& row) {
  AgentSettings settings;
  settings.name = row.text(agents::name);
  settings.description = optional_of(row, agents::description);
  settings.system = row.text(agents::system);
  settings.agent_type = row.text(agents::agent_type);
  settings.model = row.text(agents::model);
  settings.embedding = optional_of(row, agents::embedding);
  settings.context_window = row.integer(agents::context_window);
  settings.timezone = row.text(agents::timezone);
  settings.tools = texts_of(row.text(agents::tools));
  settings.tags = texts_of(row.text(agents::tags));
  settings.metadata = row.text(agents::metadata);
  settings.extra = row.text(agents::extra);
  return settings;
}

BlockValue block_of(const Row& row) {
  BlockValue block;
  block.label = row.text(blocks::label);
  block.value = row.text(blocks::value);
  block.limit = row.integer(blocks::limit);
  block.description = optional_of(row, blocks::description);
  block.read_only = row.integer(blocks::read_only) != 0;
  block.tags = texts_of(row.text(blocks::tags));
  block.metadata = row.text(blocks::metadata);
  block.extra = row.text(blocks::extra);
  return block;
}

Status add_blocks(const std::vector<Row>& rows, ImportedAgent& agent) {
  std::set<std::string> labels;
  std::size_t bytes = 0;
  for (const Row& row : rows) {
    BlockValue block = block_of(row);
    bytes += block.value.size();
    if (!labels.insert(block.label).second) {
      return Error{Errc::conflict, "two blocks of the agent were labelled '" + block.label +
                                       "' then; a new agent has each label once"};
    }
    agent.blocks.push_back(std::move(block));
  }
  if (bytes <= kImportBlocksBytesMax) return ok();
  return Error{Errc::invalid_argument, "the agent's blocks held " + std::to_string(bytes) +
                                           " bytes then; a new agent's hold at most " +
                                           std::to_string(kImportBlocksBytesMax) + " together"};
}

// Every message, in the context or not, oldest first.
Status add_messages(ViewReader& reader, const std::string& id, ImportedAgent& agent) {
  Query query;
  query.view = View::messages;
  query.where.push_back({static_cast<int>(messages::agent_id), Filter::Op::equal, {Value{id}}});
  query.open_only = false;
  query.order_by = {kFromOffset, kFromOrdinal};
  query.limit = kPage;
  for (;;) {
    const auto rows = reader.select(query);
    if (!rows) return rows.error();
    for (const Row& row : *rows) {
      agent.messages.push_back(message_of_row(row));
      agent.in_context.push_back(!row.to);
    }
    if (rows->size() < kPage) return ok();
    const RowFrom& last = rows->back().from;
    query.above =
        std::vector<Value>{Value{static_cast<std::int64_t>(last.offset.value())}, Value{last.ordinal}};
  }
}

}  // namespace

Result<std::optional<ImportedAgent>> agent_to_fork(ViewReader& reader, const std::string& id) {
  const Relationships include{true, false, false};
  const auto parts = find_agent(reader, id, include);
  if (!parts) return parts.error();
  if (!*parts) return std::optional<ImportedAgent>{};
  ImportedAgent agent;
  agent.settings = settings_of((*parts)->agent);
  if (Status added = add_blocks((*parts)->blocks, agent); !added) return added.error();
  if (Status added = add_messages(reader, id, agent); !added) return added.error();
  return std::optional<ImportedAgent>{std::move(agent)};
}

CommandHash fork_hash(const std::string& id, const Cut& cut, const std::string& name) {
  JsonWriter asked;
  asked.begin_object().field("agent_id", id).field("as_of", to_string(cut)).field("name", name).end_object();
  return command_hash("POST /v1/varve/agents/fork", asked.text());
}

}  // namespace varve
