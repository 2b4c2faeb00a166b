// Request bodies and query parameters into domain values, once, at the border. What does not fit is an
// Errc::invalid_argument that names the field and what was expected. Pure.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "actors/command.h"
#include "actors/model_client.h"
#include "api/http.h"

namespace varve {

// Which models agents may name.
struct KnownModels {
  std::vector<std::string> handles;
  std::string default_handle;
  // Says more than `handles`, if it is set: a provider that was never reached may have any model.
  std::function<bool(std::string_view)> serves;
  std::vector<ModelInfo> models;  // What is known of each, embedding models too.
};
// The embedding models that agents may name: those of the providers, and well-known ones, which this server
// keeps but does not use yet.
std::vector<ModelInfo> known_embeddings(const KnownModels& models);

// A refusal with a status of its own where clients expect another than 422.
struct BodyError {
  int status = 422;
  std::string detail;
  bool plain = false;  // 422 without the members that refusals of malformed bodies have.
};
template <class T>
struct Parsed {
  std::optional<T> value;
  BodyError error;  // If there is no value.
};

// The body as a JSON object: 422 for anything else.
Parsed<Json> parse_object(const Request& request);

// `name_seed` makes the name of an agent that has none, the same for every retry.
// `custom`: what the catalogue has of the tools that the body names.
Parsed<CreateAgent> parse_create_agent(const Json& body, const KnownModels& models,
                                       const std::vector<ToolValue>& custom, std::string_view name_seed);
// The patch in the terms of actors/ (UpdateAgent::patch).
Parsed<UpdateAgent> parse_update_agent(const Json& body, const KnownModels& models,
                                       const std::vector<ToolValue>& custom);
Parsed<CreateBlock> parse_create_block(const Json& body);
Parsed<UpdateBlock> parse_update_block(const Json& body);

struct MessagesRequest {
  SendMessages command;
  bool streaming = false;
  bool stream_tokens = false;
  bool include_pings = true;
  bool background = false;
  std::optional<std::vector<std::string>> return_types;  // Of message_type.
};
// `always_streams`: the route streams, whatever the body says.
Parsed<MessagesRequest> parse_messages_request(const Json& body, const KnownModels& models,
                                               bool always_streams = false);

// message_type names of the API.
bool is_message_type(std::string_view name);

// Fields of features that come later: kept in `extra` and returned as they came.
bool is_kept_agent_field(std::string_view name);
bool is_kept_block_field(std::string_view name);

// ---- query parameters ----

struct Page {
  std::int64_t limit = 50;
  bool descending = true;
  std::optional<std::string> before;
  std::optional<std::string> after;
};
// limit, order (asc, desc), before, after; an empty cursor counts as none.
Parsed<Page> parse_page(const Target& target, std::int64_t limit_default, bool descending_default);
std::optional<std::string> query_value(const Target& target, std::string_view name);
std::vector<std::string> query_values(const Target& target, std::string_view name);

}  // namespace varve
