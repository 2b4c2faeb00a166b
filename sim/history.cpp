#include "sim/history.h"

#include <algorithm>
#include <map>

#include "runtime/check.h"

namespace varve::sim {
namespace {

bool took_effect_maybe(const Outcome& outcome) {
  return outcome.answer == Answer::ok || outcome.answer == Answer::unknown;
}

// The history, entity by entity.
struct Entities {
  std::map<std::string, EntityCalls> agents;
  std::map<std::string, EntityCalls> blocks;
  std::vector<Violation> violations;
};

class Splitter {
 public:
  Splitter(const History& history, const HistoryOptions& options) : options_(options), history_(history) {
    for (const History::Entry& entry : history.entries()) {
      const auto* create = std::get_if<op::CreateAgent>(&entry.op);
      if (create != nullptr && !create->agent.empty()) created_.insert(create->agent);
      const auto* deletion = std::get_if<op::DeleteBlock>(&entry.op);
      if (deletion != nullptr && took_effect_maybe(entry.outcome)) doubtful_.insert(deletion->block);
    }
  }

  Entities run() {
    for (std::size_t i = 0; i < history_.entries().size(); ++i) {
      entry_ = &history_.entries()[i];
      number_ = i;
      std::visit(*this, entry_->op);
    }
    return std::move(entities_);
  }

  void operator()(const op::CreateAgent& op) {
    if (op.agent.empty()) return;  // It created nothing, or nobody ever knew what.
    op::CreateAgent certain = op;
    std::erase_if(certain.blocks,
                  [this](const op::BlockBirth& birth) { return doubtful_.contains(birth.block); });
    write(entities_.agents[op.agent], std::move(certain));
    for (const op::BlockBirth& birth : op.blocks) {
      Outcome outcome = entry_->outcome;
      outcome.seen = {};
      add(entities_.blocks[birth.block], op::CreateBlock{birth.block, birth.label, birth.value}, outcome);
    }
  }
  void operator()(const op::UpdateAgent& op) { write(entities_.agents[op.agent], op); }
  void operator()(const op::DeleteAgent& op) { write(entities_.agents[op.agent], op); }
  void operator()(const op::EraseAgent& op) { write(entities_.agents[op.agent], op); }
  // Whether a block was there, and what its label was, is not this agent's to say: only a success is, and
  // only of a block that nobody deleted, because a deletion detaches it everywhere.
  void operator()(const op::AttachBlock& op) {
    if (took_effect_maybe(entry_->outcome) && !doubtful_.contains(op.block)) {
      write(entities_.agents[op.agent], op);
    }
  }
  void operator()(const op::DetachBlock& op) {
    if (!doubtful_.contains(op.block)) write(entities_.agents[op.agent], op);
  }
  void operator()(const op::SendMessage& op) {
    EntityCalls& calls = entities_.agents[op.agent];
    Outcome begins = entry_->outcome;
    begins.seen = {};
    if (begins.answer == Answer::conflict) return;  // A tool call waits for its client: not modelled.
    add(calls, op::TurnBegins{op.agent, op.text}, begins);
    if (!took_effect_maybe(begins)) return;
    op::TurnEnds ends{op.agent, op.text, std::nullopt};
    const auto& seen = entry_->outcome.seen.turns;
    if (seen && !seen->empty()) ends.replies = seen->front().replies;
    if (!op.waits) begins.answer = Answer::unknown;
    add(calls, std::move(ends), begins);
  }
  void operator()(const op::CancelTurn& op) { write(entities_.agents[op.agent], op); }
  void operator()(const op::ResetMessages& op) { write(entities_.agents[op.agent], op); }
  void operator()(const op::CreateBlock& op) { write(entities_.blocks[op.block], op); }
  void operator()(const op::UpdateBlock& op) { write(entities_.blocks[op.block], op); }
  void operator()(const op::AppendToBlock& op) { write(entities_.blocks[op.block], op); }
  void operator()(const op::EditBlock& op) { write(entities_.blocks[op.block], op); }
  void operator()(const op::DeleteBlock& op) { write(entities_.blocks[op.block], op); }
  void operator()(const op::ReadMessages& op) { read(entities_.agents[op.agent], op, entry_->outcome); }
  void operator()(const op::ReadBlock& op) { read(entities_.blocks[op.block], op, entry_->outcome); }
  // One read of the agent, and of each of its blocks: the views were all read at one moment.
  void operator()(const op::ReadAgent& op) {
    read(entities_.agents[op.agent], op, entry_->outcome);
    if (!entry_->outcome.seen.blocks) return;
    for (const op::BlockBirth& block : *entry_->outcome.seen.blocks) {
      Outcome outcome;
      outcome.answer = Answer::ok;
      outcome.seen.label = block.label;
      outcome.seen.value = block.value;
      read(entities_.blocks[block.block], op::ReadBlock{block.block}, outcome);
    }
  }
  // A list is one read of every agent: there or not.
  void operator()(const op::ListAgents& /*op*/) {
    if (!entry_->outcome.seen.ids || entry_->outcome.answer != Answer::ok) return;
    std::set<std::string> listed;
    for (const std::string& id : *entry_->outcome.seen.ids) {
      if (!listed.insert(id).second) fail("a list shows " + id + " twice");
      if (!created_.contains(id) && options_.lists_are_ours) {
        fail("a list shows " + id + ", which nobody created");
      }
    }
    for (const std::string& id : created_) {
      Outcome outcome;
      outcome.answer = listed.contains(id) ? Answer::ok : Answer::not_found;
      read(entities_.agents[id], op::ReadAgent{id}, outcome);
    }
  }
  void operator()(const op::TurnBegins& op) { write(entities_.agents[op.agent], op); }
  void operator()(const op::TurnEnds& op) { write(entities_.agents[op.agent], op); }

