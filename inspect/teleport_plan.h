// ImportPlan: what an import of an archive asks of its target and sends to it: the bodies of the requests of
// kTeleportImportPath in their order, and what the answers mean. `varve teleport` and the client of the
// simulation read the archive and carry the requests; what they say is made here.
//
// Promises: pure. What the plan does not ask for is never sent: what is there already stays as it is.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "inspect/teleport_check.h"

namespace varve {

struct ImportPlan {
  std::string hash;  // Of the archive.
  ArchiveHeader header;
  Renaming renaming;
  std::vector<ToolValue> tools;
  std::vector<ArchiveStream> streams;  // Renamed.
  std::map<StreamId, CarriedSoFar> there;
  std::set<StreamId> kept;  // Blocks that live at the target already, and stay as they are there.

  bool nothing_to_do() const;
  // Something is there: it must be compared with what the archive begins with.
  bool has_begun() const;
  std::vector<std::string> agents() const;
  // Of what lives at the target already: `left`, the agents have left their source, so that a block that was
  // carried before and has lived on at both places since is not in their way. Else Errc::conflict.
  Status settle(bool left);
  // The last requests. Blocks first: who sees an agent sees its blocks.
  std::vector<std::string> seals() const;
};

// How far is the target with a stream?
std::string question_about(const StreamId& stream);
// Errc::corrupt: it is no answer to that.
Result<CarriedSoFar> answer_about(const StreamId& stream, const Json& answer);

// Creates the tool, or, with `look`, asks which tool of the target equals it.
std::string request_of_tool(const ToolValue& tool, bool look);
// Where an equal tool has another id at the target, the agents name that one.
Status note_equal_tool(const ToolValue& tool, const Json& answer, Renaming& renaming);

// Cuts what is not there yet into requests. The plan must outlive it.
class ImportPieces {
 public:
  using Send = std::function<Status(std::string body)>;

  // `bytes_max`: of the events of one request; one larger event goes alone.
  ImportPieces(const ImportPlan& plan, std::size_t bytes_max, Send send);
  // The archive's records in their order. The Errors of `send`, and Errc::corrupt for an event.
  Status take(const ArchiveRecord& record);
  // After the last one.
  Status flush();

 private:
  Status add(const EventTeleported& event);

  const ImportPlan& plan_;
  std::size_t bytes_max_;
  Send send_;
  StreamId stream_;
  std::string chain_;  // Over the stream's events up to `sequence_`.
  std::uint64_t sequence_ = 0;
  std::string events_;
  std::size_t count_ = 0;
  std::uint64_t first_ = 0;
  std::string chain_before_;  // Before `first_`.
};

}  // namespace varve
