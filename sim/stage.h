// Stage: where a story is played: one node that can be crashed and booted, and a client that outlives it.
#pragma once

#include <memory>
#include <optional>

#include "api/node.h"
#include "sim/scheduler.h"

namespace varve::sim {

class Stage {
 public:
  Stage() = default;
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;
  virtual ~Stage() = default;

  virtual void boot() = 0;
  // Kills the node; what is not durable is gone.
  virtual void crash() = 0;
  virtual bool up() const = 0;
  virtual SimEnv& client() = 0;

  // One request from the client to the node, over a network that loses it with the node. Errc::unavailable if
  // there is no node or no answer within `patience`.
  Task<Response> request(Request request, Duration patience);

 protected:
  struct Running {
    Env& env;
    Node& node;
  };
  virtual std::optional<Running> running() = 0;
};

}  // namespace varve::sim
