// TeleportClient: what `varve teleport` does, for a client in the simulated world, by the same routes and
// with the same checks, pieces and bodies (inspect/teleport_plan.h): it fetches an archive, checks all of it,
// asks the target how far it is, sends what is not there yet, seals.
//
// Promises: an Error says how the command would end. Errc::unavailable: nobody has answered for long; the
// same again goes on. Errc::cancelled: it was told to die, as if killed. Errc::not_found, Errc::conflict:
// refused, as the routes say (404 or 410, 409). Anything else is a bug of somebody.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "inspect/teleport_plan.h"
#include "sim/sim_client.h"

namespace varve::sim {

// A whole archive, undamaged.
struct FetchedArchive {
  std::vector<ArchiveFrame> frames;
  std::string hash;
  ArchiveHeader header;
  std::vector<ArchiveStream> streams;  // Under their own ids.
};
using ArchivePtr = std::shared_ptr<const FetchedArchive>;

// One that may be sent.
struct TeleportPlan : ImportPlan {
  ArchivePtr archive;

  bool goes_on() const { return has_begun() && !nothing_to_do(); }
};

class TeleportClient {
 public:
  // One request, with the retries of a client that has patience.
  using Ask = std::function<Task<Exchange>(Request)>;
  struct Options {
    std::size_t piece_bytes = 1'000;  // Of the events of one request; one larger event goes alone.
    std::function<bool()> dies = [] { return false; };  // Asked before every piece and every seal.
  };
  TeleportClient(Ask source, Ask target, Options options);

  // `query`: "agents=ID,ID", "all=true".
  Task<ArchivePtr> fetch(std::string query);
  // `fork_key` empty: under its own ids. `left`: the agents have left their source, so that nothing may be in
  // the way any more.
  Task<TeleportPlan> check(ArchivePtr archive, std::string fork_key, bool left);
  // What is not there yet; nothing of it is seen before the seals.
  Task<> send(TeleportPlan plan);
  // Everything again, whatever is there.
  Task<> send_blindly(TeleportPlan plan);
  Task<> seal(TeleportPlan plan);
  // The agent answers 410 from now on. The answer, whatever it is.
  Task<Exchange> leave(std::string agent, std::string place, std::uint64_t events);

  // Where the target has put what it was sent: what a reader waits for.
  const std::vector<LogPosition>& written() const { return written_; }
  // The last seal's answer said that the views were behind.
  bool views_behind() const { return views_behind_; }

 private:
  Task<Json> post(std::string body);
  Task<> look_for_tools(TeleportPlan* plan);

  Ask source_;
  Ask target_;
  Options options_;
  std::vector<LogPosition> written_;
  bool views_behind_ = false;
};

}  // namespace varve::sim
