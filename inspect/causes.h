// Causes: why a command came to a stream. The log does not say it in words, but holds it: what a turn does
// names its run, and the id of a memory tool's edit is made of turn, step and call (tool_intent() in
// actors/memory_tools.h), so whoever has read the reply with the call knows the edit when it comes. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "eventlog/record.h"

namespace varve {

struct Cause {
  enum class Kind : unsigned char {
    client,     // A request of a client (its id may be known).
    turn,       // A turn of an agent, opened by a client.
    tool_call,  // A call in a model's reply, in a turn.
    server,     // A node: claims, rulings, what no request asked for.
  };
  Kind kind = Kind::server;
  std::string request_id;
  std::string run_id;                    // Of the turn.
  std::optional<LogPosition> opened_at;  // Where the turn was opened; nothing: not in what was read.
  std::string opened_by;                 // The command that opened it, as 32 digits.
  std::string tool;                      // What was called,
  std::string tool_call_id;
  std::string message_id;  // in which reply,
  std::optional<LogPosition> called_at;
};
const char* to_string(Cause::Kind kind);
// "tool call core_memory_replace (call_1) in message-.. at 1:8, run-.. opened at 1:6, request ..".
std::string describe(const Cause& cause);
void write_cause(JsonWriter& out, const Cause& cause);

class Causes {
 public:
  // Remembers what may cause others. Records are noted in the order of their partitions, admitted ones only.
  void note(const Record& record, LogPosition position);
  // `event` is the commit's first; null if it cannot be read.
  Cause of(const CommandRef& command, const Event* event) const;

 private:
  struct Run {
    LogPosition at;
    CommandId command;
    std::string request_id;
  };
  struct Call {
    LogPosition at;
    std::string run_id;
    std::string message_id;
    ToolCall call;  // Without its arguments.
  };
  // The newest reply of an agent that called tools: an approval lets its calls run in a later turn.
  struct Reply {
    LogPosition at;
    Message message;  // Without its texts.
  };
  void note_calls(const Reply& reply, const std::string& run_id);
  void tell_of_turn(Cause& cause, const std::string& run_id) const;

  std::map<std::string, Run> runs_;
  std::map<CommandId, Call> calls_;
  std::map<StreamId, Reply> replies_;
};

// The turn that an event belongs to; empty: none.
std::string run_of(const Event& event);

}  // namespace varve
