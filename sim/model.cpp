#include "sim/model.h"

#include <algorithm>

namespace varve::sim {
namespace {

Outcome answer(Answer answer) {
  Outcome outcome;
  outcome.answer = answer;
  return outcome;
}

Texts sorted(Texts texts) {
  std::sort(texts.begin(), texts.end());
  return texts;
}

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

// ---- one agent ----

struct AgentStep {
  AgentModel& agent;

  Outcome missing() const { return answer(Answer::not_found); }
  Outcome whole() const {
    Outcome outcome = answer(Answer::ok);
    outcome.seen.name = agent.name;
    outcome.seen.tags = agent.tags;
    outcome.seen.blocks.emplace();
    for (const std::string& block : agent.blocks) outcome.seen.blocks->push_back({block, "", ""});
    return outcome;
  }

  Outcome operator()(const op::CreateAgent& op) const {
    if (agent.exists || agent.deleted) return answer(Answer::conflict);
    agent.exists = true;
    agent.name = op.name;
    agent.tags = sorted(op.tags);
    for (const op::BlockBirth& birth : op.blocks) agent.blocks.push_back(birth.block);
    for (const std::string& text : op.history) agent.turns.push_back({text, false, std::nullopt});
    return whole();
  }
  Outcome operator()(const op::UpdateAgent& op) const {
    if (!agent.exists) return missing();
    if (op.name) agent.name = *op.name;
    if (op.tags) agent.tags = sorted(*op.tags);
    return whole();
  }
  Outcome operator()(const op::DeleteAgent& /*op*/) const {
    if (!agent.exists) return missing();
    end_turn();
    agent.exists = false;
    agent.deleted = true;
    return answer(Answer::ok);
  }
  Outcome operator()(const op::EraseAgent& /*op*/) const {
    if (!agent.exists && !agent.deleted) return missing();
    end_turn();
    agent.exists = false;
    agent.deleted = true;
    return answer(Answer::ok);
  }
  Outcome operator()(const op::AttachBlock& op) const {
    if (!agent.exists) return missing();
    if (std::find(agent.blocks.begin(), agent.blocks.end(), op.block) == agent.blocks.end()) {
      agent.blocks.push_back(op.block);
    }
    return whole();
  }
  Outcome operator()(const op::DetachBlock& op) const {
    const auto found = std::find(agent.blocks.begin(), agent.blocks.end(), op.block);
    if (!agent.exists || found == agent.blocks.end()) return missing();
    agent.blocks.erase(found);
    return whole();
  }
  Outcome operator()(const op::SendMessage& op) const {
    if (!agent.exists) return missing();
    end_turn();
    agent.turns.push_back({op.text, false, std::nullopt});
    return answer(Answer::ok);
  }
  Outcome operator()(const op::TurnBegins& op) const {
    if (!agent.exists) return missing();
    if (agent.turn_open()) return answer(Answer::conflict);
    agent.turns.push_back({op.text, true, std::nullopt});
    return answer(Answer::ok);
  }
  // Also of a turn that was ended for it, by a cancel or a deletion.
  Outcome operator()(const op::TurnEnds& op) const {
    const auto ours = [&op](const TurnState& turn) { return turn.text == op.text; };
    const auto turn = std::find_if(agent.turns.begin(), agent.turns.end(), ours);
    if (turn == agent.turns.end()) return answer(Answer::conflict);
    turn->open = false;
    turn->replies = op.replies;
    return answer(Answer::ok);
  }
  Outcome operator()(const op::CancelTurn& /*op*/) const {
    if (!agent.exists) return missing();
    if (!agent.turn_open()) return answer(Answer::conflict);
    end_turn();
    return answer(Answer::ok);
  }
  Outcome operator()(const op::ResetMessages& /*op*/) const {
    if (!agent.exists) return missing();
    return agent.turn_open() ? answer(Answer::conflict) : whole();
  }
  Outcome operator()(const op::ReadAgent& /*op*/) const { return agent.exists ? whole() : missing(); }
  Outcome operator()(const op::ReadMessages& /*op*/) const {
    if (!agent.exists) return missing();
    Outcome outcome = answer(Answer::ok);
    outcome.seen.turns.emplace();
    outcome.seen.texts.emplace();
    for (const TurnState& turn : agent.turns) {
      outcome.seen.texts->push_back(turn.text);
      outcome.seen.turns->push_back({turn.text, turn.replies.value_or(Texts{})});
    }
    return outcome;
  }
  template <class Other>
  Outcome operator()(const Other& /*op*/) const {
    return answer(Answer::refused);  // Not an agent's affair.
  }

