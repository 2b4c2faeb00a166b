// Routes of what is listed beside agents: tags, models, counts, messages of all agents, search; and the
// routes that are not there yet and say so.
#include <algorithm>

#include "actors/decide.h"
#include "api/api.h"
#include "api/body_reader.h"
#include "api/http_status.h"
#include "api/more_queries.h"

namespace varve {
namespace {

std::string model_name(const std::string& handle) {
  const std::size_t slash = handle.find('/');
  return slash == std::string::npos ? handle : handle.substr(slash + 1);
}

std::string provider_of(const std::string& handle) {
  return handle.substr(0, handle.find('/'));
}

// Of the kinds that the API's clients know; everything that speaks the OpenAI protocol is "openai" to them.
std::string client_type_of(const ModelInfo& model) {
  for (const char* known : {"ollama", "vllm", "lmstudio_openai", "openai"}) {
    if (model.provider_type == known) return known;
  }
  return "openai";
}

void render_model(JsonWriter& out, const ModelInfo& model) {
  const std::string name = model_name(model.handle);
  out.begin_object().field("handle", model.handle).field("name", name).field("display_name", name);
  out.field("provider_type", client_type_of(model)).field("provider_name", provider_of(model.handle));
  out.field("model_type", "llm").field("model", name).field("model_endpoint_type", "openai");
  out.field("model_endpoint", model.endpoint).field("provider_category", "base");
  out.field_integer("context_window", model.context_window);
  out.field_integer("max_context_window", model.context_window).field_null("model_wrapper");
  out.field_boolean("put_inner_thoughts_in_kwargs", false).field_raw("temperature", "1.0");
  out.field_integer("max_tokens", 16384)
      .field_boolean("enable_reasoner", false)
      .field_null("reasoning_effort");
  out.field_integer("max_reasoning_tokens", 0)
      .field_null("frequency_penalty")
      .field_null("compatibility_type");
  out.field_null("verbosity").field_null("tier").field_boolean("parallel_tool_calls", false);
  out.field_null("response_format").field_boolean("strict", false).end_object();
}

void render_embedding(JsonWriter& out, const ModelInfo& model) {
  const std::string name = model_name(model.handle);
  out.begin_object().field("handle", model.handle).field("name", name).field("display_name", name);
  // letta/letta-free was OpenAI's model behind another URL, and clients know it so.
  const std::string provider = provider_of(model.handle);
  out.field("provider_type", model.provider_type)
      .field("provider_name", provider == "letta" ? "openai" : provider);
  out.field("model_type", "embedding").field("embedding_endpoint_type", "openai");
  out.field("embedding_endpoint", model.endpoint).field("embedding_model", name);
  out.field_integer("embedding_dim", model.embedding_dim).field_integer("embedding_chunk_size", 300);
  out.field_integer("batch_size", 32).field_null("azure_endpoint").field_null("azure_version");
  out.field_null("azure_deployment").end_object();
}

std::optional<Response> check_agent_id(const std::string& id) {
  if (id.starts_with("agent-") && is_uuid4(std::string_view(id).substr(6))) return std::nullopt;
  return malformed_id("agent_id", "agent", id);
}

// POST /v1/messages/search
Parsed<SearchQuery> parse_search(const Json& body) {
  BodyReader reader(body, "body");
  SearchQuery search;
  search.query = reader.text("query").value_or("");
  const std::string mode = reader.text("search_mode").value_or("fts");
  if (mode != "fts" && mode != "hybrid" && mode != "vector") {
    reader.fail({422, "body.search_mode: expected 'fts', 'hybrid' or 'vector', got '" + mode + "'"});
  } else if (mode == "vector") {
    reader.fail({400, "body.search_mode: this server finds messages by their words; use 'fts'"});
  }
  search.agent_id = reader.text("agent_id");
  search.roles = reader.texts("roles").value_or(std::vector<std::string>{});
  if (search.roles.size() > kSearchRolesMax) {
    reader.fail({422, "body.roles: at most " + std::to_string(kSearchRolesMax)});
  }
  const std::int64_t limit = reader.integer("limit").value_or(50);
  if (limit < 1 || limit > static_cast<std::int64_t>(kSearchHitsMax)) {
    reader.fail({422, "body.limit: must be 1 to " + std::to_string(kSearchHitsMax)});
  }
  search.limit = static_cast<std::size_t>(std::max<std::int64_t>(limit, 1));
  for (const char* key : {"start_date", "end_date"}) {
    const auto text = reader.text(key);
    if (!text) continue;
    const auto time = parse_rfc3339(*text);
    if (!time) reader.fail({422, "body." + std::string(key) + ": expected a time as 2026-01-31T12:00:00Z"});
    if (time) (std::string_view(key) == "end_date" ? search.end_at : search.start_at) = time->value();
  }
  return parsed(std::move(search), reader);
}

std::string render_hits(const std::vector<SearchHit>& hits) {
  JsonWriter out;
  out.begin_array();
  for (const SearchHit& hit : hits) {
    const MessageView view = view_of(hit.row);
    Message said;
    said.content = view.content;
    const bool user = view.role == "user";
    out.begin_object().field(
        "message_type",
        user ? "user_message" : (view.role == "tool" ? "tool_return_message" : "assistant_message"));
    out.field("message_id", view.id).field("content", text_of(said));
    out.field("agent_id", hit.row.text(messages::agent_id)).field_null("conversation_id");
    out.field("created_at", format_rfc3339_micros(WallTime{view.created_at})).end_object();
  }
  out.end_array();
  return out.take();
}

}  // namespace

Api::Answer Api::list_tags(Call call) {
  const auto page = parse_page(call.target, 50, false);
  if (!page.value) co_return refusal(page.error);
  std::optional<std::string> part = query_value(call.target, "name");
  if (!part) part = query_value(call.target, "query_text");
  Render render = [page = *page.value, part](ViewReader& reader) -> Result<std::optional<std::string>> {
    auto tags = all_tags(reader);
    if (!tags) return tags.error();
    if (page.descending) std::reverse(tags->begin(), tags->end());
    JsonWriter out;
    out.begin_array();
    std::int64_t left = page.limit == 0 ? 10'000 : std::min<std::int64_t>(page.limit, 10'000);
    for (const std::string& tag : *tags) {
      const auto behind = [&page, &tag](const std::string& cursor) {
        return page.descending ? tag < cursor : tag > cursor;
      };
      if (part && tag.find(*part) == std::string::npos) continue;
      if (page.after && !behind(*page.after)) continue;
      if (page.before && (behind(*page.before) || tag == *page.before)) continue;
      if (left-- > 0) out.string(tag);
    }
    out.end_array();
    return std::optional<std::string>{out.take()};
  };
  co_return co_await answer_read(std::move(call), std::move(render), "");
}

