#include "sim/rebuilder.h"

#include "api/projection_routes.h"
#include "runtime/json.h"
#include "runtime/suspend.h"

namespace varve::sim {
namespace {

constexpr Track kTrack{Domain::workload, kTracksOfDomain - 1};  // Clients count from the other end.
constexpr std::uint64_t kPauseUs = 1'000'000;
constexpr std::chrono::milliseconds kLookEvery{150};
constexpr std::uint64_t kLooksBeforeEnd = 8;

std::string member(const Response& response, std::string_view key) {
  const auto body = Json::parse(response.body);
  const Json* found = body ? body->find(key) : nullptr;
  return found != nullptr && found->is_string() ? found->as_string() : "";
}

std::int64_t number(const Response& response, std::string_view key) {
  const auto body = Json::parse(response.body);
  const Json* found = body ? body->find(key) : nullptr;
  return found != nullptr && found->is_number() ? found->as_integer().value_or(0) : 0;
}

}  // namespace

std::uint64_t Rebuilder::choose(std::uint64_t bound) {
  return site_.choices.choose(kTrack, bound);
}

void Rebuilder::start() {
  site_.env.spawn("rebuilder", work(this));
}

Task<> Rebuilder::work(Rebuilder* self) {
  while (!self->settling_) {
    const std::uint64_t pause_us = self->site_.choices.spread(kTrack, kPauseUs);
    co_await sleep_for(self->site_.env, std::chrono::microseconds{pause_us});
    if (self->settling_) break;
    ignore_error(co_await self->rebuild(), "it is tried again");
  }
  // The server is well: what is left of a rebuild can be finished.
  const bool once_more = self->choose(2) == 1;
  while (self->open_ || once_more) {
    const Status done = co_await self->rebuild();
    if (done && !self->open_) break;
    co_await sleep_for(self->site_.env, kLookEvery);
  }
  self->done_ = true;
  co_return ok();
}

Task<Response> Rebuilder::ask(std::string method, std::string body) {
  Request request;
  request.method = std::move(method);
  request.target = std::string{kRebuildPath};
  request.body = std::move(body);
  return site_.ask(std::move(request));
}

Task<> Rebuilder::rebuild() {
  const std::string body = R"({"jobs":)" + std::to_string(1 + choose(3)) + R"(,"grace_seconds":)" +
                           std::to_string(choose(2)) + "}";
  const bool ends_it = choose(3) == 2 && !settling_;
  auto begun = co_await ask("POST", body);
  if (!begun) co_return begun.error();
  // 409: one is under way, which this client does not remember.
  if (begun->status != 200 && begun->status != 409) co_return Error{Errc::unavailable, begun->body};
  site_.counters.add("sometimes.rebuild.begun");
  if (open_) site_.counters.add("sometimes.rebuild.begun_again");
  open_ = true;
  co_return co_await follow(ends_it);
}

Task<> Rebuilder::follow(bool ends_it) {
  std::uint64_t looks = ends_it ? 1 + choose(kLooksBeforeEnd) : 0;
  bool resumed = false;
  for (;;) {
    co_await sleep_for(site_.env, kLookEvery);
    if (ends_it && (--looks == 0 || settling_)) co_return co_await end_it();
    auto told = co_await ask("GET", "");
    if (!told || told->status != 200) co_return Error{Errc::unavailable, "the server does not answer"};
    const std::string state = member(*told, "state");
    state_ = "a rebuild is " + state + ", " + member(*told, "phase") + " " + member(*told, "error");
    if (number(*told, "resumed_at") > 0 && !resumed) {
      resumed = true;
      site_.counters.add("sometimes.rebuild.went_on");
    }
    if (state == "running") continue;
    if (state != "done") co_return Error{Errc::unavailable, state_};  // It failed, or the server is another.
    open_ = false;
    site_.counters.add("sometimes.rebuild.done");
    look_for_rest("when a rebuild was done", Rest::all);
    co_return ok();
  }
}

Task<> Rebuilder::end_it() {
  auto ended = co_await ask("DELETE", "");
  if (!ended) co_return ended.error();
  if (ended->status != 200) co_return Error{Errc::unavailable, ended->body};
  open_ = false;
  site_.counters.add("sometimes.rebuild.ended");
  const auto body = Json::parse(ended->body);
  const Json* removed = body ? body->find("removed") : nullptr;
  if (removed != nullptr && removed->is_boolean() && removed->as_boolean()) {
    site_.counters.add("sometimes.rebuild.ended_half_way");
  }
  look_for_rest("when a rebuild was ended", Rest::newer);
  co_return ok();
}

void Rebuilder::look_for_rest(const std::string& when, Rest rest) {
  for (const std::string& file : site_.left_over(rest)) broken_.push_back(when + " " + file + " was left");
}

}  // namespace varve::sim
