#include "sim/effects.h"

#include <algorithm>

#include "runtime/json.h"

namespace varve::sim {
namespace {

std::string text_in(const Json& object, std::string_view key) {
  const Json* found = object.find(key);
  return found != nullptr && found->is_string() ? found->as_string() : "";
}

// What a call of a memory tool asks for; nothing if it is another tool, or nonsense.
std::optional<op::EditBlock> edit_asked(const ToolCall& call) {
  const auto arguments = Json::parse(call.arguments);
  if (!arguments || !arguments->is_object()) return std::nullopt;
  op::EditBlock edit;
  if (call.name == "core_memory_append") {
    edit.text = text_in(*arguments, "content");
  } else if (call.name == "memory_insert") {
    edit.text = text_in(*arguments, "new_string");
    const Json* line = arguments->find("insert_line");
    if (line != nullptr && line->as_integer() == 0) edit.how = op::EditBlock::How::insert_first;
  } else if (call.name == "memory_replace" || call.name == "core_memory_replace") {
    const bool core = call.name == "core_memory_replace";
    edit.how = op::EditBlock::How::replace;
    edit.old_text = text_in(*arguments, core ? "old_content" : "old_string");
    edit.text = text_in(*arguments, core ? "new_content" : "new_string");
  } else {
    return std::nullopt;
  }
  return edit;
}

std::string named(const ModelStep& step) {
  return "step " + std::to_string(step.step) + " of the turn " + step.turn;
}

}  // namespace

Effects::Effects(const LogOracle& log, const ModelJournal& journal, History& history, World world)
    : log_(log),
      journal_(journal),
      history_(history),
      world_(std::move(world)),
      seen_(log.partitions(), 0),
      claims_(log.partitions()) {}

void Effects::look() {
  for (std::uint32_t i = 0; i < seen_.size(); ++i) {
    const auto& judged = log_.judged(Partition{i});
    while (seen_[i] < judged.size()) take(Partition{i}, judged[seen_[i]++]);
  }
}

void Effects::take(Partition partition, const JudgedRecord& record) {
  if (!record.admitted()) return;
  if (std::holds_alternative<Claim>(*record.record)) {
    claims_[partition.value()].push_back(world_.now());
    return;
  }
  const Commit* commit = record.commit();
  if (commit == nullptr) return;
  for (const auto& part : commit->parts) {
    for (const StoredEvent& stored : part.events) {
      const auto* event = std::get_if<Event>(&stored);
      if (event != nullptr) take_event(partition, part.stream, *commit, *event);
    }
  }
}

void Effects::take_event(Partition partition, const StreamId& stream, const Commit& commit,
                         const Event& event) {
  if (const auto* begun = std::get_if<UserMessageReceived>(&event)) {
    if (begun->messages.empty()) return;
    const Message& last = begun->messages.back();
    const std::string& key = last.step_id.empty() ? last.id : last.step_id;
    turns_[key] = {begun->run_id, commit.command.id, partition, world_.now(), {}};
    by_run_[begun->run_id] = key;
  } else if (const auto* replied = std::get_if<AssistantReplied>(&event)) {
    take_reply(*replied);
  } else if (const auto* returned = std::get_if<ToolReturned>(&event)) {
    take_return(*returned);
  } else if (const auto* updated = std::get_if<BlockUpdated>(&event)) {
    take_edit(stream, commit, *updated);
  }
}

void Effects::take_reply(const AssistantReplied& replied) {
  const auto key = by_run_.find(replied.run_id);
  if (key == by_run_.end()) return violations_.add("I8", replied.run_id + " has a reply and no beginning");
  Turn& turn = turns_.at(key->second);
  Reply reply{key->second, turn.replies.size(), {}};
  turn.replies.push_back(world_.now());
  const Message& message = replied.message;
  for (std::size_t i = 0; i < message.tool_calls.size(); ++i) {
    const ToolCall& call = message.tool_calls[i];
    reply.calls.push_back(call.id);
    // The command's id is made of turn and call (DESIGN.md, section 5).
    const std::string intent = to_hex(turn.command) + "/tool/" + message.step_id + "/" + std::to_string(i);
    const CommandId command = command_id_from_text(intent);
    intents_[command] = {call.id, edit_asked(call), std::nullopt};
    commands_[call.id] = command;
  }
  replies_.push_back(std::move(reply));
}

void Effects::take_return(const ToolReturned& returned) {
  const auto command = commands_.find(returned.message.tool_call_id);
  if (command == commands_.end()) {
    return violations_.add("I8", returned.message.tool_call_id + " returns, which the log does not hold");
  }
  const Intent& intent = intents_.at(command->second);
  // What failed at last may have been done before: by an owner that could not record it.
  if (returned.message.is_error || !intent.edit || intent.edited) return;
  violations_.add("I8", "the tool call " + intent.call + " is said to be done, and has edited nothing");
}

void Effects::take_edit(const StreamId& block, const Commit& commit, const BlockUpdated& updated) {
  const CommandId& id = commit.command.id;
  const auto found = intents_.find(id);
  if (found == intents_.end()) {
    if (world_.asked_by_client(id, updated.block.value)) return;
    return violations_.add("I8", block.value() + " was edited by " + to_hex(id) +
                                     ", which neither a client nor a tool call in the log asked for");
  }
  Intent& intent = found->second;
  if (intent.edited || !intent.edit) {
    const std::string before = intent.edited ? intent.edited->value() + " and " : "";
    return violations_.add("I8", "the tool call " + intent.call + " has edited " + before + block.value());
  }
  intent.edited = block;
  op::EditBlock edit = *intent.edit;
  edit.block = block.value();
  Outcome outcome;
  outcome.answer = Answer::ok;
  outcome.settled = false;
  outcome.seen.value = updated.block.value;
  history_.end(history_.begin(kToolsClient, std::move(edit)), std::move(outcome));
}

void Effects::at_rest() {
  look();
  for (const auto& [step, askings] : journal_.all()) check_askings(step, askings);
  for (const Reply& reply : replies_) check_reply(reply);
}

void Effects::check_askings(const ModelStep& step, const std::vector<ModelAsking>& askings) {
  if (step.turn.starts_with("text-")) return;  // A summary.
  const auto found = turns_.find(step.turn);
  if (found == turns_.end()) {
    return violations_.add("I8", "the model was asked about " + named(step) + ", which is not in the log");
  }
  const Turn& turn = found->second;
  const auto& claims = claims_[turn.partition.value()];
  for (std::size_t i = 0; i < askings.size(); ++i) {
    const MonoTime at = askings[i].at;
    const bool known = turn.since <= at && step.step <= turn.replies.size() &&
                       (step.step == 0 || turn.replies[step.step - 1] <= at);
    if (!known) {
      violations_.add("I8", "the model was asked about " + named(step) + " before the log held it");
    }
    // One asking for the ownership under which the turn began, and one for each that came later.
    const auto later = std::count_if(claims.begin(), claims.end(), [&turn, at](MonoTime claim) {
      return claim > turn.since && claim <= at;
    });
    if (i > static_cast<std::size_t>(later)) {
      violations_.add("I8", "the model was asked about " + named(step) + " " + std::to_string(i + 1) +
                                " times under " + std::to_string(later + 1) + " ownerships");
    }
  }
}

void Effects::check_reply(const Reply& reply) {
  const auto askings = journal_.all().find(ModelStep{reply.turn, reply.step});
  if (askings == journal_.all().end()) {
    return violations_.add("I8", "the reply " + std::to_string(reply.step) + " of the turn " + reply.turn +
                                     " was never asked for");
  }
  const auto fits = [&reply](const ModelAsking& asking) {
    return asking.end == ModelAsking::End::replied && asking.calls == reply.calls;
  };
  if (std::any_of(askings->second.begin(), askings->second.end(), fits)) return;
  violations_.add("I8", "the reply to " + named(askings->first) + " is none that the model gave");
}

}  // namespace varve::sim
