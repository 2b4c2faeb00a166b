#include "sim/sim_transport.h"

namespace varve::sim {

namespace {

// Beside the node's HTTP routes, at the same place.
std::string inner_door(const std::string& url) {
  return url + "#nodes";
}

}  // namespace

SimTransport::SimTransport(SimEnv& env, Network& network, std::string url)
    : env_(env), network_(network), url_(std::move(url)) {}

Task<std::string> SimTransport::call(std::string url, std::string request, MonoTime deadline) {
  if (env_.now() >= deadline) co_return Error{Errc::unavailable, "the deadline has passed"};
  Request wrapped;
  wrapped.method = "CALL";
  wrapped.target = "/";
  wrapped.body = std::move(request);
  const auto caller =
      network_.open(env_, place_of(url_), inner_door(url), std::move(wrapped), /*repeatable=*/true);
  auto came = co_await caller->next(deadline);
  if (!came && !caller->sent()) co_return Error{Errc::unavailable, "there is no way to " + url};
  if (!came) co_return Error{Errc::outcome_unknown, url + " gave no answer before the deadline"};
  if (came->kind == Network::Arrival::Kind::refused) {
    co_return Error{Errc::unavailable, url + " refused the connection"};
  }
  if (came->kind != Network::Arrival::Kind::whole) {
    co_return Error{Errc::outcome_unknown, "the connection to " + url + " broke"};
  }
  if (came->response.status != 200) {
    co_return Error{Errc::outcome_unknown, url + " failed: " + came->response.body};
  }
  co_return std::move(came->response.body);
}

boost::asio::awaitable<Response> SimTransport::answer(Handler handler, std::string request) {
  auto said = co_await handler(std::move(request));
  Response response;
  if (said) {
    response.body = std::move(*said);
  } else {
    response.status = 500;
    response.body = to_string(said.error());
  }
  co_return response;
}

void SimTransport::serve(Handler handler) {
  CHECK(listening_ == nullptr);
  listening_ = network_.listen(inner_door(url_), env_, [handler = std::move(handler)](Request request) {
    return answer(handler, std::move(request.body));
  });
}

}  // namespace varve::sim
