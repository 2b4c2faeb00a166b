// SimTransport: requests between nodes over the simulated network. It belongs to one incarnation.
//
// Promises: Errc::unavailable only for what was certainly not delivered and will not be; everything else
// without an answer is Errc::outcome_unknown. A request may be handled twice, or long after its caller has
// given up; of two answers the first one counts.
#pragma once

#include <memory>
#include <string>

#include "cluster/transport.h"
#include "sim/network.h"

namespace varve::sim {

class SimTransport final : public Transport {
 public:
  // `url` is where the others find this node. Both `env` and `network` outlive it.
  SimTransport(SimEnv& env, Network& network, std::string url);

  Task<std::string> call(std::string url, std::string request, MonoTime deadline) override;
  void serve(Handler handler) override;

 private:
  static boost::asio::awaitable<Response> answer(Handler handler, std::string request);

  SimEnv& env_;
  Network& network_;
  std::string url_;
  std::unique_ptr<Network::Listening> listening_;
};

}  // namespace varve::sim
