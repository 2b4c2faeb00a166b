// QuarantineRoutes: streams that wait at an event which could not be folded, for operators. What waits and
// why, what a retry and a skip would do, and doing it:
//
//   GET  /v1/varve/quarantine                  {"streams":[..]}
//   GET  /v1/varve/quarantine/{stream}         the same of one stream, with the event as the log holds it
//   POST /v1/varve/quarantine/{stream}/retry   folds what waits with the present program
//   POST /v1/varve/quarantine/{stream}/skip    {"position":"1:88","event":0}: writes a ruling into the log
//
// A skip names the event that it is about, so that nobody agrees to another one than he was shown; the owner
// of the partition writes the ruling, wherever it is. Both say what has become of the stream. Never: a change
// without being asked for it by POST. Thread: the Env's. Lifetime: outlives its requests.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "actors/command_sender.h"
#include "api/http.h"
#include "eventlog/event_log.h"
#include "projections/view_progress.h"
#include "projections/view_store.h"

namespace varve {

inline constexpr std::string_view kQuarantinePath = "/v1/varve/quarantine";

// A parked stream: the event at which it stopped, and what has come of it since.
struct ParkedStream {
  StreamId stream;
  Partition partition;
  Offset offset;           // Of the record that holds the event.
  std::int64_t event = 0;  // Its ordinal among the record's events of the stream.
  std::string type;
  std::string reason;
  WallTime at;
  std::vector<QuarantineRow> behind;  // Records that wait, oldest first.
};
// One per stream, ordered by partition, offset and stream. Pure.
std::vector<ParkedStream> parked_streams(std::vector<QuarantineRow> rows);

// One sentence each, for people who are about to agree to it. Pure.
std::string retry_consequence(const ParkedStream& parked);
std::string skip_consequence(const ParkedStream& parked);

class QuarantineRoutes {
 public:
  static constexpr Duration kTime = std::chrono::seconds{60};
  static constexpr Duration kViewWaitMax = std::chrono::seconds{5};
  static constexpr std::size_t kBehindShown = 100;
  static constexpr std::size_t kEventBytesShown = std::size_t{64} << 10U;

  struct Ports {
    EventLog& log;
    ViewStore& views;
    ViewProgress& progress;
    CommandSender& sender;
  };
  QuarantineRoutes(Env& env, Ports ports) : env_(env), ports_(ports) {}

  // Whether the target of a request is one of these routes.
  static bool serves(std::string_view target);
  // Always answers; never throws.
  boost::asio::awaitable<Response> handle(Request request);

 private:
  using Answer = boost::asio::awaitable<Response>;
  Answer route(Request request);
  Answer list();
  Answer show(StreamId stream);
  Answer retry_stream(StreamId stream);
  Answer skip(StreamId stream, std::string body);
  Answer skipped(StreamId stream, CommandAnswer answer);
  Task<std::vector<ParkedStream>> look();
  // Errc::not_found if it is not parked.
  Task<ParkedStream> find(StreamId stream);
  // The event as JSON: {"version":..,"data":..,"why":..}
  Task<std::string> event_of(ParkedStream parked);

  Env& env_;
  Ports ports_;
};

}  // namespace varve
