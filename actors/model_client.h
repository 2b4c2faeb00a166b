// ModelClient: the port to a language model. One call is one step's thinking: context in, reply out.
//
// Implementations: EchoModel (deterministic, the default), ScriptedModel (tests), later an OpenAI-compatible
// one. Thread: the one of the Env it was made with.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "eventlog/event.h"
#include "runtime/task.h"
#include "runtime/time.h"

namespace varve {

struct ModelTool {
  std::string name;
  std::string description;
  std::string parameters;  // JSON schema.
};

struct ModelRequest {
  std::string model;  // Handle: provider/name.
  std::string system;
  std::vector<std::shared_ptr<const Message>> messages;  // The context window without its system message.
  std::vector<ModelTool> tools;
};

struct ModelReply {
  std::string text;
  std::string reasoning;
  std::vector<ToolCall> tool_calls;
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;
  std::string stop_reason = "end_turn";  // If there are no tool calls.
};

// The provider failed: the turn fails with this, the user's message stays.
struct ModelFailure {
  int status = 500;  // As the API answers it: 400, 401, 429, 500, 504.
  std::string error_type = "llm_error";
  std::string message;
};

using ModelOutcome = std::variant<ModelReply, ModelFailure>;

class ModelClient {
 public:
  ModelClient() = default;
  ModelClient(const ModelClient&) = delete;
  ModelClient& operator=(const ModelClient&) = delete;
  virtual ~ModelClient() = default;

  // True if an agent may name this handle.
  virtual bool serves(std::string_view handle) const = 0;
  // Every handle that it serves, for messages.
  virtual std::vector<std::string> handles() const = 0;
  // An Error only when this process cannot even ask (shutting down).
  virtual Task<ModelOutcome> complete(ModelRequest request, MonoTime deadline) = 0;
};

}  // namespace varve
