// Routes of agents and their core memory.
#include <algorithm>
#include <array>

#include "api/api.h"
#include "api/http_status.h"

namespace varve {
namespace {

constexpr std::array<std::string_view, 8> kIncludes{
    "agent.blocks",  "agent.identities", "agent.managed_group", "agent.pending_approval",
    "agent.secrets", "agent.sources",    "agent.tags",          "agent.tools"};

Result<std::optional<std::string>> render_one_agent(ViewReader& reader, const std::string& id,
                                                    const Relationships& include) {
  auto agent = find_agent(reader, id, include);
  if (!agent) return agent.error();
  if (!*agent) return std::optional<std::string>{};
  JsonWriter out;
  render_agent(out, **agent, include);
  return std::optional<std::string>{out.take()};
}

std::string agent_not_found(const std::string& id) {
  return "Agent with ID " + id + " not found";
}

// The blocks of a core memory stand in the order of attaching, whatever else is asked for; cursors follow the
// asked order, an unknown one is ignored.
std::vector<Row> page_of_blocks(std::vector<Row> rows, const Page& page) {
  if (page.descending) std::reverse(rows.begin(), rows.end());
  const auto place = [&rows](const std::optional<std::string>& id) {
    return std::find_if(rows.begin(), rows.end(),
                        [&id](const Row& row) { return id && row.text(blocks::id) == *id; });
  };
  if (const auto after = place(page.after); after != rows.end()) rows.erase(rows.begin(), std::next(after));
  if (const auto before = place(page.before); before != rows.end()) rows.erase(before, rows.end());
  if (page.limit > 0 && rows.size() > static_cast<std::size_t>(page.limit)) {
    rows.erase(rows.begin() + static_cast<std::ptrdiff_t>(page.limit), rows.end());
  }
  return rows;
}

std::string rendered_blocks(const std::vector<Row>& rows) {
  JsonWriter out;
  out.begin_array();
  for (const Row& row : rows) render_block(out, row);
  out.end_array();
  return out.take();
}

}  // namespace

Relationships Api::relationships_of(const Call& call, std::string& fault) const {
  Relationships include;
  std::vector<std::string> asked = query_values(call.target, "include");
  for (const std::string& one : asked) {
    if (std::find(kIncludes.begin(), kIncludes.end(), one) == kIncludes.end()) {
      fault = "query.include: '" + one +
              "' is not one of agent.blocks, agent.tags, agent.tools, agent.sources, "
              "agent.identities, agent.managed_group, agent.pending_approval, agent.secrets";
    }
  }
  for (const std::string& legacy : query_values(call.target, "include_relationships")) {
    asked.push_back(legacy == "memory" ? "agent.blocks" : "agent." + legacy);
  }
  if (is_sdk_client(call.request) || !asked.empty()) {
    const auto has = [&asked](const char* name) {
      return std::find(asked.begin(), asked.end(), name) != asked.end();
    };
    include = {has("agent.blocks"), has("agent.tags"), has("agent.tools")};
  }
  return include;
}

Api::Answer Api::create_agent(Call call) {
  auto body = parse_object(call.request);
  if (!body.value) co_return unprocessable(body.error.detail);
  auto custom = co_await tools_named_in(*body.value, call.deadline);
  if (!custom) co_return error_response(custom.error(), call.keyless);
  auto parsed = parse_create_agent(*body.value, options_.models, *custom, to_hex(call.command.id));
  if (!parsed.value) co_return refusal(parsed.error);
  // The id derives from the command's, so that a retry reaches the same stream, wherever it goes.
  const StreamId stream{"agent-" + derived_uuid(call.command.id, "agent", 0)};
  auto answer = co_await send(call, stream, std::move(*parsed.value));
  if (!answer) {
    Response refused = error_response(answer.error(), call.keyless);
    co_return refused;
  }
  Render render = [id = stream.value()](ViewReader& reader) { return render_one_agent(reader, id, {}); };
  Response response =
      co_await answer_write(std::move(call), std::move(*answer), std::move(render), OwnRows::are_all);
  co_return response;
}

Api::Answer Api::list_agents_route(Call call) {
  const auto page = parse_page(call.target, 50, true);
  if (!page.value) co_return unprocessable(page.error.detail);
  std::string fault;
  const Relationships include = relationships_of(call, fault);
  if (!fault.empty()) co_return unprocessable(fault);
  const auto filter = agent_filter(call.target);
  if (!filter.value) co_return refusal(filter.error);
  Render render = [page = *page.value, filter = *filter.value,
                   include](ViewReader& reader) -> Result<std::optional<std::string>> {
    auto agents = list_agents(reader, page, filter, include);
    if (!agents) return agents.error();
    JsonWriter out;
    out.begin_array();
    for (const AgentParts& agent : *agents) render_agent(out, agent, include);
    out.end_array();
    return std::optional<std::string>{out.take()};
  };
  Response response = co_await answer_read(std::move(call), std::move(render), "");
  co_return response;
}

Api::Answer Api::get_agent(Call call) {
  std::string fault;
  const Relationships include = relationships_of(call, fault);
  if (!fault.empty()) co_return unprocessable(fault);
  const std::string id = call.ids[0];
  Render render = [id, include](ViewReader& reader) { return render_one_agent(reader, id, include); };
  Response response = co_await answer_read(std::move(call), std::move(render), agent_not_found(id));
  co_return response;
}

Api::Answer Api::update_agent(Call call) {
  auto body = parse_object(call.request);
  if (!body.value) co_return unprocessable(body.error.detail);
  auto custom = co_await tools_named_in(*body.value, call.deadline);
  if (!custom) co_return error_response(custom.error(), call.keyless);
  auto parsed = parse_update_agent(*body.value, options_.models, *custom);
  if (!parsed.value) co_return refusal(parsed.error);
  const std::string id = call.ids[0];
  auto answer = co_await send(call, StreamId{id}, std::move(*parsed.value));
  if (!answer) {
    Response refused = error_response(answer.error(), call.keyless);
    co_return refused;
  }
  Render render = [id](ViewReader& reader) { return render_one_agent(reader, id, {}); };
  Response response =
      co_await answer_write(std::move(call), std::move(*answer), std::move(render), OwnRows::are_all);
  co_return response;
}

Api::Answer Api::delete_agent(Call call) {
  if (const auto erase = query_value(call.target, "erase"); erase && *erase != "false") {
    if (*erase != "true")
      co_return unprocessable("query.erase: expected true or false, got '" + *erase + "'");
    co_return co_await erase_agent(std::move(call));
  }
  const std::string id = call.ids[0];
  Command deletion = DeleteAgent{};
  auto answer = co_await send(call, StreamId{id}, std::move(deletion));
  if (!answer) {
    Response refused = error_response(answer.error(), call.keyless);
    co_return refused;
  }
  JsonWriter out;
  out.begin_object().field("message", "Agent id=" + id + " successfully deleted").end_object();
  Response response = json_response(out.take());
  Headers headers = co_await settle(*answer, call);
  response.headers.merge(headers);
  co_return response;
}

Api::Answer Api::list_core_blocks(Call call) {
  const auto page = parse_page(call.target, 100, true);
  if (!page.value) co_return unprocessable(page.error.detail);
  const std::string id = call.ids[0];
  Render render = [id, page = *page.value](ViewReader& reader) -> Result<std::optional<std::string>> {
    auto exists = agent_exists(reader, id);
    if (!exists) return exists.error();
    if (!*exists) return std::optional<std::string>{};
    auto rows = attached_blocks(reader, id);
    if (!rows) return rows.error();
    return std::optional<std::string>{rendered_blocks(page_of_blocks(std::move(*rows), page))};
  };
  Response response = co_await answer_read(std::move(call), std::move(render), agent_not_found(id));
  co_return response;
}

Api::Answer Api::get_core_block(Call call) {
  const std::string id = call.ids[0];
  const std::string label = call.ids[1];
  Render render = [id, label](ViewReader& reader) -> Result<std::optional<std::string>> {
    auto exists = agent_exists(reader, id);
    if (!exists) return exists.error();
    if (!*exists) return Error{Errc::not_found, agent_not_found(id)};
    auto rows = attached_blocks(reader, id);
    if (!rows) return rows.error();
    for (const Row& row : *rows) {
      if (row.text(blocks::label) != label) continue;
      JsonWriter out;
      render_block(out, row);
      return std::optional<std::string>{out.take()};
    }
    return std::optional<std::string>{};
  };
  const std::string not_found = "No block with label '" + label + "' found for agent '" + id + "'";
  Response response = co_await answer_read(std::move(call), std::move(render), not_found);
  co_return response;
}

Api::Answer Api::update_core_block(Call call) {
  auto body = parse_object(call.request);
  if (!body.value) co_return unprocessable(body.error.detail);
  auto parsed = parse_update_block(*body.value);
  if (!parsed.value) co_return unprocessable(parsed.error.detail);
  // The agent's owner knows which of its blocks answers to the label; the edit is the block's own.
  CommandEnvelope question{{}, StreamId{call.ids[0]}, ResolveLabel{call.ids[1]}};
  CallLimits limits{call.deadline};
  auto resolved = co_await ports_.sender.send(std::move(question), limits);
  if (!resolved) {
    Response refused = error_response(resolved.error(), call.keyless);
    co_return refused;
  }
  if (!resolved->block) {
    Response refused =
        error_response({Errc::not_found, "No block with label '" + call.ids[1] + "' found"}, false);
    co_return refused;
  }
  const StreamId block = resolved->block->block;
  Response response = co_await change_block(std::move(call), block, std::move(*parsed.value));
  co_return response;
}

Api::Answer Api::attach_or_detach(Call call, bool attach) {
  const std::string id = call.ids[0];
  const StreamId block{call.ids[1]};
  Command command = attach ? Command{AttachBlock{block}} : Command{DetachBlock{block}};
  auto answer = co_await send(call, StreamId{id}, std::move(command));
  if (!answer) {
    Response refused = error_response(answer.error(), call.keyless);
    co_return refused;
  }
  // Its events alone do not make the agent's row: while the views are behind, it is printed as they have it.
  Render render = [id](ViewReader& reader) { return render_one_agent(reader, id, {}); };
  Response response =
      co_await answer_write(std::move(call), std::move(*answer), std::move(render), OwnRows::are_some);
  co_return response;
}

Api::Answer Api::attach_block(Call call) {
  co_return co_await attach_or_detach(std::move(call), true);
}
Api::Answer Api::detach_block(Call call) {
  co_return co_await attach_or_detach(std::move(call), false);
}

}  // namespace varve