Api::Answer Api::list_models(Call call) {
  const auto type = query_value(call.target, "provider_type");
  const auto provider = query_value(call.target, "provider_name");
  JsonWriter out;
  out.begin_array();
  for (const ModelInfo& model : options_.models.models) {
    if (model.embedding || (type && *type != model.provider_type)) continue;
    if (provider && *provider != provider_of(model.handle)) continue;
    render_model(out, model);
  }
  out.end_array();
  co_return json_response(out.take());
}

Api::Answer Api::list_embeddings(Call /*call*/) {
  JsonWriter out;
  out.begin_array();
  for (const ModelInfo& model : known_embeddings(options_.models)) render_embedding(out, model);
  out.end_array();
  co_return json_response(out.take());
}

Api::Answer Api::count_agents(Call call) {
  const auto filter = agent_filter(call.target);
  if (!filter.value) co_return refusal(filter.error);
  Render render = [filter = *filter.value](ViewReader& reader) -> Result<std::optional<std::string>> {
    auto count = varve::count_agents(reader, filter);
    if (!count) return count.error();
    return std::optional<std::string>{std::to_string(*count)};
  };
  co_return co_await answer_read(std::move(call), std::move(render), "");
}

Api::Answer Api::count_blocks(Call call) {
  const BlockFilter filter = block_filter(call.target);
  Render render = [filter](ViewReader& reader) -> Result<std::optional<std::string>> {
    auto count = varve::count_blocks(reader, filter);
    if (!count) return count.error();
    return std::optional<std::string>{std::to_string(*count)};
  };
  co_return co_await answer_read(std::move(call), std::move(render), "");
}

Api::Answer Api::list_block_agents(Call call) {
  const auto page = parse_page(call.target, 50, true);
  if (!page.value) co_return refusal(page.error);
  std::string fault;
  const Relationships include = relationships_of(call, fault);
  if (!fault.empty()) co_return unprocessable(fault);
  const std::string id = call.ids[0];
  Render render = [id, page = *page.value,
                   include](ViewReader& reader) -> Result<std::optional<std::string>> {
    auto block = find_block(reader, id);
    if (!block) return block.error();
    if (!*block) return std::optional<std::string>{};
    auto ids = agents_with_block(reader, id);
    if (!ids) return ids.error();
    AgentFilter filter;
    filter.ids = std::move(*ids);
    auto agents = list_agents(reader, page, filter, include);
    if (!agents) return agents.error();
    JsonWriter out;
    out.begin_array();
    for (const AgentParts& agent : *agents) render_agent(out, agent, include);
    out.end_array();
    return std::optional<std::string>{out.take()};
  };
  co_return co_await answer_read(std::move(call), std::move(render), "Block with id '" + id + "' not found");
}