 private:
  void fail(std::string what) { entities_.violations.push_back({"I6", std::move(what)}); }
  void write(EntityCalls& calls, Op op) { add(calls, std::move(op), entry_->outcome); }
  void add(EntityCalls& calls, Op op, const Outcome& outcome) {
    if (outcome.answer == Answer::refused) return;
    EntityCall one;
    one.client = entry_->client;
    one.call = {std::move(op), without_doubt(outcome), entry_->begin, entry_->end, number_};
    if (outcome.answer == Answer::unknown) one.call.end = kForever;
    if (entry_->excused) one.call.outcome.seen = {};
    calls.push_back(std::move(one));
  }
  void read(EntityCalls& calls, Op op, const Outcome& outcome) {
    if (!entry_->ended || entry_->excused) return;
    if (outcome.answer != Answer::ok && outcome.answer != Answer::not_found) return;
    add(calls, std::move(op), outcome);
    calls.back().read = true;
  }
  // Blocks that were deleted meanwhile are not compared as attached ones.
  Outcome without_doubt(Outcome outcome) const {
    if (!outcome.seen.blocks) return outcome;
    std::erase_if(*outcome.seen.blocks,
                  [this](const op::BlockBirth& block) { return doubtful_.contains(block.block); });
    return outcome;
  }

  const HistoryOptions& options_;
  const History& history_;
  std::set<std::string> created_;
  std::set<std::string> doubtful_;
  const History::Entry* entry_ = nullptr;
  std::size_t number_ = 0;
  Entities entities_;
};

// By the order of the log: commands and their answers.
std::vector<Call> commands_of(const EntityCalls& calls) {
  std::vector<Call> commands;
  for (const EntityCall& one : calls) {
    if (!one.read) commands.push_back(one.call);
  }
  return commands;
}

// By the order in which the views show it: reads, and what took effect. A write that nobody waited for shows
// at any later time.
std::vector<Call> visible_of(const EntityCalls& calls) {
  std::vector<Call> visible;
  for (const EntityCall& one : calls) {
    if (!one.read && !took_effect_maybe(one.call.outcome)) continue;
    Call call = one.call;
    if (!one.read) {
      call.outcome.seen = {};
      if (!call.outcome.settled) call.end = kForever;
    }
    visible.push_back(std::move(call));
  }
  return visible;
}

// Two calls of one entry have the same times: whatever comes of one moment is told apart by its order.
void tell_times_apart(std::vector<Call>& calls) {
  const std::uint64_t room = calls.size() + 1;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    calls[i].begin = calls[i].begin * room + i;
    if (calls[i].end != kForever) calls[i].end = calls[i].end * room + i;
  }
}

class Judge {
 public:
  Judge(const History& history, const HistoryOptions& options) : history_(history), options_(options) {}

  template <class State>
  void judge(const std::map<std::string, EntityCalls>& entities) {
    for (const auto& [id, calls] : entities) {
      ++verdict.entities;
      check_sessions(id, calls, verdict.violations);
      linearize<State>("commands of ", id, commands_of(calls));
      linearize<State>("reads of ", id, visible_of(calls));
    }
  }

  HistoryVerdict verdict;

 private:
  template <class State>
  void linearize(const char* what, const std::string& id, std::vector<Call> calls) {
    tell_times_apart(calls);
    const Linearization found = Linearizer<State>(calls, options_.states_max).run();
    verdict.states += found.states;
    if (found.verdict == Linearization::Verdict::gave_up) ++verdict.gave_up;
    if (found.verdict != Linearization::Verdict::no) return;
    const Call& blocked = calls[found.blocked];
    const History::Entry& entry = history_.entries()[blocked.entry];
    verdict.violations.push_back(
        {"Linearizable", std::string("no order explains the ") + what + id + ": client " +
                             std::to_string(entry.client) + " " + describe(blocked.op) + " -> " +
                             to_string(blocked.outcome.answer) + describe(blocked.outcome.seen) +
                             " (operation " + std::to_string(blocked.entry) + ")"});
  }

  const History& history_;
  const HistoryOptions& options_;
};

}  // namespace

OpId History::begin(ClientId client, Op op) {
  Entry entry;
  entry.client = client;
  entry.op = std::move(op);
  entry.begin = ++time_;
  entry.excused = views_lost_;
  entries_.push_back(std::move(entry));
  open_.insert(entries_.size() - 1);
  return entries_.size() - 1;
}

void History::add_consequence(ClientId client, Op op) {
  const OpId id = begin(client, std::move(op));
  entries_[id].asked = false;
  end(id, Outcome{});
}

void History::end(OpId id, Outcome outcome) {
  Entry& entry = entries_.at(id);
  CHECK(!entry.ended);
  entry.outcome = std::move(outcome);
  entry.end = ++time_;
  entry.ended = true;
  open_.erase(id);
}

void History::views_lost() {
  views_lost_ = true;
  for (const OpId id : open_) entries_[id].excused = true;
}

std::string History::oldest_open() const {
  if (open_.empty()) return "";
  const Entry& entry = entries_[*open_.begin()];
  return "client " + std::to_string(entry.client) + ": " + describe(entry.op);
}

HistoryVerdict check(const History& history, const HistoryOptions& options) {
  Entities entities = Splitter(history, options).run();
  Judge judge(history, options);
  judge.verdict.violations = std::move(entities.violations);
  judge.judge<AgentModel>(entities.agents);
  judge.judge<BlockModel>(entities.blocks);
  return std::move(judge.verdict);
}

}  // namespace varve::sim
