// What tests of rebuilds share: a long random history in a log, workers that fold it, and rows of two stores
// that are compared one by one.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "eventlog/memory_event_log.h"
#include "projections/digest.h"
#include "projections/rebuild.h"
#include "projections/verify.h"
#include "projections/worker.h"
#include "runtime/real_env.h"
#include "tests/support/run.h"
#include "tests/support/samples.h"

namespace varve::test {

// Writes what a cluster could have written: agents that are created, talked to, trimmed, tagged and deleted,
// blocks that change, and now and then an event that no program can read, with or without a ruling.
class RandomHistory {
 public:
  RandomHistory(std::shared_ptr<MemoryLogStorage> log, std::uint64_t seed)
      : log_(std::move(log)), rng_(seed) {
    for (std::uint32_t i = 0; i < log_->partitions(); ++i) {
      parts_.emplace_back();
      land(i, Claim{Epoch{1}, {}, "varve", "n", "", log_->partitions(), now()});
    }
  }

  void write(int commands) {
    for (int i = 0; i < commands; ++i) command(static_cast<std::uint32_t>(rng_.below(parts_.size())));
  }
  // An event that waits for a ruling, some behind it, and the ruling.
  void poison_and_rule(std::uint32_t partition) {
    const StreamId stream = create(partition);
    const Offset at = commit(partition, stream, {UnreadableEvent{"AgentSang", 1, "", "{}"}});
    turn(partition, agent_of(partition, stream));
    Part& part = parts_[partition];
    land(partition, Ruling{Epoch{1}, Index{++part.n}, "n", now(), stream, at, 0});
    turn(partition, agent_of(partition, stream));
  }
  void poison(std::uint32_t partition) {
    commit(partition, create(partition), {UnreadableEvent{"AgentSang", 1, "", "{}"}});
  }

 private:
  struct Agent {
    StreamId stream;
    std::vector<std::string> context;
    bool green = false;
  };
  struct Part {
    std::uint64_t n = 0;
    std::map<StreamId, std::uint64_t> sequences;
    std::vector<Agent> agents;
    std::vector<StreamId> blocks;
  };

  WallTime now() { return WallTime{1'000'000 * ++clock_}; }
  std::string id(const char* kind) { return kind + std::to_string(++ids_); }
  Offset land(std::uint32_t partition, const Record& record) {
    return log_->land(Partition{partition}, std::make_shared<const std::string>(*encode_record(record)));
  }
  Offset commit(std::uint32_t partition, const StreamId& stream, const std::vector<StoredEvent>& events) {
    Part& part = parts_[partition];
    std::uint64_t& sequence = part.sequences[stream];
    const varve::Part written{stream, Sequence{sequence + 1}, events};
    sequence += events.size();
    const CommandRef command{command_id_from_text(id("command-")), CommandHash{1}, true};
    return land(partition, Commit{Epoch{1}, Index{++part.n}, "n", now(), command, {written}});
  }
  std::size_t agent_of(std::uint32_t partition, const StreamId& stream) const {
    const auto& agents = parts_[partition].agents;
    const auto found = std::find_if(agents.begin(), agents.end(),
                                    [&](const Agent& agent) { return agent.stream == stream; });
    return static_cast<std::size_t>(found - agents.begin());
  }

  StreamId create(std::uint32_t partition) {
    Agent agent{StreamId{id("agent-")}, {id("message-")}, false};
    AgentSettings settings = sample_settings();
    settings.name = agent.stream.value() + " says\t\"tabs\\\n\"";
    commit(partition, agent.stream,
           {AgentCreated{settings,
                         {{StreamId{id("block-")}, "human"}},
                         {sample_message(agent.context[0], Role::system, "S")}}});
    parts_[partition].agents.push_back(agent);
    return agent.stream;
  }
  void command(std::uint32_t partition) {
    Part& part = parts_[partition];
    const std::uint64_t what = rng_.below(20);
    if (part.agents.empty() || what < 2) {
      create(partition);
      return;
    }
    const std::size_t number = rng_.below(part.agents.size());
    if (what < 4) {
      part.blocks.emplace_back(id("block-"));
      commit(partition, part.blocks.back(), {BlockCreated{sample_block()}});
    } else if (what < 8 && !part.blocks.empty()) {
      BlockValue value = sample_block();
      value.value = id("value ");
      commit(partition, part.blocks[rng_.below(part.blocks.size())], {BlockUpdated{value, WallTime{9}}});
    } else if (what < 10) {
      trim(partition, part.agents[number]);
    } else if (what < 12) {
      tag(partition, part.agents[number]);
    } else if (part.agents.size() < 400) {
      turn(partition, number);
    }
  }
  void turn(std::uint32_t partition, std::size_t number) {
    Agent& agent = parts_[partition].agents[number];
    const std::string run = id("run-");
    const std::string said = id("message-");
    const std::string heard = id("message-");
    Message reply = sample_message(heard, Role::assistant, "ho");
    reply.step_id = id("step-");
    commit(partition, agent.stream,
           {UserMessageReceived{
               run,
               {sample_message(said, Role::user, "hello\r\nthere \\ and 'quotes' \xf0\x9f\x8d\xb5")},
               50,
               {},
               "{}"}});
    commit(partition, agent.stream,
           {AssistantReplied{run, reply, {}, "m", "h", {}},
            TurnFinished{run, "end_turn", {1, 2, 1}, now(), "{}"}});
    agent.context.push_back(said);
    agent.context.push_back(heard);
  }
  void trim(std::uint32_t partition, Agent& agent) {
    if (agent.context.size() < 3) return;
    const std::vector<std::string> leaving(agent.context.begin() + 1, agent.context.end() - 1);
    agent.context.erase(agent.context.begin() + 1, agent.context.end() - 1);
    commit(partition, agent.stream, {ContextTrimmed{leaving}});
  }
  void tag(std::uint32_t partition, Agent& agent) {
    AgentUpdated event;
    event.settings = sample_settings();
    event.settings.name = id("name ");
    (agent.green ? event.tags_removed : event.tags_added) = {"green"};
    agent.green = !agent.green;
    commit(partition, agent.stream, {event});
  }

