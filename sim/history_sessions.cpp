// I6: what sessions are promised, entity by entity. Weaker than linearizability, but it needs no search, and
// says what is wrong.
#include <algorithm>
#include <map>
#include <optional>

#include "sim/history.h"

namespace varve::sim {
namespace {

struct Write {
  std::string value;
  std::uint64_t begin = 0;
  std::uint64_t end = kForever;
  bool settled = false;
};
struct Read {
  std::string value;
  ClientId client = 0;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

// One field of an entity: the last write counts.
struct Register {
  std::vector<Write> writes;
  std::vector<Read> reads;
  bool judged = true;  // Not if something writes a value that depends on the one before.
};

struct Sessions {
  const std::string& entity;
  const EntityCalls& calls;
  std::vector<Violation>& violations;

  void fail(std::string what) const { violations.push_back({"I6", entity + ": " + std::move(what)}); }

  // ---- registers ----

  static bool took_effect(const Call& call) { return call.outcome.answer == Answer::ok; }
  static bool maybe(const Call& call) {
    return call.outcome.answer == Answer::ok || call.outcome.answer == Answer::unknown;
  }
  static void wrote(Register& field, const Call& call, const std::optional<std::string>& value) {
    if (!value || !maybe(call)) return;
    field.writes.push_back(
        {*value, call.begin, call.end, took_effect(call) && call.outcome.settled && call.end != kForever});
  }
  static void was_read(Register& field, const EntityCall& one, const std::optional<std::string>& value) {
    if (value && one.read) field.reads.push_back({*value, one.client, one.call.begin, one.call.end});
  }

  std::map<std::string, Register> registers() const {
    std::map<std::string, Register> fields;
    for (const EntityCall& one : calls) {
      const Call& call = one.call;
      if (const auto* create = std::get_if<op::CreateAgent>(&call.op)) {
        wrote(fields["name"], call, create->name);
      } else if (const auto* update = std::get_if<op::UpdateAgent>(&call.op)) {
        wrote(fields["name"], call, update->name);
      } else if (const auto* birth = std::get_if<op::CreateBlock>(&call.op)) {
        wrote(fields["label"], call, birth->label);
        wrote(fields["value"], call, birth->value);
      } else if (const auto* edit = std::get_if<op::UpdateBlock>(&call.op)) {
        wrote(fields["label"], call, edit->label);
        wrote(fields["value"], call, edit->value);
      } else if (std::holds_alternative<op::AppendToBlock>(call.op) ||
                 std::holds_alternative<op::EditBlock>(call.op)) {
        fields["value"].judged = false;
      }
      was_read(fields["name"], one, call.outcome.seen.name);
      was_read(fields["label"], one, call.outcome.seen.label);
      was_read(fields["value"], one, call.outcome.seen.value);
    }
    return fields;
  }

  void check_register(const std::string& name, const Register& field) const {
    if (!field.judged) return;
    std::map<ClientId, std::uint64_t>
        newest;  // When the newest write that a client has seen began, at least.
    for (const Read& read : field.reads) {
      // The newest of all writes that everybody must see, by the moment at which it began.
      std::uint64_t must = 0;
      for (const Write& write : field.writes) {
        if (write.settled && write.end < read.begin) must = std::max(must, write.begin);
      }
      std::uint64_t last_end = 0;  // Of whatever wrote this value.
      std::uint64_t first_begin = kForever;
      for (const Write& write : field.writes) {
        if (write.value != read.value || write.begin > read.end) continue;
        last_end = std::max(last_end, write.end);
        first_begin = std::min(first_begin, write.begin);
      }
      const std::string what =
          "client " + std::to_string(read.client) + " reads the " + name + " '" + read.value + "'";
      if (first_begin == kForever) return fail(what + ", which nobody has written");
      if (last_end < must) return fail(what + " after a newer one was settled");
      std::uint64_t& seen = newest[read.client];
      if (last_end < seen) return fail(what + " after it has read a newer one");
      seen = std::max(seen, first_begin);
    }
  }

  // ---- being there ----

