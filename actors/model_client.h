// ModelClient: the port to a language model. One call is one step's thinking: context in, reply out.
//
// Implementations: EchoModel (deterministic, the default), ScriptedModel (tests), OpenAiModel (any
// OpenAI-compatible provider), ModelRouter (several behind one port). Thread: the one of the Env it was made
// with.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
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

// A piece of a reply while it is being made. Pieces of one kind are to be joined in the order of their
// coming.
struct ModelDelta {
  enum class Kind : unsigned char { text, reasoning, tool_call };
  Kind kind = Kind::text;
  std::string text;  // Of the text, of the reasoning, or of the call's arguments.
  // Of a tool call: its place in the reply; id and name come with its first piece.
  std::size_t call = 0;
  std::string call_id;
  std::string call_name;
};

// The messages of a request. A copy costs nothing, however long the list is: a context of hundreds of
// messages goes to the model in every step, and from one step to the next a few are added.
class MessageList {
 public:
  using Messages = std::vector<std::shared_ptr<const Message>>;

  MessageList() = default;
  MessageList(std::initializer_list<std::shared_ptr<const Message>> messages)
      : messages_(std::make_shared<Messages>(messages)) {}

  auto begin() const { return messages_->begin(); }
  auto end() const { return messages_->end(); }
  auto rbegin() const { return messages_->rbegin(); }
  auto rend() const { return messages_->rend(); }
  std::size_t size() const { return messages_->size(); }
  bool empty() const { return messages_->empty(); }
  const std::shared_ptr<const Message>& operator[](std::size_t i) const { return (*messages_)[i]; }
  const std::shared_ptr<const Message>& back() const { return messages_->back(); }
  // Other copies keep what they had.
  void push_back(std::shared_ptr<const Message> message) {
    if (messages_.use_count() > 1) messages_ = std::make_shared<Messages>(*messages_);
    messages_->push_back(std::move(message));
  }

 private:
  std::shared_ptr<Messages> messages_ = std::make_shared<Messages>();
};

struct ModelRequest {
  std::string model;  // Handle: provider/name.
  std::string system;
  MessageList messages;              // The context window without its system message.
  std::int64_t messages_tokens = 0;  // tokens_of() all of them.
  std::vector<ModelTool> tools;
  std::string tool_choice;  // "auto", "required", "none", or the name of the one tool to call.
  std::string settings =
      "{}";  // JSON object: the agent's model_settings (temperature, max_output_tokens ..).
  // Called for every piece of the reply, if it is set: ask the provider to stream then. It must not block.
  std::function<void(const ModelDelta&)> on_delta;
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

// A model that agents may name, as GET /v1/models/ lists it.
struct ModelInfo {
  std::string handle;         // provider/name
  std::string provider_type;  // "openai", "ollama", ...
  std::string endpoint;       // Base URL; empty for what runs in this process.
  std::int64_t context_window = 128'000;
  bool embedding = false;
  std::int64_t embedding_dim = 0;
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
  // The same with what is known of each, embedding models too.
  virtual std::vector<ModelInfo> models() const {
    std::vector<ModelInfo> known;
    for (std::string& handle : handles()) {
      ModelInfo info;
      info.provider_type = handle.substr(0, handle.find('/'));
      info.handle = std::move(handle);
      known.push_back(std::move(info));
    }
    return known;
  }
  // False for a model that cannot sum up a conversation; its agents' contexts are trimmed instead.
  virtual bool summarizes(std::string_view /*handle*/) const { return true; }
  // What a provider would be sent: the body of a chat completions request. Asks nobody.
  virtual std::string payload(const ModelRequest& request) const;
  // An Error only when this process cannot even ask (shutting down).
  virtual Task<ModelOutcome> complete(ModelRequest request, MonoTime deadline) = 0;
};

}  // namespace varve
