// Network: exchanges between named places ("node-1", "client-2"). An exchange is a request and its answer,
// which comes whole or piece by piece. Messages are late, lost, and overtake those of other exchanges;
// connections are reset before the request came, after it, or in the middle of an answer; links are cut or
// clogged in one direction alone.
//
// Promises: pieces of one answer arrive in their order, and none behind one that was lost. What was refused
// was certainly not delivered and will not be. Requests are handled by tasks of the incarnation that listens;
// nothing of a dead incarnation is asked any more, and nothing arrives at one. What had left a server before
// it died arrives: it is on the wire.
//
// Never: a fault while all rates are 0 and all links are open, except for what a dead or absent server is.
// Lifetime: outlives its listeners and callers.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/http.h"
#include "runtime/sync.h"
#include "sim/counters.h"
#include "sim/scheduler.h"

namespace varve::sim {

// The place that a URL leads to: "http://node-1:8283/x" -> "node-1".
std::string place_of(std::string_view url);

// In place of a name where links are cut and clogged: every place.
inline constexpr std::string_view kEverybody = "*";

class Network {
 public:
  struct Faults {
    std::uint32_t lost_ppm = 0;       // A message never comes; who waits for it waits until the deadline.
    std::uint32_t late_ppm = 0;       // It takes up to late_us longer.
    std::uint32_t duplicate_ppm = 0;  // A request between nodes comes twice.
    std::uint32_t reset_ppm = 0;      // The connection breaks at some moment of the exchange.
    std::uint32_t silent_ppm = 0;     // A server's end resets no connections: its machine has gone, too.
    std::uint64_t delay_us = 0;       // The longest that an ordinary message takes besides kTrip.
    std::uint64_t late_us = 0;
  };
  static constexpr Duration kTrip = std::chrono::microseconds{50};
  // How much of an answer may be on its way before its sender waits for the reader, and how long it waits.
  static constexpr std::size_t kPiecesUnreadMax = 8;
  static constexpr Duration kStallTime = std::chrono::seconds{60};

  // What reaches a caller, in this order: one `whole`, or `head`, `piece` .., `end`. Or it ends early.
  struct Arrival {
    enum class Kind : unsigned char {
      whole,    // The answer with its body.
      head,     // Its status and headers; pieces follow.
      piece,    // In `response.body`.
      end,      // There are no more pieces.
      reset,    // The connection broke.
      refused,  // Nobody listens, or there is no way: certainly not delivered.
      lost,     // Inside the network only.
    };
    Kind kind = Kind::lost;
    Response response;
  };

 private:
  struct Flight;

 public:
  // The caller's end of an exchange. Dropping it is leaving: the server learns of it when it sends.
  class Caller {
   public:
    Caller(Network& network, SimEnv& env, std::shared_ptr<Flight> flight);

    // What comes next. Errc::unavailable at the deadline, by the caller's clock.
    Task<Arrival> next(MonoTime deadline);
    // False: the request was certainly not delivered, and will not be.
    bool sent() const;

   private:
    friend class Network;
    Network& network_;
    SimEnv& env_;
    std::shared_ptr<Flight> flight_;
    std::deque<Arrival> arrived_;
    Notifier changed_;
  };

  // A server's ear. Its end is the end of its connections.
  class Listening {
   public:
    Listening(Network& network, std::uint64_t id) : network_(network), id_(id) {}
    Listening(const Listening&) = delete;
    Listening& operator=(const Listening&) = delete;
    ~Listening() { network_.unlisten(id_); }

   private:
    Network& network_;
    std::uint64_t id_;
  };

  // `world` is an incarnation that never dies.
  Network(Scheduler& scheduler, SimEnv& world, Counters& counters);
  ~Network();

  void set_faults(const Faults& faults) { faults_ = faults; }
  const Faults& faults() const { return faults_; }

  // Nothing that `from` sends arrives at `to`, nor what is on its way. The other direction stays as it is.
  void cut(std::string_view from, std::string_view to);
  void mend(std::string_view from, std::string_view to);
  bool is_cut(std::string_view from, std::string_view to) const;
  // What `from` sends to `to` waits until unclog().
  void clog(std::string_view from, std::string_view to);
  void unclog(std::string_view from, std::string_view to);
  // Mends and unclogs every link. Rates of faults stay.
  void heal();

  // Answers what comes to `url`, in tasks on `env`, until the handle or the incarnation ends. Of several
  // listeners at one URL the newest that lives gets everything.
  std::unique_ptr<Listening> listen(std::string url, SimEnv& env, Handler handler);
  // Begins an exchange. `repeatable`: the request may be delivered more than once.
  std::shared_ptr<Caller> open(SimEnv& caller, std::string from, std::string url, Request request,
                               bool repeatable);

  // The world's time, for histories.
  MonoTime now() const { return scheduler_.now(); }
  Choices& choices() { return scheduler_.choices(); }
  Counters& counters() { return counters_; }

 private:
  using Link = std::pair<std::string, std::string>;
  using Links = std::set<Link>;
  struct Listener {
    std::string url;
    SimEnv& env;
    Handler handler;
    std::vector<std::weak_ptr<Flight>> serving;
  };

  void unlisten(std::uint64_t id);
  Listener* listener_at(const std::string& url);
  static bool holds(const Links& links, std::string_view from, std::string_view to);
  // What happens to what `sender` sends decides on the tracks of that sender.
  bool chance(std::string_view sender, std::uint32_t ppm, std::string_view fault);
  Duration delay(std::string_view sender);
  // False: the link is cut, or the message is lost.
  bool takes(const Link& link);
  // Takes a message that was not lost over the link; false for `arrived` if the link was cut meanwhile.
  void carry(Link link, std::function<void(bool arrived)> arrive);
  void release();
  // True if the exchange ends because of a cut link; what the caller learns is under way.
  bool obstructed(const std::shared_ptr<Flight>& flight);
  void plan_reset(Flight& flight);
  void deliver(const std::shared_ptr<Flight>& flight);
  // Sends the caller something that is not the server's.
  void tell(const std::shared_ptr<Flight>& flight, Arrival::Kind kind);
  void answer(const std::shared_ptr<Flight>& flight, Arrival arrival);
  void send(const std::shared_ptr<Flight>& flight, Arrival arrival);
  void arrived(const std::shared_ptr<Flight>& flight, bool came);
  void taken(const std::shared_ptr<Flight>& flight);
  void trace(const Flight& flight, std::string_view what);
  static Task<> serve(Network* network, SimEnv* env, std::shared_ptr<Flight> flight, Handler handler);
  static Task<> stream(Network* network, SimEnv* env, std::shared_ptr<Flight> flight,
                       std::shared_ptr<EventSource> events);

  Scheduler& scheduler_;
  SimEnv& world_;
  Counters& counters_;
  Faults faults_;
  Links cuts_;
  Links clogs_;
  std::vector<std::pair<Link, std::function<void(bool)>>> held_;  // Behind clogged links, oldest first.
  std::map<std::uint64_t, Listener> listeners_;                   // By id: the newest is the last.
  std::uint64_t next_id_ = 1;
};

}  // namespace varve::sim
