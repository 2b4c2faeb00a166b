// CommandSender: brings a command to the owner of its stream, wherever that is, and its answer back. It may
// send the same id again to a new owner until the deadline.
#pragma once

#include "actors/command.h"
#include "runtime/task.h"
#include "runtime/time.h"

namespace varve {

// How long a caller waits, and whether it has gone: a command whose caller has gone is dropped before it is
// decided.
struct CallLimits {
  MonoTime deadline = kNever;
  // For what starts or follows a turn: answer when it ends, or as soon as it is open, with its channel.
  enum class Turn : unsigned char { ended, opened };
  Turn turn = Turn::ended;
};

class CommandSender {
 public:
  CommandSender() = default;
  CommandSender(const CommandSender&) = delete;
  CommandSender& operator=(const CommandSender&) = delete;
  virtual ~CommandSender() = default;

  // Errors: what the actor refused (invalid_argument, not_found, conflict, resource_exhausted), unavailable
  // (certainly not applied; retry), outcome_unknown (the deadline came first), corrupt (the stream is
  // damaged).
  virtual Task<CommandAnswer> send(CommandEnvelope envelope, CallLimits limits) = 0;
};

}  // namespace varve
