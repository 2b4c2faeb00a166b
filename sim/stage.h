// Stage: where a story is played: a server that can be crashed and booted, and a client that outlives it. The
// base class is the direct one: a client beside one node, on a network that loses a request with the node.
#pragma once

#include <memory>
#include <optional>

#include "api/node.h"
#include "api/projection_routes.h"
#include "sim/sim_client.h"

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
  // Boots the node after a short time, unless somebody else has.
  void reboot_later();

  // How many nodes may be asked.
  virtual std::size_t nodes() const { return 1; }
  // One request from the client to one of them. Never an Error.
  virtual Task<Exchange> exchange(std::size_t node, Request request, Duration patience);
  // The same with the one node. Errc::unavailable if there is no node or no answer within `patience`.
  Task<Response> request(Request request, Duration patience);

 protected:
  struct Running {
    Env& env;
    Node& node;
    ProjectionRoutes* projections = nullptr;  // Null: there is nothing to rebuild.
  };
  // For request(): a stage with an exchange() of its own needs none.
  virtual std::optional<Running> running() { return std::nullopt; }
};

}  // namespace varve::sim
