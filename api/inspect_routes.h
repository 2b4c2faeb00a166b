// InspectRoutes: what happened, for operators:
//
//   GET /v1/varve/explain?row=ROW[&field=FIELD]                 explanation_json() of inspect/explain.h
//   GET /v1/varve/bisect?where=EXPR[&about=ID][&good=CUT][&bad=CUT][&first=true]
//                                                               bisect_json() of inspect/bisect_log.h
//   GET /v1/varve/replay?stream=S|partition=P[&from=OFFSET][&to=OFFSET][&until=EXPR][&limit=N]
//                                                               replay_page_json() of inspect/replay_page.h;
//                                                               `next` is the `from` of the next page
//
// They play the log again beside the work of the server, in memory: one at a time (429), and only while the
// log is short (409; the commands of these names do the same in a process of their own). Without
// `first` bisect asks the views, however long the log is; of a long one the record is shown by itself. They
// write nothing. Thread: the Env's. Lifetime: outlives its requests.
#pragma once

#include <memory>
#include <string_view>

#include "api/http.h"
#include "eventlog/event_log.h"
#include "projections/view_store.h"

namespace varve {

inline constexpr std::string_view kExplainPath = "/v1/varve/explain";
inline constexpr std::string_view kBisectPath = "/v1/varve/bisect";
inline constexpr std::string_view kReplayPath = "/v1/varve/replay";
// Sum of the partitions' ends; offsets do not count records, but there are no more than that.
inline constexpr std::uint64_t kInspectRecordsMax = 200'000;

class InspectRoutes {
 public:
  InspectRoutes(Env& env, EventLog& log, ViewStore& views, std::uint64_t records_max)
      : env_(env), log_(log), views_(views), records_max_(records_max) {}

  // Whether the target of a request is one of these routes.
  static bool serves(std::string_view target);
  // Always answers; never throws.
  boost::asio::awaitable<Response> handle(Request request);

 private:
  using Answer = boost::asio::awaitable<Response>;
  Answer route(Request request);
  Answer explained(Target target);
  Answer bisected(Target target);
  Answer replayed(Target target);
  // Errc::conflict: the log is too long for this.
  Task<> check_length();

  Env& env_;
  EventLog& log_;
  ViewStore& views_;
  std::uint64_t records_max_;
  std::shared_ptr<bool> busy_ = std::make_shared<bool>(false);
};

}  // namespace varve
