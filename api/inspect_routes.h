// InspectRoutes: what happened, for operators:
//
//   GET /v1/varve/explain?row=ROW[&field=FIELD]                 explanation_json() of inspect/explain.h
//   GET /v1/varve/bisect?where=EXPR[&about=ID][&good=CUT][&bad=CUT][&first=true]
//                                                               bisect_json() of inspect/bisect_log.h
//
// Both play the log again beside the work of the server, in memory: one at a time (429), and only while the
// log is short (409; `varve explain` and `varve bisect` do the same in a process of their own). They write
// nothing. Thread: the Env's. Lifetime: outlives its requests.
#pragma once

#include <memory>
#include <string_view>

#include "api/http.h"
#include "eventlog/event_log.h"

namespace varve {

inline constexpr std::string_view kExplainPath = "/v1/varve/explain";
inline constexpr std::string_view kBisectPath = "/v1/varve/bisect";
// Sum of the partitions' ends; offsets do not count records, but there are no more than that.
inline constexpr std::uint64_t kInspectRecordsMax = 200'000;

class InspectRoutes {
 public:
  InspectRoutes(Env& env, EventLog& log, std::uint64_t records_max)
      : env_(env), log_(log), records_max_(records_max) {}

  // Whether the target of a request is one of these routes.
  static bool serves(std::string_view target);
  // Always answers; never throws.
  boost::asio::awaitable<Response> handle(Request request);

 private:
  using Answer = boost::asio::awaitable<Response>;
  Answer route(Request request);
  Answer explained(Target target);
  Answer bisected(Target target);
  // Errc::conflict: the log is too long for this.
  Task<> check_length();

  Env& env_;
  EventLog& log_;
  std::uint64_t records_max_;
  std::shared_ptr<bool> busy_ = std::make_shared<bool>(false);
};

}  // namespace varve
