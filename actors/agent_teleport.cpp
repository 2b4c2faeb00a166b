// decide() for streams that are carried here from another log, and for agents that leave.
#include "actors/agent_teleport.h"

#include <algorithm>
#include <set>

#include "actors/agent_block.h"
#include "runtime/json_fields.h"
#include "runtime/mutant.h"

namespace varve {
namespace {

constexpr std::size_t kNameBytesMax = 255;
// An event takes little more room than it had at its source; who has filled a record there may not fit here.
constexpr std::size_t kCarriedBytesMax = kRecordBytesMax - (std::size_t{64} << 10U);

Error bad(std::string why) {
  return {Errc::invalid_argument, std::move(why)};
}

bool all_in(const std::vector<std::string>& texts, const std::vector<std::string>& among) {
  return std::all_of(texts.begin(), texts.end(), [&among](const std::string& text) {
    return std::find(among.begin(), among.end(), text) != among.end();
  });
}

// What the rows of the views need of an event of an agent: that what it ends is there, and that what it
// begins is not. The state mirrors the open rows.
struct AgentFits {
  const AgentState& agent;
  bool created = false;

  bool in_context(const std::string& id) const {
    return std::any_of(agent.context.begin(), agent.context.end(),
                       [&id](const ContextMessage& entry) { return entry.message->id == id; });
  }
  Status fresh(const std::vector<Message>& messages) const {
    std::set<std::string_view> ids;
    for (const Message& message : messages) {
      if (message.id.empty() || !ids.insert(message.id).second || in_context(message.id)) {
        return bad("the message '" + message.id + "' comes twice");
      }
    }
    return ok();
  }
  Status leave(const std::vector<std::string>& ids) const {
    std::set<std::string_view> once;
    for (const std::string& id : ids) {
      if (!once.insert(id).second || !in_context(id)) {
        return bad("the message '" + id + "' leaves the context, where it is not");
      }
    }
    return ok();
  }
  Status ends(const std::string& run_id) const {
    if (agent.turn && agent.turn->run_id == run_id) return ok();
    return bad("the turn '" + run_id + "' ends, which is not open");
  }
  bool attached(const StreamId& block) const {
    return std::any_of(agent.blocks.begin(), agent.blocks.end(),
                       [&block](const BlockRef& ref) { return ref.block == block; });
  }
  static Status tags_once(const std::vector<std::string>& tags) {
    const std::set<std::string_view> once(tags.begin(), tags.end());
    return once.size() == tags.size() ? ok() : Status{bad("a tag comes twice")};
  }

  Status operator()(const AgentCreated& event) const {
    if (created) return bad("the agent is created twice");
    if (event.erasable) {
      return bad("the agent was created erasable: its texts are sealed, and their key stays where it is");
    }
    std::set<std::string_view> blocks;
    for (const BlockRef& ref : event.blocks) {
      if (!blocks.insert(ref.block.value()).second) return bad("a block is attached twice");
    }
    if (Status once = tags_once(event.settings.tags); !once) return once;
    return fresh(event.messages);
  }
  Status operator()(const AgentUpdated& event) const {
    std::set<std::string> tags(agent.settings.tags.begin(), agent.settings.tags.end());
    for (const std::string& tag : event.tags_removed) {
      if (tags.erase(tag) == 0) return bad("the tag '" + tag + "' is removed, which the agent has not");
    }
    for (const std::string& tag : event.tags_added) {
      if (!tags.insert(tag).second) return bad("the tag '" + tag + "' comes twice");
    }
    const std::set<std::string> told(event.settings.tags.begin(), event.settings.tags.end());
    return tags == told ? ok() : Status{bad("the agent's tags are not those that it was given")};
  }
  Status operator()(const BlockAttached& event) const {
    return attached(event.block.block) ? Status{bad("a block is attached twice")} : ok();
  }
  Status operator()(const BlockDetached& event) const {
    return attached(event.block) ? ok() : Status{bad("a block is detached that is not attached")};
  }
  Status operator()(const ContextTrimmed& event) const { return leave(event.message_ids); }
  Status operator()(const ContextSummarized& event) const {
    if (Status left = leave(event.message_ids); !left) return left;
    return fresh({event.summary});
  }
  Status operator()(const UserMessageReceived& event) const {
    if (agent.turn) return bad("a turn begins while another one is open");
    return fresh(event.messages);
  }
  Status operator()(const AssistantReplied& event) const { return fresh({event.message}); }
  Status operator()(const ToolReturned& event) const { return fresh({event.message}); }
  Status operator()(const TurnResumed& /*event*/) const { return ok(); }
  Status operator()(const TurnHandedOver& /*event*/) const { return ok(); }
  Status operator()(const TurnFinished& event) const { return ends(event.run_id); }
  Status operator()(const TurnFailed& event) const { return ends(event.run_id); }
  Status operator()(const TurnCancelled& event) const { return ends(event.run_id); }
  Status operator()(const ImportBegun& /*event*/) const { return ok(); }
  Status operator()(const ImportSealed& /*event*/) const { return ok(); }
  Status operator()(const MessagesImported& event) const {
    std::vector<std::string> ids;
    for (const Message& message : event.messages) ids.push_back(message.id);
    const std::set<std::string_view> once(event.out_of_context.begin(), event.out_of_context.end());
    if (once.size() != event.out_of_context.size() || !all_in(event.out_of_context, ids)) {
      return bad("a message leaves the context, where it is not");
    }
    return fresh(event.messages);
  }
  Status operator()(const AgentForked& /*event*/) const { return ok(); }
  Status operator()(const TeleportSealed& /*event*/) const { return ok(); }
  template <class E>
  Status operator()(const E& event) const {
    return bad("an agent that is carried has no " + std::string(type_of(Event{event})));
  }
};

struct BlockFits {
  bool created = false;

