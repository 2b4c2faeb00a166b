// What tests of teleport share: a log with an agent that has lived, its archive, and a target that takes it.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "actors/agent_teleport.h"
#include "inspect/teleport_check.h"
#include "inspect/teleport_export.h"
#include "tests/inspect/inspect_log.h"

namespace varve::test {

struct Checked {
  Status status = ok();
  std::vector<ArchiveFrame> frames;
  std::vector<ArchiveStream> streams;
  std::string hash;
};

// Reads and checks it in pieces of this size.
inline Checked check_all(const std::string& bytes, std::size_t piece = 1000, Renaming renaming = {}) {
  Checked checked;
  ArchiveReader reader;
  ArchiveCheck check(std::move(renaming));
  for (std::size_t at = 0; at < bytes.size() && checked.status; at += piece) {
    reader.feed(std::string_view(bytes).substr(at, piece));
    for (;;) {
      auto frame = reader.next();
      if (!frame) checked.status = frame.error();
      if (!frame || !*frame) break;
      checked.status = check.take(**frame);
      if (!checked.status) break;
      checked.frames.push_back(std::move(**frame));
    }
  }
  if (checked.status) checked.status = reader.end();
  checked.streams = check.streams();
  checked.hash = reader.hash();
  return checked;
}

inline std::string why(const std::string& bytes) {
  const Checked checked = check_all(bytes);
  return checked.status ? "" : checked.status.error().message;
}

// A target's stream: decides, and applies what was decided, as a shard does.
struct Target {
  ActorState state;
  std::uint64_t offset = 100;

  Result<Decision> send(const StreamId& stream, const Command& command) {
    const CommandId id = command_id_from_text(std::to_string(offset));
    const Facts facts{stream, id, WallTime{5'000'000}, 4, {}, WallTime{5'000'000}};
    auto decision = decide(state, command, facts);
    if (!decision || decision->events.empty()) return decision;
    Commit commit;
    commit.at = facts.now;
    commit.command = {id, {}, false};
    Part part{stream, next(state.sequence), {}};
    for (const Event& event : decision->events) part.events.emplace_back(event);
    commit.parts.push_back(part);
    // As it comes back from the log.
    const auto bytes = encode_record(Record{commit});
    const auto read = decode_record(*bytes);
    apply_part(state, commit, std::get<Commit>(*read).parts.front(), Offset{++offset}, true);
    return decision;
  }
};

class Teleported : public InspectLog {
 public:
  const std::string ann_ = stream_in("agent", 0);
  const std::string block_ = stream_in("block", 1);
  const std::string other_ = stream_in("agent", 1);

  void live(const std::string& agent) {
    create_block(block_, "human", "Ann");
    create_agent(agent, "ann", {{StreamId{block_}, "human"}});
    says(agent, "run-1", "hello", "request-1");
    reply(agent, "run-1", "You said: hello");
    update_block(block_, "human", "Ann, who likes tea");
    AgentSettings settings = sample_settings();
    settings.name = "anna";
    settings.tags = {"red", "green"};
    commit(agent, {AgentUpdated{settings, {"green"}, {"blue"}, WallTime{1}}});
  }
  void reply(const std::string& agent, const std::string& run, const std::string& text) {
    Message message = sample_message("message-reply-" + run, Role::assistant, text);
    message.step_id = "step-" + run;
    const Usage usage{10, 2, 1};
    commit(agent,
           {AssistantReplied{
                run, message, usage, "varve/echo", "0123456789abcdef", {{StreamId{block_}, Sequence{1}}}},
            TurnFinished{run, "end_turn", usage, WallTime{now_}, "{}"}});
  }
  Result<std::string> exported(const std::vector<std::string>& agents,
                               std::size_t group_bytes = kExportGroupBytes) {
    ExportQuestion question;
    question.group_bytes = group_bytes;
    for (const std::string& agent : agents) question.agents.emplace_back(agent);
    question.all = agents.empty();
    auto archive = run(env_, TeleportExport::prepare(log_, std::move(question)));
    if (!archive) return archive.error();
    std::string bytes;
    for (;;) {
      auto more = run(env_, (*archive)->next());
      if (!more) return more.error();
      if (!*more) return bytes;
      bytes += **more;
    }
  }
  std::string archive_of_ann() {
    live(ann_);
    const auto bytes = exported({ann_});
    EXPECT_TRUE(bytes) << bytes.error().message;
    return bytes ? *bytes : "";
  }
  // The stream as its own log has it.
  ActorState at_source(const std::string& stream) {
    ActorState state;
    for (std::uint32_t partition = 0; partition < 2; ++partition) {
      for (const LogRecord& record : storage_->records(Partition{partition})) {
        const auto read = decode_record(*record.bytes);
        const auto* commit = std::get_if<Commit>(&*read);
        for (const Part& part : commit != nullptr ? commit->parts : std::vector<Part>{}) {
          if (part.stream.value() == stream) apply_part(state, *commit, part, record.offset, true);
        }
      }
    }
    return state;
  }
  static std::vector<EventTeleported> events_of(const Checked& checked, const std::string& stream) {
    std::vector<EventTeleported> events;
    for (const ArchiveFrame& frame : checked.frames) {
      const auto* record = std::get_if<ArchiveRecord>(&frame);
      if (record == nullptr || record->stream.value() != stream) continue;
      for (EventTeleported& event : *carried_events(*record, "varve", record->stream)) {
        events.push_back(std::move(event));
      }
    }
    return events;
  }
};

}  // namespace varve::test
