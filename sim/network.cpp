#include "sim/network.h"

#include <algorithm>
#include <optional>

namespace varve::sim {

namespace {

constexpr std::uint64_t kMillion = 1'000'000;
// How long a connection is waited for that cannot be made.
constexpr std::uint64_t kConnectLongestUs = 2'000'000;

std::string name_of(Network::Arrival::Kind kind) {
  switch (kind) {
    case Network::Arrival::Kind::whole:
      return "answered";
    case Network::Arrival::Kind::head:
      return "head";
    case Network::Arrival::Kind::piece:
      return "piece";
    case Network::Arrival::Kind::end:
      return "end";
    case Network::Arrival::Kind::reset:
      return "reset";
    case Network::Arrival::Kind::refused:
      return "refused";
    case Network::Arrival::Kind::lost:
      return "lost";
  }
  return "";
}

// Of what a place sends: nodes first, then everybody else.
Track track_of(Domain domain, std::string_view sender) {
  constexpr std::size_t kNodesMax = 8;
  const std::size_t number = number_in(sender);
  return {domain, sender.starts_with("node") ? number % kNodesMax : kNodesMax + number};
}

}  // namespace

std::string place_of(std::string_view url) {
  const std::size_t scheme = url.find("://");
  if (scheme != std::string_view::npos) url.remove_prefix(scheme + 3);
  return std::string(url.substr(0, url.find_first_of(":/?#")));
}

// One exchange. Shared by its caller, by the tasks that serve it, and by what is on its way.
struct Network::Flight {
  enum class Reset : unsigned char { never, before, after, middle };

  std::uint64_t id = 0;
  std::string from;
  std::string to;
  std::string url;
  Request request;
  std::weak_ptr<Caller> caller;