  Status operator()(const BlockCreated& event) const {
    if (created) return bad("the block is created twice");
    return event.erasable ? Status{bad("the block was created erasable: its value is sealed, and its key "
                                       "stays where it is")}
                          : ok();
  }
  Status operator()(const BlockUpdated& /*event*/) const {
    return created ? ok() : Status{bad("a block is updated before it is created")};
  }
  Status operator()(const TeleportSealed& /*event*/) const { return ok(); }
  template <class E>
  Status operator()(const E& event) const {
    return bad("a block that is carried has no " + std::string(type_of(Event{event})));
  }
};

bool is_stream_of(const StreamId& stream, std::string_view prefix) {
  return stream.value().starts_with(prefix);
}

Error exists_already(const StreamId& stream) {
  return {Errc::conflict, "'" + stream.value() +
                              "' is here already and has another history; an archive can be imported under "
                              "new ids (--fork)"};
}

// How many of the command's events are here already, if they are the same; Errc::conflict if they are not.
Result<std::size_t> known_events(const ActorState& state, const AppendTeleport& command) {
  const std::uint64_t carried = state.teleport ? state.teleport->carried : 0;
  const std::uint64_t before = command.first.value() - 1;
  if (before > carried) {
    return Error{Errc::conflict, "'" + state.stream.value() + "' waits for its event " +
                                     std::to_string(carried + 1) + ", not for " +
                                     std::to_string(command.first.value())};
  }
  const auto known = std::min<std::uint64_t>(carried - before, command.events.size());
  std::string chain = command.chain;
  for (std::size_t i = 0; i < known; ++i) chain = next_chain(chain, command.events[i]);
  // Behind this piece there are more: what comes last is compared with what is last here.
  const std::string here = state.teleport ? state.teleport->chain : "";
  if (before + known == carried && chain != here) return exists_already(state.stream);
  return static_cast<std::size_t>(known);
}

}  // namespace

CommandRef source_command(const EventTeleported& event) {
  CommandRef command;
  if (const auto id = parse_command_id(event.command)) command.id = *id;
  if (const auto hash = parse_command_hash(event.command_hash)) command.hash = *hash;
  command.client = event.client;
  command.request_id = event.request_id;
  return command;
}

bool changes_entity(const Event& event) {
  return std::holds_alternative<AgentCreated>(event) || std::holds_alternative<AgentUpdated>(event) ||
         std::holds_alternative<BlockCreated>(event) || std::holds_alternative<BlockUpdated>(event);
}

std::string next_chain(const std::string& chain, const EventTeleported& event) {
  JsonWriter out;
  out.begin_object().field("before", chain).field_integer("at", event.at.value());
  out.field("cmd", event.command).field("hash", event.command_hash).field_boolean("client", event.client);
  out.field("request", event.request_id).field("type", event.type).field_integer("v", event.version);
  out.field("data", event.data).end_object();
  return to_hex(command_id_from_text(out.text()));
}

Status check_carried(const ActorState& state, const EventTeleported& event) {
  if (event.at.value() <= 0) return bad("an event has no time");
  if (!parse_command_id(event.command) || !parse_command_hash(event.command_hash)) {
    return bad("an event does not name its command");
  }
  if (!event.request_id.empty() && !is_request_id(event.request_id)) return bad("a request id is malformed");
  if (event.source.size() > kNameBytesMax || event.origin.value().size() > kNameBytesMax) {
    return bad("the name of its source is too long");
  }
  if (event.data.size() > kCarriedBytesMax) {
    return bad("an event has " + std::to_string(event.data.size()) + " bytes; a record holds " +
               std::to_string(kCarriedBytesMax));
  }
  if (event.type.empty()) return ok();
  if (!event.inner) return bad("the event " + event.type + " cannot be read");
  const Event& inner = event.inner->event;
  const bool created = state.teleport && state.teleport->updated_at != WallTime{};
  if (is_stream_of(state.stream, "block-")) return std::visit(BlockFits{created}, inner);
  if (!created && !std::holds_alternative<AgentCreated>(inner) &&
      !std::holds_alternative<AgentForked>(inner)) {
    return bad("an agent begins with AgentCreated, not with " + event.type);
  }
  static const AgentState kNone;
  const AgentState* agent = state.agent();
  return std::visit(AgentFits{agent != nullptr ? *agent : kNone, created}, inner);
}

void apply_carried(ActorState& state, EventTeleported event) {
  Commit commit;
  commit.at = event.at;
  Part part{state.stream, next(state.sequence), {}};
  part.events.emplace_back(Event{std::move(event)});
  commit.parts.push_back(part);
  apply_part(state, commit, part, Offset{}, true);
}

Status check_sealable(const ActorState& state) {
  const bool created = state.teleport && state.teleport->updated_at != WallTime{};
  if (!created) return bad("'" + state.stream.value() + "' was never created");
  const AgentState* agent = state.agent();
  if (agent != nullptr && agent->importing) {
    return bad("'" + state.stream.value() + "' is of an import that nobody has sealed");
  }
  return ok();
}

std::string teleport_json(const ActorState& state) {
  const Teleport none;
  const Teleport& teleport = state.teleport ? *state.teleport : none;
  JsonWriter out;
  out.begin_object().field_integer("carried", static_cast<std::int64_t>(teleport.carried));
  out.field("chain", teleport.chain).field_boolean("sealed", teleport.sealed).end_object();
  return out.take();
}

Result<Decision> TeleportDecider::operator()(const AppendTeleport& command) const {
  const bool agent = is_stream_of(facts.self, "agent-");
  if (!agent && !is_stream_of(facts.self, "block-")) {
    return bad("'" + facts.self.value() + "' is neither an agent nor a block");
  }
  if (state.sequence > Sequence{} && !state.teleport) return exists_already(facts.self);
  if (command.events.empty()) return Decision{};
  if (command.first == Sequence{}) return bad("the first event of a stream is its event 1");
  ActorState scratch = state;
  scratch.stream = facts.self;
  const auto known = known_events(scratch, command);
  if (!known) return known.error();
  const bool again = mutant(Mutant::carried_twice) && state.carrying() && *known > 0;
  if (*known == command.events.size() && !again) return Decision{};
  if (state.sequence > Sequence{} && !state.carrying()) return exists_already(facts.self);
  Decision decision;
  for (std::size_t i = again ? *known - 1 : *known; i < command.events.size(); ++i) {
    EventTeleported event = command.events[i];
    if (Status fits = check_carried(scratch, event); !fits && !again) {
      return bad("'" + facts.self.value() + "', event " + std::to_string(command.first.value() + i) + ": " +
                 fits.error().message);
    }
    if (scratch.sequence > Sequence{}) {
      event.source.clear();
      event.origin = StreamId{};
    }
    apply_carried(scratch, event);
    decision.events.emplace_back(std::move(event));
  }
  return decision;
}

Result<Decision> TeleportDecider::operator()(const SealTeleport& command) const {
  if (!state.teleport) {
    return Error{Errc::not_found, "'" + facts.self.value() + "' is not being carried here"};
  }
  const Teleport& teleport = *state.teleport;
  if (teleport.carried != command.events || teleport.chain != command.chain) {
    if (teleport.sealed) return exists_already(facts.self);
    return Error{Errc::conflict, "'" + facts.self.value() + "' has " + std::to_string(teleport.carried) +
                                     " of its " + std::to_string(command.events) +
                                     " events, or others than those"};
  }
  if (teleport.sealed) return Decision{};
  if (Status whole = check_sealable(state); !whole) return whole.error();
  Decision decision;
  TeleportSealed sealed;
  sealed.created_at = state.created_at;
  sealed.updated_at = teleport.updated_at;
  if (const AgentState* agent = state.agent()) {
    if (agent->turn) {
      const OpenTurn& turn = *agent->turn;
      decision.events.emplace_back(TurnCancelled{turn.run_id, turn.usage, turn.started_at, turn.request});
    }
    sealed.settings = agent->settings;
  } else if (const BlockState* block = state.block()) {
    sealed.block = block->value;
  }
  decision.events.emplace_back(std::move(sealed));
  return decision;
}

Result<Decision> TeleportDecider::operator()(const MoveAgent& command) const {
  if (!is_stream_of(facts.self, "agent-")) return bad("'" + facts.self.value() + "' is not an agent");
  if (state.gone == kGoneMoved + command.place) return Decision{};
  if (!state.gone.empty()) return Error{Errc::not_found, std::string(kGone) + state.gone};
  if (!state.exists() || state.agent() == nullptr || state.agent()->importing) {
    return Error{Errc::not_found, "Agent with ID " + facts.self.value() + " not found"};
  }
  if (state.agent()->turn) {
    return Error{Errc::conflict, "the agent has an open turn; cancel it, or wait for its end"};
  }
  if (state.sequence.value() != command.events && !mutant(Mutant::moves_whatever_came)) {
    return Error{Errc::conflict, "the agent has " + std::to_string(state.sequence.value()) +
                                     " events by now, not " + std::to_string(command.events) +
                                     ": it has changed since it was exported"};
  }
  Decision decision;
  decision.events.emplace_back(AgentMoved{command.place});
  return decision;
}

}  // namespace varve
