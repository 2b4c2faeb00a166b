// ProjectionRoutes: the views themselves, for operators: how far they are, and making them anew.
//
//   GET    /v1/varve/projections           projection_json() of projections/status.h
//   GET    /v1/varve/projections/rebuild   {"state":"none|running|failed|done","phase":..,"generation":..}
//   POST   /v1/varve/projections/rebuild   {"jobs":2,"grace_seconds":30}: begins one, or goes on with one
//   DELETE /v1/varve/projections/rebuild   ends it and removes what it has made: {"removed":true}
//
// One rebuild at a time: a second one is answered 409. It goes on when nobody asks for it any more, and ends
// with the server; the next POST goes on with what is there. Thread: the Env's. Lifetime: outlives its
// requests.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "api/http.h"
#include "projections/rebuild.h"

namespace varve {

inline constexpr std::string_view kProjectionsPath = "/v1/varve/projections";
inline constexpr std::string_view kRebuildPath = "/v1/varve/projections/rebuild";

class ProjectionRoutes {
 public:
  static constexpr std::int64_t kJobsMax = 64;
  static constexpr std::int64_t kGraceMax = 86'400;

  struct Ports {
    EventLog& log;
    ViewStore& views;
    Generations& generations;
    // Of a rebuild's batch: beside a server's own commits, which share its lane.
    std::size_t batch_changes = 1'000;
  };
  ProjectionRoutes(Env& env, Ports ports) : env_(env), ports_(ports) {}

  // Whether the path of a request is one of these.
  static bool serves(std::string_view path);
  // Always answers; never throws.
  boost::asio::awaitable<Response> handle(Request request);

 private:
  using Answer = boost::asio::awaitable<Response>;
  Answer status();
  Response begin(const std::string& body);
  Response progress() const;
  Answer abort();
  Task<> run(std::shared_ptr<Rebuild> rebuild);

  Env& env_;
  Ports ports_;
  std::shared_ptr<Rebuild> rebuild_;  // The newest one.
  std::optional<Status> outcome_;     // Of that, when it has ended.
  MonoTime ended_;
  Notifier end_;
};

}  // namespace varve
