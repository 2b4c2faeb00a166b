// DELETE /v1/agents/{agent_id}?erase=true: the agent is deleted, and the keys of its texts are destroyed
// (docs/personal-data.md). Blocks that were born with it and are attached to no other agent go with it: what
// is attached is what the views say, which every acknowledged attachment has reached. Asked again, it is a
// success; everything else that asks for the agent is answered 410.
#include <set>

#include "api/agent_erase.h"
#include "api/api.h"
#include "api/http_status.h"
#include "api/opened_reader.h"

namespace varve {
namespace {

Query rows_where(View view, std::size_t column, std::vector<Value> values) {
  Query query;
  query.view = view;
  query.where.push_back({static_cast<int>(column), Filter::Op::one_of, std::move(values)});
  return query;
}

std::vector<Value> values_of(const std::set<std::string>& texts) {
  return {texts.begin(), texts.end()};
}

}  // namespace

Result<std::vector<StreamId>> blocks_of_others(ViewReader& reader, const std::string& agent) {
  Query ever = rows_where(View::attachments, attachments::agent_id, {Value{agent}});
  ever.open_only = false;
  const auto own = reader.select(ever);
  if (!own) return own.error();
  std::set<std::string> ids;
  for (const Row& row : *own) ids.insert(row.text(attachments::block_id));
  std::vector<StreamId> kept;
  if (ids.empty()) return kept;
  const auto attached = reader.select(rows_where(View::attachments, attachments::block_id, values_of(ids)));
  if (!attached) return attached.error();
  std::set<std::string> others;
  for (const Row& row : *attached) others.insert(row.text(attachments::agent_id));
  others.erase(agent);
  if (others.empty()) return kept;
  const auto agents_there = reader.select(rows_where(View::agents, agents::id, values_of(others)));
  if (!agents_there) return agents_there.error();
  std::set<std::string> there;
  for (const Row& row : *agents_there) {
    if (row.integer(agents::importing) != agents::kGone) there.insert(row.text(agents::id));
  }
  std::set<std::string> blocks;
  for (const Row& row : *attached) {
    if (there.contains(row.text(attachments::agent_id))) blocks.insert(row.text(attachments::block_id));
  }
  for (const std::string& block : blocks) kept.emplace_back(block);
  return kept;
}

Api::Answer Api::erase_agent(Call call) {
  const std::string id = call.ids[0];
  // The same key without erase=true is another request.
  call.command.hash = command_hash("DELETE " + call.target.path + "?erase=true", "");
  const auto kept = std::make_shared<std::vector<StreamId>>();
  ViewWork work = [id, kept](ViewReader& reader) -> Status {
    auto blocks = blocks_of_others(reader, id);
    if (!blocks) return blocks.error();
    *kept = std::move(*blocks);
    return ok();
  };
  if (Status read = co_await ports_.views.read(std::move(work)); !read)
    co_return error_response(read.error(), call.keyless);
  Command erasure = EraseAgent{*kept};
  auto answer = co_await send(call, StreamId{id}, std::move(erasure));
  if (!answer) co_return error_response(answer.error(), call.keyless);
  JsonWriter out;
  out.begin_object().field("message", "Agent id=" + id + " successfully erased").end_object();
  Response response = json_response(out.take());
  Headers headers = co_await settle(*answer, call);
  response.headers.merge(headers);
  co_return response;
}

}  // namespace varve