  void end_turn() const {
    if (agent.turn_open()) agent.turns.back().open = false;
  }
};

// ---- one block ----

struct BlockStep {
  BlockModel& block;

  Outcome whole() const {
    if (!block.exists) return answer(Answer::not_found);
    Outcome outcome = answer(Answer::ok);
    outcome.seen.label = block.label;
    outcome.seen.value = block.value;
    return outcome;
  }
  Outcome operator()(const op::CreateBlock& op) const {
    if (block.exists || block.deleted) return answer(Answer::conflict);
    block = {true, false, op.label, op.value};
    return whole();
  }
  Outcome operator()(const op::UpdateBlock& op) const {
    if (block.exists && op.label) block.label = *op.label;
    if (block.exists && op.value) block.value = *op.value;
    return whole();
  }
  Outcome operator()(const op::AppendToBlock& op) const {
    if (block.exists) block.value += (block.value.empty() ? "" : "\n") + op.line;
    return whole();
  }
  Outcome operator()(const op::EditBlock& op) const {
    if (!block.exists) return answer(Answer::not_found);
    std::string& value = block.value;
    if (op.how == op::EditBlock::How::replace) {
      const std::size_t at = value.find(op.old_text);
      const bool once = at != std::string::npos && value.rfind(op.old_text) == at && !op.old_text.empty();
      if (!once) return answer(Answer::refused);
      value.replace(at, op.old_text.size(), op.text);
    } else if (value.empty()) {
      value = op.text;
    } else {
      value = op.how == op::EditBlock::How::append ? value + "\n" + op.text : op.text + "\n" + value;
    }
    return whole();
  }
  Outcome operator()(const op::DeleteBlock& /*op*/) const {
    if (!block.exists) return answer(Answer::not_found);
    block.exists = false;
    block.deleted = true;
    return answer(Answer::ok);
  }
  Outcome operator()(const op::ReadBlock& /*op*/) const { return whole(); }
  template <class Other>
  Outcome operator()(const Other& /*op*/) const {
    return answer(Answer::refused);  // Not a block's affair.
  }
};

bool prefix_of(const Texts& part, const Texts& whole) {
  return part.size() <= whole.size() && std::equal(part.begin(), part.end(), whole.begin());
}

bool turn_agrees(const TurnSeen& seen, const TurnState& turn) {
  if (seen.text != turn.text) return false;
  if (!turn.replies) return true;
  return turn.open ? prefix_of(seen.replies, *turn.replies) : seen.replies == *turn.replies;
}

bool blocks_agree(const std::vector<op::BlockBirth>& expected, const std::vector<op::BlockBirth>& seen) {
  // A model of one agent knows no labels and values: they are empty there.
  const auto same = [](const op::BlockBirth& wanted, const op::BlockBirth& shown) {
    return wanted.block == shown.block && (wanted.label.empty() || wanted.label == shown.label) &&
           (wanted.value.empty() || wanted.value == shown.value);
  };
  return std::equal(expected.begin(), expected.end(), seen.begin(), seen.end(), same);
}

template <class T>
bool same_if_shown(const std::optional<T>& expected, const std::optional<T>& seen) {
  return !expected || !seen || *expected == *seen;
}

void add(std::string& text, std::string_view field) {
  text.append(std::to_string(field.size())).append(":").append(field);
}
void add_all(std::string& text, const Texts& fields) {
  text.append(std::to_string(fields.size())).append("[");
  for (const std::string& field : fields) add(text, field);
}

}  // namespace

Outcome AgentModel::apply(const Op& op) {
  return std::visit(AgentStep{*this}, op);
}
Outcome BlockModel::apply(const Op& op) {
  return std::visit(BlockStep{*this}, op);
}

std::string fingerprint(const AgentModel& agent) {
  std::string text = std::string(agent.exists ? "e" : "-") + (agent.deleted ? "d" : "-");
  add(text, agent.name);
  add_all(text, agent.tags);
  add_all(text, agent.blocks);
  for (const TurnState& turn : agent.turns) {
    add(text, turn.text);
    text += turn.open ? "o" : "c";
    if (turn.replies) add_all(text, *turn.replies);
  }
  return text;
}
std::string fingerprint(const BlockModel& block) {
  std::string text = std::string(block.exists ? "e" : "-") + (block.deleted ? "d" : "-");
  add(text, block.label);
  add(text, block.value);
  return text;
}

bool agrees(const Outcome& expected, const Outcome& actual, const AgentModel* agent) {
  if (expected.answer != actual.answer) return false;
  if (actual.answer != Answer::ok) return true;
  const Seen& seen = actual.seen;
  if (!same_if_shown(expected.seen.name, seen.name) || !same_if_shown(expected.seen.tags, seen.tags) ||
      !same_if_shown(expected.seen.label, seen.label) || !same_if_shown(expected.seen.value, seen.value) ||
      !same_if_shown(expected.seen.ids, seen.ids) || !same_if_shown(expected.seen.texts, seen.texts)) {
    return false;
  }
  if (expected.seen.blocks && seen.blocks && !blocks_agree(*expected.seen.blocks, *seen.blocks)) return false;
  if (!expected.seen.turns || !seen.turns || agent == nullptr) return true;
  return std::equal(seen.turns->begin(), seen.turns->end(), agent->turns.begin(), agent->turns.end(),
                    turn_agrees);
}

const AgentModel* Model::agent(const std::string& id) const {
  const auto found = agents_.find(id);
  return found == agents_.end() ? nullptr : &found->second;
}

bool Model::block_exists(const std::string& id) const {
  const auto found = blocks_.find(id);
  return found != blocks_.end() && found->second.exists;
}

// An agent with the labels and values of those of its blocks that are there.
Outcome Model::shown(const std::string& agent) const {
  AgentModel copy = agents_.at(agent);
  Outcome outcome = copy.apply(op::ReadAgent{agent});
  if (!outcome.seen.blocks) return outcome;
  std::vector<op::BlockBirth> there;
  for (const op::BlockBirth& block : *outcome.seen.blocks) {
    if (!block_exists(block.block)) continue;
    const BlockModel& found = blocks_.at(block.block);
    there.push_back({block.block, found.label, found.value});
  }
  outcome.seen.blocks = std::move(there);
  return outcome;
}

Outcome Model::attach(const op::AttachBlock& op) {
  AgentModel& agent = agents_[op.agent];
  if (!agent.exists || !block_exists(op.block)) return answer(Answer::not_found);
  const auto& attached = agent.blocks;
  if (std::find(attached.begin(), attached.end(), op.block) == attached.end()) {
    for (const std::string& other : attached) {
      if (block_exists(other) && blocks_[other].label == blocks_[op.block].label) {
        return answer(Answer::conflict);
      }
    }
  }
  agent.apply(op);
  return shown(op.agent);
}

Outcome Model::apply(const Op& op) {
  const auto on_agent = [this, &op](const auto& of_agent) {
    const Outcome outcome = agents_[of_agent.agent].apply(op);
    return outcome.seen.blocks ? shown(of_agent.agent) : outcome;
  };
  return std::visit(
      Overloaded{[this, &op](const op::CreateAgent& create) {
                   const Outcome outcome = agents_[create.agent].apply(op);
                   if (outcome.answer != Answer::ok) return outcome;
                   for (const op::BlockBirth& birth : create.blocks) {
                     blocks_[birth.block].apply(op::CreateBlock{birth.block, birth.label, birth.value});
                   }
                   return shown(create.agent);
                 },
                 [this](const op::AttachBlock& of) { return attach(of); },
                 [this](const op::ListAgents& /*list*/) {
                   Outcome outcome = answer(Answer::ok);
                   outcome.seen.ids.emplace();
                   for (const auto& [id, agent] : agents_) {
                     if (agent.exists) outcome.seen.ids->push_back(id);
                   }
                   return outcome;
                 },
                 [this, &op](const op::CreateBlock& of) { return blocks_[of.block].apply(op); },
                 [this, &op](const op::UpdateBlock& of) { return blocks_[of.block].apply(op); },
                 [this, &op](const op::AppendToBlock& of) { return blocks_[of.block].apply(op); },
                 [this, &op](const op::EditBlock& of) { return blocks_[of.block].apply(op); },
                 [this, &op](const op::DeleteBlock& of) { return blocks_[of.block].apply(op); },
                 [this, &op](const op::ReadBlock& of) { return blocks_[of.block].apply(op); }, on_agent},
      op);
}

}  // namespace varve::sim
