// ArchiveCheck: reads a teleport archive frame by frame and says whether all of it can be carried: that
// streams come one after another, their sequences are 1, 2, 3 .., every event decodes and follows from those
// before it (actors/agent_teleport.h), and the header and the seal count what is there. A target checks the
// whole archive before it takes the first event of it.
//
// Promise: memory for one stream's state and a line about each stream. Pure.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "actors/actor_state.h"
#include "inspect/teleport_archive.h"

namespace varve {

// Gives what an archive holds other ids: of tools that the target has under another id, and, for a fork, of
// every agent, block, message, run and step. What people and models have written stays as it is.
class Renaming {
 public:
  Renaming() = default;
  // All ids but those of tools; `seed` leads to the new ones.
  static Renaming fork(std::string seed);

  void tool(std::string old_id, std::string new_id) { tools_[std::move(old_id)] = std::move(new_id); }
  bool changes_nothing() const { return seed_.empty() && tools_.empty(); }
  StreamId stream(const StreamId& old_id) const;
  ArchiveRecord record(ArchiveRecord record) const;

 private:
  std::string id(const std::string& old_id) const;
  Json renamed(const Json& json, std::string_view key) const;

  std::string seed_;
  std::map<std::string, std::string> tools_;
};

// The events of a record as a target takes them. Errc::corrupt: one cannot be read.
Result<std::vector<EventTeleported>> carried_events(const ArchiveRecord& record, const std::string& source,
                                                    const StreamId& origin);

struct ArchiveStream {
  StreamId stream;           // Renamed.
  std::uint64_t events = 0;  // Its last sequence.
  std::string chain;         // next_chain() over all of them.
};

// Where a target is with a stream: teleport_json().
struct CarriedSoFar {
  std::uint64_t carried = 0;
  std::string chain;
  bool sealed = false;
};

class ArchiveCheck {
 public:
  explicit ArchiveCheck(Renaming renaming) : renaming_(std::move(renaming)) {}
  // Besides, what is there already must be what the archive begins with: else Errc::conflict.
  void compare_with(std::map<StreamId, CarriedSoFar> there) { there_ = std::move(there); }

  // Errc::corrupt with a sentence about this frame.
  Status take(const ArchiveFrame& frame);
  const ArchiveHeader& header() const { return header_; }
  const std::vector<ToolValue>& tools() const { return tools_; }
  const std::vector<ArchiveStream>& streams() const { return streams_; }

 private:
  Status take_record(const ArchiveRecord& record);
  Status end_stream();
  Status check_counts(const ArchiveSeal& seal) const;
  Status compare(std::uint64_t carried, const std::string& chain);

  Renaming renaming_;
  std::map<StreamId, CarriedSoFar> there_;
  ArchiveHeader header_;
  std::vector<ToolValue> tools_;
  std::vector<ArchiveStream> streams_;
  std::set<StreamId> begun_;
  ActorState state_;
};

}  // namespace varve
