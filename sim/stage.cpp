#include "sim/stage.h"

namespace varve::sim {
namespace {

constexpr std::chrono::milliseconds kDownTime{20};

boost::asio::awaitable<Response> handled(Node& node, ProjectionRoutes* projections, Request request) {
  const bool rebuilds = projections != nullptr && ProjectionRoutes::serves(request.target);
  return rebuilds ? projections->handle(std::move(request)) : node.handle(std::move(request));
}

Task<> serve(Node& node, ProjectionRoutes* projections, Request request,
             std::shared_ptr<OneShot<Response>> answer, SimEnv& client) {
  Response response = co_await handled(node, projections, std::move(request));
  // The client reads a stream to its end; what it got is whole or nothing.
  while (response.events) {
    const auto piece = co_await response.events->next();
    if (!piece) {
      response.events.reset();
    } else {
      response.body += *piece;
    }
  }
  // The answer travels to the client's incarnation, which outlives the node's.
  client.post([answer, response = std::move(response)] { answer->set(response); });
  co_return ok();
}

}  // namespace

void Stage::reboot_later() {
  client().call_at(client().now() + kDownTime, [this] {
    if (!up()) boot();
  });
}

Task<Response> Stage::request(Request request, Duration patience) {
  const auto node = running();
  if (!node) co_return Error{Errc::unavailable, "connection refused"};
  auto answer = std::make_shared<OneShot<Response>>();
  node->env.spawn("request", serve(node->node, node->projections, std::move(request), answer, client()));
  const MonoTime deadline = client().now() + patience;
  co_return co_await answer->get(client(), deadline);
}

Task<Exchange> Stage::exchange(std::size_t /*node*/, Request request, Duration patience) {
  auto response = co_await this->request(std::move(request), patience);
  Exchange came;
  if (response) {
    came.end = Exchange::End::whole;
    came.status = response->status;
    came.headers = std::move(response->headers);
    came.body = std::move(response->body);
  }
  co_return came;
}

}  // namespace varve::sim