  std::shared_ptr<MemoryLogStorage> log_;
  Rng rng_;
  std::vector<Part> parts_;
  std::int64_t clock_ = 0;
  std::uint64_t ids_ = 0;
};

// Everything that a store holds of a log's partitions, a line per row; the checkpoints come first.
inline std::vector<std::string> contents(RealEnv& env, ViewStore& store, std::uint32_t partitions) {
  const auto lines = std::make_shared<std::vector<std::string>>();
  std::function<Status(ViewReader&)> work = [lines, partitions](ViewReader& reader) -> Status {
    for (std::uint32_t i = 0; i < partitions; ++i) {
      const Partition partition{i};
      const auto checkpoint = reader.checkpoint(partition);
      if (!checkpoint) return checkpoint.error();
      lines->push_back(std::to_string(i) + " folded to " + std::to_string(checkpoint->next.value()) + " " +
                       to_text(checkpoint->digests));
      for (const View view : all_views()) {
        const auto add = [&](const Row& row) {
          lines->push_back(describe(view, row) + " " + canonical_bytes(view, row) + " to " +
                           (row.to ? std::to_string(row.to->offset.value()) : "-"));
        };
        if (Status read = for_each_row(reader, view, partition, add); !read) return read;
      }
    }
    const auto rows = reader.quarantine();
    if (!rows) return rows.error();
    for (const QuarantineRow& row : *rows) {
      lines->push_back("parked " + row.stream.value() + " at " + std::to_string(row.offset.value()));
    }
    return ok();
  };
  const Status read = run(env, store.read(std::move(work)));
  EXPECT_TRUE(read) << to_string(read.error());
  return *lines;
}

inline std::string first_difference(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  for (std::size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    const std::string left = i < a.size() ? a[i] : "nothing";
    const std::string right = i < b.size() ? b[i] : "nothing";
    if (left != right) return left + "\n  and\n" + right;
  }
  return "";
}

// Workers of all partitions on one store, as a node has them.
class Workers {
 public:
  Workers(RealEnv& env, EventLog& log, ViewStore& store) : env_(env), log_(log), progress_(env, store) {
    for (std::uint32_t i = 0; i < log.partitions(); ++i) {
      workers_.push_back(std::make_shared<ProjectionWorker>(env, log, store, progress_, Partition{i}));
      env.spawn("worker", keep(workers_.back()));
    }
  }
  // Until everything that is in the log now is in the views.
  bool catch_up() { return *run(env_, wait(*this)); }
  void stop() {
    for (const auto& worker : workers_) worker->stop();
  }
  std::string failure() const {
    for (const auto& worker : workers_) {
      if (worker->failure()) return worker->failure()->message;
    }
    return "";
  }

 private:
  static Task<> keep(std::shared_ptr<ProjectionWorker> worker) { co_return co_await worker->run(); }
  static Task<bool> wait(Workers& self) {
    std::vector<LogPosition> ends;
    for (std::uint32_t i = 0; i < self.log_.partitions(); ++i) {
      auto end = co_await self.log_.end(Partition{i});
      if (!end) co_return end.error();
      if (*end > Offset{}) ends.push_back({Partition{i}, Offset{end->value() - 1}});
    }
    co_return co_await self.progress_.wait_for(std::move(ends), self.env_.now() + std::chrono::seconds{20});
  }

  RealEnv& env_;
  EventLog& log_;
  ViewProgress progress_;
  std::vector<std::shared_ptr<ProjectionWorker>> workers_;
};

// Every sentence of a comparison of all partitions; "" = equal.
inline std::string verified(RealEnv& env, EventLog& log, ViewStore& store, const VerifyOptions& options) {
  std::string text;
  for (std::uint32_t i = 0; i < log.partitions(); ++i) {
    const auto found = run(env, fold_equals(env, log, store, Partition{i}, options));
    if (!found) {
      text += to_string(found.error()) + "\n";
      continue;
    }
    for (const Difference& difference : *found) text += difference.what + "\n";
  }
  return text;
}

// The fold of another version: every message gets a name.
inline RowRewrite another_fold() {
  return [](std::vector<RowChange>& changes) {
    for (RowChange& change : changes) {
      auto* insert = std::get_if<RowInsert>(&change);
      if (insert != nullptr && insert->view == View::messages)
        insert->row.values[messages::name] = Value{"new"};
    }
  };
}

inline RebuildOptions small_steps() {
  RebuildOptions options;
  options.batch_changes = 50;
  options.grace = Duration{};
  return options;
}

}  // namespace varve::test
