// Effects: what agents do outside of their own stream, against what the log says and when it said it (I8):
//
// - the model is asked only about a turn, and only about the step of it, that the log holds by then; and not
//   twice about one step under one ownership of its partition;
// - a step is recorded once, as one whole reply that the model gave;
// - a block is edited only by a client or by a tool call that the log holds by then; a tool call edits one
//   block, once.
//
// It also writes what tool calls do to blocks into the history of operations, as a client of its own, so that
// their values can be compared, with those in the log and with those that are read.
//
// look() is asked after every step and costs nothing while nothing new counts; at_rest() once.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sim/history.h"
#include "sim/log_oracle.h"
#include "sim/sim_model.h"

namespace varve::sim {

inline constexpr ClientId kToolsClient = 1'000;

class Effects {
 public:
  struct World {
    std::function<MonoTime()> now;
    // Whether some client has sent this command to a block, or this value without a key.
    std::function<bool(const CommandId&, const std::string& value)> asked_by_client;
  };
  // All must outlive it.
  Effects(const LogOracle& log, const ModelJournal& journal, History& history, World world);

  void look();
  void at_rest();
  const std::vector<Violation>& violations() const { return violations_.list(); }

 private:
  struct Turn {
    std::string run;
    CommandId command;
    Partition partition;
    MonoTime since;                 // It counts.
    std::vector<MonoTime> replies;  // Each counts since then.
  };
  struct Reply {
    std::string turn;  // The turn's key.
    std::size_t step = 0;
    std::vector<std::string> calls;
  };
  // A tool call that the log holds.
  struct Intent {
    std::string call;
    std::optional<op::EditBlock> edit;  // Of some block, if it makes sense.
    std::optional<StreamId> edited;
  };

  void take(Partition partition, const JudgedRecord& record);
  void take_event(Partition partition, const StreamId& stream, const Commit& commit, const Event& event);
  void take_reply(const AssistantReplied& replied);
  void take_return(const ToolReturned& returned);
  void take_edit(const StreamId& block, const Commit& commit, const BlockUpdated& updated);
  void check_askings(const ModelStep& step, const std::vector<ModelAsking>& askings);
  void check_reply(const Reply& reply);

  const LogOracle& log_;
  const ModelJournal& journal_;
  History& history_;
  World world_;
  Violations violations_;
  std::vector<std::size_t> seen_;              // Judged records, by partition.
  std::vector<std::vector<MonoTime>> claims_;  // Admitted ones, by partition.
  std::map<std::string, Turn> turns_;          // By what a model's request calls them.
  std::map<std::string, std::string> by_run_;  // The keys of turns_.
  std::vector<Reply> replies_;
  std::map<CommandId, Intent> intents_;        // By the command that an edit is.
  std::map<std::string, CommandId> commands_;  // By the call's id.
};

}  // namespace varve::sim