Api::Answer Api::get_core_memory(Call call) {
  const std::string id = call.ids[0];
  Render render = [id](ViewReader& reader) -> Result<std::optional<std::string>> {
    auto agent = find_agent(reader, id, {true, false, false});
    if (!agent) return agent.error();
    if (!*agent) return std::optional<std::string>{};
    JsonWriter out;
    render_memory(out, **agent, true);
    return std::optional<std::string>{out.take()};
  };
  co_return co_await answer_read(std::move(call), std::move(render), "Agent with ID " + id + " not found");
}

Api::Answer Api::get_context(Call call) {
  const std::string id = call.ids[0];
  Render render = [id](ViewReader& reader) -> Result<std::optional<std::string>> {
    auto agent = find_agent(reader, id, {true, false, true});
    if (!agent) return agent.error();
    if (!*agent) return std::optional<std::string>{};
    auto overview = render_context(reader, **agent);
    if (!overview) return overview.error();
    return std::optional<std::string>{std::move(*overview)};
  };
  co_return co_await answer_read(std::move(call), std::move(render), "Agent with ID " + id + " not found");
}

Api::Answer Api::list_all_messages(Call call) {
  const auto page = parse_page(call.target, 100, true);
  if (!page.value) co_return refusal(page.error);
  Render render = [page = *page.value](ViewReader& reader) -> Result<std::optional<std::string>> {
    auto rows = varve::list_all_messages(reader, page);
    if (!rows) return rows.error();
    JsonWriter out;
    out.begin_array();
    for (const Row& row : *rows) render_message(out, view_of(row), std::nullopt);
    out.end_array();
    return std::optional<std::string>{out.take()};
  };
  co_return co_await answer_read(std::move(call), std::move(render), "");
}

Api::Answer Api::get_message(Call call) {
  const std::string id = call.ids[0];
  Render render = [id](ViewReader& reader) -> Result<std::optional<std::string>> {
    auto row = find_message(reader, id);
    if (!row) return row.error();
    if (!*row) return std::optional<std::string>{};
    JsonWriter out;
    out.begin_array();
    render_message(out, view_of(**row), std::nullopt);
    out.end_array();
    return std::optional<std::string>{out.take()};
  };
  co_return co_await answer_read(std::move(call), std::move(render),
                                 "Message not found with id='" + id + "'");
}

Api::Answer Api::search_messages(Call call) {
  auto body = parse_object(call.request);
  if (!body.value) co_return refusal(body.error);
  auto search = parse_search(*body.value);
  if (!search.value) co_return refusal(search.error);
  Render render = [search = *search.value](ViewReader& reader) -> Result<std::optional<std::string>> {
    auto hits = reader.search_messages(search);
    if (!hits) return hits.error();
    return std::optional<std::string>{render_hits(*hits)};
  };
  co_return co_await answer_read(std::move(call), std::move(render), "");
}

Api::Answer Api::refuse_message_change(Call /*call*/) {
  co_return detail_response(405, "Messages are immutable: what was said is in the log for ever.");
}

Api::Answer Api::not_yet(Call call) {
  co_return detail_response(
      501, call.request.method + " " + call.target.path + ": this comes with a later version of this server");
}

// The one conversation of an agent, as newer clients address it: conversations/default with the agent's id.
Api::Answer Api::list_conversation_messages(Call call) {
  const auto agent = query_value(call.target, "agent_id");
  if (call.ids[0] != "default") co_return co_await conversation_not_found(std::move(call));
  if (!agent) co_return unprocessable("query.agent_id: field required for the default conversation");
  if (auto malformed = check_agent_id(*agent)) co_return std::move(*malformed);
  call.ids[0] = *agent;
  co_return co_await list_messages_route(std::move(call));
}

// It streams unless the body says otherwise.
Api::Answer Api::send_to_conversation(Call call) {
  if (call.ids[0] != "default") co_return co_await conversation_not_found(std::move(call));
  auto body = parse_object(call.request);
  if (!body.value) co_return refusal(body.error);
  BodyReader reader(*body.value, "body");
  const auto agent = reader.text("agent_id");
  const bool streams = reader.boolean("streaming").value_or(true);
  if (!agent) reader.missing("agent_id");
  if (reader.error()) co_return refusal(*reader.error());
  if (auto malformed = check_agent_id(*agent)) co_return std::move(*malformed);
  call.ids[0] = *agent;
  co_return co_await send_messages(std::move(call), streams, false);
}

Api::Answer Api::conversation_not_found(Call call) {
  co_return detail_response(404, "Conversation not found with id='" + call.ids[0] +
                                     "': this server has one conversation per agent, its default one");
}

}  // namespace varve
