#include "sim/witness.h"

#include <algorithm>

namespace varve::sim {
namespace {

// The text of a message that a part of that type shows; nothing if it is not compared.
std::optional<std::string> text_shown(const Message& message, const std::string& type) {
  if (type == "reasoning_message") return message.reasoning;
  if (type == "assistant_message") return text_of(message);
  if (type == "tool_return_message") return message.is_error ? "error" : "success";
  if (type == "tool_call_message" && !message.tool_calls.empty()) return message.tool_calls.front().id;
  return std::nullopt;
}

}  // namespace

Witness::Witness(const LogOracle& log) {
  for (std::uint32_t i = 0; i < log.partitions(); ++i) {
    for (const JudgedRecord& record : log.judged(Partition{i})) {
      if (!record.admitted() || record.commit() == nullptr) continue;
      for (const auto& part : record.commit()->parts) {
        for (const StoredEvent& stored : part.events) {
          if (const auto* event = std::get_if<Event>(&stored)) take(part.stream, *event);
        }
      }
    }
  }
}

void Witness::take(const StreamId& stream, const Event& event) {
  const auto ends = [this](const std::string& run, const std::string& reason) {
    if (++runs_[run].ends == 1) runs_[run].stop_reason = reason;
  };
  if (const auto* begun = std::get_if<UserMessageReceived>(&event)) {
    for (const Message& message : begun->messages) {
      if (message.role == Role::tool) runs_[begun->run_id].messages.push_back(&message);
      if (message.role == Role::user && !text_of(message).empty()) ++sent_[text_of(message)];
    }
    runs_[begun->run_id];
  } else if (const auto* replied = std::get_if<AssistantReplied>(&event)) {
    runs_[replied->run_id].messages.push_back(&replied->message);
  } else if (const auto* returned = std::get_if<ToolReturned>(&event)) {
    runs_[returned->run_id].messages.push_back(&returned->message);
  } else if (const auto* finished = std::get_if<TurnFinished>(&event)) {
    ends(finished->run_id, finished->stop_reason);
  } else if (const auto* failed = std::get_if<TurnFailed>(&event)) {
    ends(failed->run_id, failed->stop_reason);
  } else if (const auto* cancelled = std::get_if<TurnCancelled>(&event)) {
    ends(cancelled->run_id, "cancelled");
  } else if (const auto* updated = std::get_if<BlockUpdated>(&event)) {
    ++set_[updated->block.value];
  } else if (const auto* created = std::get_if<AgentCreated>(&event)) {
    names_[stream.value()] = created->settings.name;
    Created one;
    one.agent = stream.value();
    by_name_[created->settings.name].push_back(std::move(one));
  }
  const auto name = names_.find(stream.value());
  if (name == names_.end()) return;
  Created& import = by_name_.at(name->second).back();
  if (import.agent != stream.value()) return;  // Two of one name: check_import() says so.
  if (const auto* begun = std::get_if<ImportBegun>(&event)) import.records = begun->records;
  if (const auto* some = std::get_if<MessagesImported>(&event)) {
    ++import.records_found;
    import.messages += some->messages.size();
  }
  if (std::holds_alternative<ImportSealed>(event)) import.sealed = true;
}

void Witness::resolve(const Evidence& evidence, History& history) const {
  for (const Evidence::Import& import : evidence.imports) {
    const auto found = by_name_.find(import.name);
    if (found == by_name_.end()) continue;
    auto op = std::get<op::CreateAgent>(history.entries().at(import.operation).op);
    if (!op.agent.empty()) continue;
    op.agent = found->second.front().agent;
    history.resolve(import.operation, std::move(op));
  }
}

void Witness::check(const Evidence& evidence, Violations& violations) const {
  for (const auto& [id, run] : runs_) {
    if (run.ends > 1) violations.add("I2", id + " ends " + std::to_string(run.ends) + " times");
  }
  // Clients write every message once only, with one key or without.
  for (const auto& [text, count] : sent_) {
    if (count > 1) violations.add("I2", "'" + text + "' has begun " + std::to_string(count) + " turns");
  }
  for (const std::string& value : evidence.keyless) {
    const auto set = set_.find(value);
    if (set == set_.end() || set->second < 2) continue;
    violations.add("I2", "'" + value + "' was written " + std::to_string(set->second) + " times");
  }
  for (const Evidence::Streamed& seen : evidence.streams) check_stream(seen, violations);
  for (const TurnTold& told : evidence.ends) {
    const auto run = runs_.find(told.run);
    if (run == runs_.end() || run->second.ends == 0) {
      violations.add("I6", "a client was told that " + told.run + " ended; the log has no such end");
    } else if (run->second.stop_reason != told.stop_reason) {
      violations.add("I6", "a client was told that " + told.run + " ended by '" + told.stop_reason +
                               "'; in the log it is '" + run->second.stop_reason + "'");
    }
  }
  for (const std::string& id : evidence.cancelled) {
    const auto run = runs_.find(id);
    if (run != runs_.end() && run->second.stop_reason == "cancelled") continue;
    violations.add("I6", "a client was told that " + id + " is cancelled; in the log it is not");
  }
  for (const Evidence::Import& import : evidence.imports) check_import(import, violations);
}

void Witness::check_stream(const Evidence::Streamed& seen, Violations& violations) const {
  if (seen.read.messages.empty()) return;
  const std::string what = "a stream of " + seen.read.run + " from " + std::to_string(seen.after) + " on ";
  const auto run = runs_.find(seen.read.run);
  if (run == runs_.end()) return violations.add("I6", what + "shows messages of an unknown turn");
  const auto& committed = run->second.messages;
  auto place = static_cast<std::size_t>(seen.after);
  for (const StreamedMessage& message : seen.read.messages) {
    const bool next = place < committed.size() && committed[place]->id == message.id;
    const auto known = [&message](const Message* one) { return one->id == message.id; };
    if (!next && seen.tokens && std::none_of(committed.begin(), committed.end(), known)) continue;
    if (!next) {
      return violations.add("I6", what + "shows " + message.id + ", which is not message " +
                                      std::to_string(place + 1) + " of that turn");
    }
    // Its number is known once it is committed; until then its parts carry the one before.
    const auto number = static_cast<std::int64_t>(place) + 1;
    if (message.number > number || (!seen.tokens && message.number != number)) {
      violations.add("I6", what + "numbers " + message.id + " " + std::to_string(message.number) +
                               " instead of " + std::to_string(number));
    }
    const bool whole = message.number == number;
    for (const auto& [type, text] : message.parts) {
      const auto wanted = text_shown(*committed[place], type);
      if (!wanted) continue;
      const bool fits = whole ? *wanted == text : wanted->starts_with(text);
      if (!fits) violations.add("I6", what + "shows '" + text + "' for '" + *wanted + "'");
    }
    ++place;
  }
}

void Witness::check_import(const Evidence::Import& import, Violations& violations) const {
  const auto found = by_name_.find(import.name);
  const std::string what = "the import of '" + import.name + "' ";
  if (found == by_name_.end()) {
    if (!import.answered.empty()) violations.add("I1", what + "was answered, and nothing is in the log");
    return;
  }
  if (found->second.size() > 1) {
    return violations.add("I2", what + "has made " + std::to_string(found->second.size()) + " agents");
  }
  const Created& made = found->second.front();
  if (!import.agent.empty() && made.agent != import.agent) {
    violations.add("I2", what + "has made " + made.agent + " instead of " + import.agent);
  }
  if (!import.answered.empty() && (import.answered.size() != 1 || import.answered.front() != made.agent)) {
    violations.add("I2", what + "was answered with another agent than " + made.agent);
  }
  if (!import.answered.empty() && !made.sealed)
    violations.add("I1", what + "was answered, and is not sealed");
  const bool whole = made.records == made.records_found && made.messages == import.messages;
  if (made.sealed && !whole) violations.add("I2", what + "is sealed, and a part of it is missing");
}

}  // namespace varve::sim
