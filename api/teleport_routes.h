// TeleportRoutes: agents with their whole history, from one log to another, for operators (docs/teleport.md):
//
//   GET  /v1/varve/teleport/export?agents=ID,ID..   an archive (inspect/teleport_archive.h), as it is made;
//   GET  /v1/varve/teleport/export?all=true         every agent and block
//   POST /v1/varve/teleport/import                  one piece of an archive:
//     {"stream":"agent-.."}                                   how far it is here: teleport_json()
//     {"stream":"..","append":{"first":1,"chain":"","events":[..]}}
//     {"stream":"..","seal":{"events":N,"chain":".."}}        from now on it is there
//     {"tool":{..},"look":true}                               {"id":".."} of the equal one here, or 409
//     {"tool":{..}}                                           the same, and it is made if there is none
//   POST /v1/varve/teleport/move                    {"agent":"..","place":"http://..","events":N}
//
// A piece that has taken effect changes nothing when it comes again. Every piece is checked for itself and
// against what is there; whether an archive is whole and undamaged is for its sender to know before the
// first. One export at a time: others are answered 429. Thread: the Env's. Lifetime: outlives its requests.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "actors/command_sender.h"
#include "api/http.h"
#include "eventlog/event_log.h"
#include "projections/view_progress.h"

namespace varve {

inline constexpr std::string_view kTeleportExportPath = "/v1/varve/teleport/export";
inline constexpr std::string_view kTeleportImportPath = "/v1/varve/teleport/import";
inline constexpr std::string_view kTeleportMovePath = "/v1/varve/teleport/move";

class TeleportRoutes {
 public:
  static constexpr Duration kTime = std::chrono::seconds{60};
  static constexpr Duration kViewWaitMax = std::chrono::seconds{30};
  static constexpr Duration kNewestWaitMax = std::chrono::seconds{5};  // For a log that lags behind its end.
  static constexpr std::size_t kAgentsMax = 1'000;                     // Of one request that names them.

  struct Ports {
    EventLog& log;
    ViewProgress& progress;
    CommandSender& sender;
  };
  TeleportRoutes(Env& env, Ports ports) : env_(env), ports_(ports) {}

  // Whether the path of a request is one of these.
  static bool serves(std::string_view path);
  // Always answers; never throws.
  boost::asio::awaitable<Response> handle(Request request);

 private:
  using Answer = boost::asio::awaitable<Response>;
  Answer export_archive(Target target);
  Answer take_piece(std::string body);
  Answer take_stream(StreamId stream, Json piece);
  Answer take_tool(Json piece);
  Answer look_for_tool(ToolValue tool);
  Answer move(std::string body);
  Answer settled(CommandAnswer answer, std::string json);
  Task<CommandAnswer> send(StreamId stream, Command command, std::string what);

  Env& env_;
  Ports ports_;
  std::shared_ptr<bool> busy_ = std::make_shared<bool>(false);
};

}  // namespace varve
