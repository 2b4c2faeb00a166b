// ScriptedModel: says what a script tells it, for tests, also in the real binary (--model-script FILE).
//
//   {"replies":[{"match":"text in the last user message","times":1,"delay_ms":500,"text":"..",
//                "tool_calls":[{"name":"memory_insert","arguments":{..}}],"then":"text after the tool
//                results", "error":{"status":500,"message":".."},"echo_context":true}, ..],
//    "default":{"text":".."},"summarizes":true}
//
// A caller that wants a stream gets the text word by word, "token_delay_ms" apart.
//
// The first entry whose `match` occurs and that has not been used `times` times is taken. Without a match and
// a default it echoes. It serves every handle of EchoModel and "varve/scripted".
#pragma once

#include <map>
#include <memory>

#include "actors/model_client.h"
#include "runtime/env.h"

namespace varve {

class ScriptedModel final : public ModelClient {
 public:
  // Errc::invalid_argument says where the script does not fit.
  static Result<std::unique_ptr<ScriptedModel>> parse(Env& env, std::string_view script);

  bool serves(std::string_view handle) const override;
  std::vector<std::string> handles() const override;
  bool summarizes(std::string_view /*handle*/) const override { return summarizes_; }
  Task<ModelOutcome> complete(ModelRequest request, MonoTime deadline) override;

  // Model calls so far.
  std::size_t calls() const { return calls_; }

 private:
  struct Reply {
    std::string match;
    std::int64_t times = -1;  // -1 = always.
    std::int64_t delay_ms = 0;
    std::int64_t token_delay_ms = 0;
    std::optional<std::string> text;
    std::vector<ToolCall> tool_calls;
    std::string then;
    std::optional<ModelFailure> error;
    bool echo_context = false;
  };
  explicit ScriptedModel(Env& env) : env_(env) {}
  using DeltaSink = std::function<void(const ModelDelta&)>;
  Task<ModelOutcome> spoken(ModelOutcome outcome, DeltaSink on_delta, std::int64_t pause_ms);
  static Result<Reply> parse_reply(const Json& json, std::size_t number);
  ModelOutcome answer(const Reply& reply, const ModelRequest& request) const;

  Env& env_;
  std::vector<Reply> replies_;
  std::optional<Reply> default_;
  std::size_t calls_ = 0;
  bool summarizes_ = false;
};

}  // namespace varve