  void check_existence() const {
    std::map<ClientId, bool> has_seen;
    for (const EntityCall& one : calls) {
      const Call& read = one.call;
      if (!one.read) continue;
      const bool there = read.outcome.answer == Answer::ok;
      bool may_be = false;   // Something that may have created it had begun.
      bool must_be = false;  // Its creation was settled before.
      bool deletion_begun = false;
      bool deletion_settled = false;
      for (const EntityCall& other : calls) {
        const Call& write = other.call;
        if (other.read || !maybe(write) || write.begin > read.end) continue;
        const bool settled = took_effect(write) && write.outcome.settled && write.end < read.begin;
        if (creates(write.op)) {
          may_be = true;
          must_be = must_be || settled;
        } else if (deletes(write.op)) {
          deletion_begun = true;
          deletion_settled = deletion_settled || settled;
        }
      }
      const std::string who = "client " + std::to_string(one.client);
      if (there && !may_be) return fail(who + " reads it, and nobody has created it");
      if (there && deletion_settled) return fail(who + " reads it after its deletion was settled");
      if (!there && must_be && !deletion_begun)
        return fail(who + " misses it after its creation was settled");
      bool& seen = has_seen[one.client];
      if (!there && seen && !deletion_begun) return fail(who + " misses it after it has read it");
      seen = seen || there;
    }
  }
  static bool creates(const Op& op) {
    return std::holds_alternative<op::CreateAgent>(op) || std::holds_alternative<op::CreateBlock>(op);
  }
  static bool deletes(const Op& op) {
    return std::holds_alternative<op::DeleteAgent>(op) || std::holds_alternative<op::EraseAgent>(op) ||
           std::holds_alternative<op::DeleteBlock>(op);
  }

  // ---- messages: they are added at the end, and stay ----

  void check_messages() const {
    std::map<ClientId, std::vector<TurnSeen>> newest;
    for (const EntityCall& one : calls) {
      if (!one.read || !one.call.outcome.seen.turns) continue;
      if (!check_one_list(one, *one.call.outcome.seen.turns, newest[one.client])) return;
    }
  }
  bool check_one_list(const EntityCall& one, const std::vector<TurnSeen>& turns,
                      std::vector<TurnSeen>& before) const {
    const Call& read = one.call;
    const std::string who = "client " + std::to_string(one.client);
    std::map<std::string, std::size_t> shown;
    for (const TurnSeen& turn : turns) {
      if (++shown[turn.text] == 2) return failed(who + " reads the message '" + turn.text + "' twice");
    }
    std::map<std::string, bool> sent;
    for (const EntityCall& other : calls) {
      const auto* create = std::get_if<op::CreateAgent>(&other.call.op);
      if (create != nullptr && other.call.begin <= read.end && maybe(other.call)) {
        for (const std::string& text : create->history) {
          sent[text] = true;
          if (!shown.contains(text)) return failed(who + " misses the imported message '" + text + "'");
        }
      }
      const auto* begins = std::get_if<op::TurnBegins>(&other.call.op);
      if (begins == nullptr || other.call.begin > read.end || !maybe(other.call)) continue;
      sent[begins->text] = true;
      const bool settled =
          took_effect(other.call) && other.call.outcome.settled && other.call.end < read.begin;
      if (settled && !shown.contains(begins->text)) {
        return failed(who + " misses the message '" + begins->text + "' after its turn was settled");
      }
    }
    for (const auto& [text, count] : shown) {
      if (!sent.contains(text))
        return failed(who + " reads the message '" + text + "', which nobody has sent");
    }
    const auto same = [](const TurnSeen& a, const TurnSeen& b) { return a.text == b.text; };
    if (before.size() > turns.size() || !std::equal(before.begin(), before.end(), turns.begin(), same)) {
      return failed(who + " reads messages that do not go on from those it has read before");
    }
    for (std::size_t i = 0; i < before.size(); ++i) {
      if (before[i].replies.size() > turns[i].replies.size()) {
        return failed(who + " misses a reply to '" + turns[i].text + "' that it has read before");
      }
    }
    before = turns;
    return true;
  }
  bool failed(std::string what) const {
    fail(std::move(what));
    return false;
  }
};

}  // namespace

void check_sessions(const std::string& entity, const EntityCalls& calls, std::vector<Violation>& violations) {
  // In the order in which the reads began, whatever order they ended in.
  const Sessions sessions{entity, calls, violations};
  for (const auto& [name, field] : sessions.registers()) sessions.check_register(name, field);
  sessions.check_existence();
  sessions.check_messages();
}

}  // namespace varve::sim