  bool sent = true;        // False: no byte of the request has left, and none will.
  bool delivered = false;  // Some incarnation has got the request.
  bool refused = false;    // The caller is told that nobody has; copies that come later are dropped.
  bool spoken = false;     // Somebody answers; answers to other copies are dropped.
  bool over = false;       // Nothing more reaches the caller.
  bool silent = false;     // What is sent vanishes, and its sender does not know.
  bool left = false;       // The server knows that the caller has gone.
  bool ended = false;      // The server has said everything.
  Reset reset = Reset::never;
  std::size_t reset_after = 0;  // Of Reset::middle: so many things of the answer come through.
  std::deque<Arrival> on_way;   // Of the answer, in order.
  std::size_t unread = 0;       // Sent, and not taken by the caller's task.
  bool sender_waits = false;
  Notifier room;
};

Network::Caller::Caller(Network& network, SimEnv& env, std::shared_ptr<Flight> flight)
    : network_(network), env_(env), flight_(std::move(flight)) {}

Task<Network::Arrival> Network::Caller::next(MonoTime deadline) {
  while (arrived_.empty() && env_.now() < deadline) co_await changed_.wait(env_, deadline);
  if (arrived_.empty()) co_return Error{Errc::unavailable, "the deadline has passed"};
  Arrival first = std::move(arrived_.front());
  arrived_.pop_front();
  network_.taken(flight_);
  co_return first;
}

bool Network::Caller::sent() const {
  return flight_->sent;
}

Network::Network(Scheduler& scheduler, SimEnv& world, Counters& counters)
    : scheduler_(scheduler), world_(world), counters_(counters) {}

Network::~Network() = default;

bool Network::holds(const Links& links, std::string_view from, std::string_view to) {
  if (links.empty()) return false;
  const std::string everybody(kEverybody);
  const std::string sender(from);
  const std::string receiver(to);
  return links.contains({sender, receiver}) || links.contains({sender, everybody}) ||
         links.contains({everybody, receiver}) || links.contains({everybody, everybody});
}

void Network::cut(std::string_view from, std::string_view to) {
  cuts_.emplace(from, to);
  world_.trace("net cut " + std::string(from) + ">" + std::string(to));
}

void Network::mend(std::string_view from, std::string_view to) {
  cuts_.erase({std::string(from), std::string(to)});
  world_.trace("net mend " + std::string(from) + ">" + std::string(to));
}

bool Network::is_cut(std::string_view from, std::string_view to) const {
  return from != to && holds(cuts_, from, to);
}

void Network::clog(std::string_view from, std::string_view to) {
  clogs_.emplace(from, to);
  world_.trace("net clog " + std::string(from) + ">" + std::string(to));
}

void Network::unclog(std::string_view from, std::string_view to) {
  clogs_.erase({std::string(from), std::string(to)});
  world_.trace("net unclog " + std::string(from) + ">" + std::string(to));
  release();
}

void Network::heal() {
  cuts_.clear();
  clogs_.clear();
  world_.trace("net healed");
  release();
}

void Network::release() {
  std::vector<std::pair<Link, std::function<void(bool)>>> held;
  held.swap(held_);
  for (auto& [link, arrive] : held) carry(std::move(link), std::move(arrive));
}

bool Network::chance(std::string_view sender, std::uint32_t ppm, std::string_view fault) {
  if (ppm == 0 || !choices().chance(track_of(Domain::network, sender), ppm, kMillion)) return false;
  counters_.add("fault.network." + std::string(fault));
  return true;
}

Duration Network::delay(std::string_view sender) {
  std::uint64_t longer = choices().spread(track_of(Domain::travel, sender), faults_.delay_us);
  if (chance(sender, faults_.late_ppm, "late"))
    longer += choices().spread(track_of(Domain::network, sender), faults_.late_us);
  return kTrip + std::chrono::microseconds{longer};
}

bool Network::takes(const Link& link) {
  if (is_cut(link.first, link.second)) {
    counters_.add("fault.network.cut");
    return false;
  }
  return !chance(link.first, faults_.lost_ppm, "lost");
}

void Network::carry(Link link, std::function<void(bool)> arrive) {
  const MonoTime at = world_.now() + delay(link.first);
  world_.call_at(at, [this, moved = std::move(link), arrive = std::move(arrive)] {
    if (is_cut(moved.first, moved.second)) {
      counters_.add("fault.network.cut");
      arrive(false);
    } else if (moved.first != moved.second && holds(clogs_, moved.first, moved.second)) {
      counters_.add("fault.network.clogged");
      held_.emplace_back(moved, arrive);
    } else {
      arrive(true);
    }
  });
}

void Network::trace(const Flight& flight, std::string_view what) {
  world_.trace("net " + std::to_string(flight.id) + " " + flight.from + ">" + flight.to + " " +
               std::string(what));
}

std::unique_ptr<Network::Listening> Network::listen(std::string url, SimEnv& env, Handler handler) {
  const std::uint64_t id = next_id_++;
  listeners_.emplace(id, Listener{std::move(url), env, std::move(handler), {}});
  return std::make_unique<Listening>(*this, id);
}

// The connections of whoever listened break, unless its machine has gone with it: then there is silence.
void Network::unlisten(std::uint64_t id) {
  auto gone = listeners_.extract(id);
  for (const auto& weak : gone.mapped().serving) {
    const auto flight = weak.lock();
    if (!flight || flight->ended || flight->over) continue;
    flight->ended = true;
    if (!chance(flight->to, faults_.silent_ppm, "silent")) tell(flight, Arrival::Kind::reset);
  }
}

Network::Listener* Network::listener_at(const std::string& url) {
  for (auto one = listeners_.rbegin(); one != listeners_.rend(); ++one) {
    if (one->second.url == url && one->second.env.alive()) return &one->second;
  }
  return nullptr;
}

std::shared_ptr<Network::Caller> Network::open(SimEnv& caller, std::string from, std::string url,
                                               Request request, bool repeatable) {
  const auto flight = std::make_shared<Flight>();
  flight->id = next_id_++;
  flight->from = std::move(from);
  flight->to = place_of(url);
  flight->url = std::move(url);
  flight->request = std::move(request);
  auto ours = std::make_shared<Caller>(*this, caller, flight);
  flight->caller = ours;
  trace(*flight, "asks " + flight->request.method + " " + flight->request.target);
  if (obstructed(flight)) return ours;
  plan_reset(*flight);
  const Link there{flight->from, flight->to};
  const bool twice = repeatable && chance(there.first, faults_.duplicate_ppm, "duplicate");
  for (int copy = 0; copy < (twice ? 2 : 1); ++copy) {
    if (!takes(there)) continue;
    carry(there, [this, flight](bool came) {
      if (came) deliver(flight);
    });
  }
  return ours;
}

// A connection needs both directions to be made. One that was open before notices a cut only by silence.
bool Network::obstructed(const std::shared_ptr<Flight>& flight) {
  const bool there = is_cut(flight->from, flight->to);
  const bool back = is_cut(flight->to, flight->from);
  if (!there && !back) return false;
  const bool was_open = choices().chance(track_of(Domain::network, flight->from), 1, 2);
  if (was_open) {
    counters_.add(there ? "fault.network.cut" : "sometimes.network.asked_over_a_half_cut_link");
    return there;
  }
  counters_.add("fault.network.unreachable");
  flight->sent = false;
  flight->refused = true;
  const std::uint64_t wait_us = choices().spread(track_of(Domain::network, flight->from), kConnectLongestUs);
  world_.call_at(world_.now() + kTrip + std::chrono::microseconds{wait_us}, [flight, this] {
    const auto caller = flight->caller.lock();
    if (!caller) return;
    trace(*flight, "unreachable");
    caller->arrived_.push_back({Arrival::Kind::refused, {}});
    caller->changed_.notify_all();
  });
  return true;
}

void Network::plan_reset(Flight& flight) {
  if (!chance(flight.from, faults_.reset_ppm, "reset")) return;
  switch (choices().choose(track_of(Domain::network, flight.from), 3)) {
    case 0:
      flight.reset = Flight::Reset::before;
      return;
    case 1:
      flight.reset = Flight::Reset::after;
      return;
    default:
      flight.reset = Flight::Reset::middle;
      flight.reset_after = choices().choose(track_of(Domain::network, flight.from), 6);
  }
}

// In a step of the world: the request has come to the place that it was sent to.
void Network::deliver(const std::shared_ptr<Flight>& flight) {
  if (flight->refused) return;
  if (flight->reset == Flight::Reset::before) {
    tell(flight, Arrival::Kind::reset);
    return;
  }
  Listener* listener = listener_at(flight->url);
  if (listener == nullptr) {
    if (flight->delivered) return;
    flight->sent = false;
    flight->refused = true;
    counters_.add("sometimes.network.refused");
    tell(flight, Arrival::Kind::refused);
    return;
  }
  if (flight->delivered) counters_.add("sometimes.network.delivered_twice");
  flight->delivered = true;
  trace(*flight, "delivered");
  std::erase_if(listener->serving, [](const auto& weak) { return weak.expired(); });
  listener->serving.push_back(flight);
  listener->env.spawn("request", serve(this, &listener->env, flight, listener->handler));
  if (flight->reset == Flight::Reset::after) tell(flight, Arrival::Kind::reset);
}

Task<> Network::serve(Network* network, SimEnv* env, std::shared_ptr<Flight> flight, Handler handler) {
  Request request = flight->request;
  Response response = co_await handler(std::move(request));
  if (flight->spoken) co_return ok();  // Another copy was answered first.
  flight->spoken = true;
  std::shared_ptr<EventSource> events = std::move(response.events);
  if (!events) {
    flight->ended = true;
    network->answer(flight, {Arrival::Kind::whole, std::move(response)});
    co_return ok();
  }
  network->answer(flight, {Arrival::Kind::head, std::move(response)});
  co_return co_await stream(network, env, flight, std::move(events));
}

// Pulls a piece when the one before is on its way and the reader is not too far behind.
Task<> Network::stream(Network* network, SimEnv* env, std::shared_ptr<Flight> flight,
                       std::shared_ptr<EventSource> events) {
  while (!flight->left) {
    auto piece = co_await events->next();
    if (!piece) break;
    Response part;
    part.body = std::move(*piece);
    network->answer(flight, {Arrival::Kind::piece, std::move(part)});
    const MonoTime stalled_at = env->now() + kStallTime;
    flight->sender_waits = true;
    while (flight->unread >= kPiecesUnreadMax && !flight->left && env->now() < stalled_at) {
      co_await flight->room.wait(*env, stalled_at);
    }
    flight->sender_waits = false;
    if (flight->unread >= kPiecesUnreadMax && !flight->left) {
      network->counters_.add("sometimes.network.reader_stalled");
      flight->ended = true;
      network->tell(flight, Arrival::Kind::reset);
      co_return ok();
    }
  }
  if (flight->left) network->counters_.add("sometimes.network.reader_left");
  flight->ended = true;
  network->answer(flight, {Arrival::Kind::end, {}});
  co_return ok();
}

void Network::answer(const std::shared_ptr<Flight>& flight, Arrival arrival) {
  if (flight->silent) ++flight->unread;
  if (flight->over) flight->left = !flight->silent;
  if (flight->over || flight->left) return;
  if (flight->reset == Flight::Reset::middle) {
    const bool whole = arrival.kind == Arrival::Kind::whole;
    if (whole || flight->reset_after == 0) {
      flight->left = true;
      tell(flight, Arrival::Kind::reset);
      return;
    }
    --flight->reset_after;
  }
  send(flight, std::move(arrival));
}

void Network::tell(const std::shared_ptr<Flight>& flight, Arrival::Kind kind) {
  if (!flight->over) send(flight, {kind, {}});
}

void Network::send(const std::shared_ptr<Flight>& flight, Arrival arrival) {
  const Link back{flight->to, flight->from};
  ++flight->unread;
  if (!takes(back)) {
    // What is on its way before it still comes.
    arrival.kind = Arrival::Kind::lost;
  }
  flight->on_way.push_back(std::move(arrival));
  carry(back, [flight, this](bool came) { arrived(flight, came); });
}

// In a step of the world: the next thing of an answer has come, or the link was cut under it.
void Network::arrived(const std::shared_ptr<Flight>& flight, bool came) {
  Arrival first = std::move(flight->on_way.front());
  flight->on_way.pop_front();
  if (flight->over) return;
  if (!came) first.kind = Arrival::Kind::lost;
  trace(*flight, name_of(first.kind));
  if (first.kind == Arrival::Kind::lost) {
    flight->over = true;
    flight->silent = true;
    return;
  }
  const auto caller = flight->caller.lock();
  if (!caller) {
    // It has left or is dead: whoever sends to it is told so.
    counters_.add("sometimes.network.answer_to_nobody");
    flight->over = true;
    flight->left = true;
    flight->room.notify_all();
    return;
  }
  const bool last = first.kind != Arrival::Kind::head && first.kind != Arrival::Kind::piece;
  if (last) flight->over = true;
  caller->arrived_.push_back(std::move(first));
  caller->changed_.notify_all();
}

// The caller's task has read something: who waits to send more hears of it.
void Network::taken(const std::shared_ptr<Flight>& flight) {
  if (flight->unread > 0) --flight->unread;
  if (!flight->sender_waits) return;
  carry({flight->from, flight->to}, [flight](bool came) {
    if (came) flight->room.notify_all();
  });
}

}  // namespace varve::sim
