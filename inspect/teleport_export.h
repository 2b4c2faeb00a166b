// TeleportExport: streams of a log as a teleport archive (teleport_archive.h): agents, with every block that
// they ever had attached and that is there, and the custom tools that they name; or everything that is there.
//
// The log is read by partition: once from the start to learn which streams there are, then again for those
// that go along, as many of them together as fit into group_bytes. Rulings hold: what they skip is absent in
// the archive. What cannot be carried (a damaged stream, an erasable agent) is refused by name; of "all" it
// is left out, and the header says so.
//
// Promises: one moment of the log, its cut in the header; the same log and cut give the same archive; memory
// for a line about every stream, eight bytes about every record, and group_bytes. Writes nothing. Thread: the
// Env's.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "actors/actor_state.h"
#include "eventlog/event_log.h"
#include "inspect/teleport_archive.h"

namespace varve {

// Bytes of records that an export holds at once; one larger stream alone is not held.
inline constexpr std::size_t kExportGroupBytes = std::size_t{32} << 20U;

struct ExportQuestion {
  std::vector<StreamId> agents;
  bool all = false;  // Every agent and block that there is, in the place of `agents`.
  std::size_t group_bytes = kExportGroupBytes;
  // For the newest records, which a reader may see later than others; the past = they must be there.
  MonoTime wait_until{};
};

class TeleportExport {
 public:
  // Learns what there is. Errc::not_found: no such agent. Errc::conflict: one cannot be carried.
  // Errc::unavailable: the newest records cannot be read yet.
  // `log` must outlive it.
  static Task<std::shared_ptr<TeleportExport>> prepare(EventLog& log, ExportQuestion question);

  // The next bytes of the archive, never empty; nothing at its end. What goes wrong is in the archive, as its
  // last frame.
  Task<std::optional<std::string>> next();

  const ArchiveHeader& header() const { return header_; }
  // Its agents, with their last sequences: what AgentMoved is about.
  const std::map<StreamId, std::uint64_t>& agents() const { return agents_; }

 private:
  // What the first reading learns of a stream.
  struct Known {
    Partition partition;
    std::vector<Offset> offsets;  // Of its admitted records.
    std::size_t bytes = 0;
    std::int64_t records = 0;  // As the archive counts them.
    std::int64_t events = 0;
    std::uint64_t sequence = 0;
    bool created = false;
    bool hidden = false;  // An import or a teleport that is not sealed.
    bool ended = false;   // Deleted or erased.
    bool moved = false;   // What follows is not the agent's any more.
    bool erasable = false;
    std::string damage;
    std::set<StreamId> blocks;
    std::vector<std::string> tools;
  };
  struct Group {
    Partition partition;
    Offset from;
    Offset to;  // Behind it.
    std::set<StreamId> streams;
  };
  explicit TeleportExport(EventLog& log) : log_(log) {}
  Task<> learn();
  Status choose(const ExportQuestion& question);
  std::optional<Error> refusal(const StreamId& agent) const;
  void add_blocks(const Known& agent, std::set<StreamId>& chosen) const;
  void count(const std::set<StreamId>& chosen);
  void make_groups(const std::set<StreamId>& chosen, std::size_t group_bytes);
  Task<> expect_newest(Partition partition);
  Task<> learn_partition(Partition partition);
  void learn_record(const LogRecord& record, Partition partition, AdmissionState& admission);
  void learn_part(const Commit& commit, std::size_t number, LogPosition position, std::size_t bytes);

  Task<> step();
  Task<> read_group();
  Status take_record(const LogRecord& record);
  Status write_held(const StreamId& stream);

  EventLog& log_;
  MonoTime wait_until_;
  std::vector<Offset> ends_;         // By partition.
  std::vector<EventPlaces> absent_;  // The same.
  std::map<StreamId, Known> known_;
  ActorState catalogue_;
  std::string source_;
  ArchiveHeader header_;
  std::vector<ToolValue> tools_;
  std::map<StreamId, std::uint64_t> agents_;
  std::deque<Group> groups_;
  std::optional<Offset> at_;  // In the group that is being read.
  std::map<StreamId, std::vector<ArchiveRecord>> held_;
  ActorState checked_;  // The stream that is being written, as it would be at a target.
  ArchiveWriter writer_;
  bool begun_ = false;
  bool over_ = false;
};

}  // namespace varve
