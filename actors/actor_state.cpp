#include "actors/actor_state.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "actors/agent_teleport.h"

namespace varve {
namespace {

struct Applier {
  ActorState& state;
  const Commit& commit;
  Sequence sequence;  // Of the event.

  AgentState& agent() const {
    if (auto* agent = std::get_if<AgentState>(&state.body)) return *agent;
    return state.body.emplace<AgentState>();
  }
  BlockState& block() const {
    if (auto* block = std::get_if<BlockState>(&state.body)) return *block;
    return state.body.emplace<BlockState>();
  }
  OpenTurn* turn(const std::string& run_id) const {
    auto& open = agent().turn;
    return open && open->run_id == run_id ? &*open : nullptr;
  }
  void remember(const Message& message, const std::string& run_id) const {
    const std::int64_t tokens = tokens_of(message);
    agent().context.push_back({std::make_shared<const Message>(message), run_id, tokens});
    agent().context_tokens += tokens;
  }
  void forget(const std::vector<std::string>& message_ids) const {
    AgentState& agent_state = agent();
    const std::set<std::string_view> leaving(message_ids.begin(), message_ids.end());
    std::erase_if(agent_state.context, [&](const ContextMessage& entry) {
      if (!leaving.contains(entry.message->id)) return false;
      agent_state.context_tokens -= entry.tokens;
      return true;
    });
  }

  void operator()(const AgentCreated& event) const {
    AgentState& agent_state = agent();
    agent_state.settings = event.settings;
    agent_state.blocks = event.blocks;
    for (const Message& message : event.messages) remember(message, "");
    if (!event.erasable) return;
    state.erasable = true;
    for (std::size_t i = 1; i < commit.parts.size(); ++i) state.born_with.push_back(commit.parts[i].stream);
  }
  void operator()(const AgentUpdated& event) const { agent().settings = event.settings; }
  void operator()(const AgentDeleted& /*event*/) const {
    // Its history is in the views; what a retry may still ask for is kept outside of the body.
    state.deleted = true;
    state.body.emplace<AgentState>();
  }
  void operator()(const AgentErased& /*event*/) const {
    state.deleted = true;
    state.gone = kGoneErased;
    state.body.emplace<AgentState>();
  }
  void operator()(const BlockAttached& event) const { agent().blocks.push_back(event.block); }
  void operator()(const BlockDetached& event) const {
    std::erase_if(agent().blocks, [&](const BlockRef& ref) { return ref.block == event.block; });
  }
  void operator()(const ContextTrimmed& event) const { forget(event.message_ids); }
  void operator()(const ContextSummarized& event) const {
    forget(event.message_ids);
    std::vector<ContextMessage>& context = agent().context;
    const std::int64_t tokens = tokens_of(event.summary);
    const auto place = context.empty() ? context.begin() : std::next(context.begin());
    context.insert(place, {std::make_shared<const Message>(event.summary), "", tokens});
    agent().context_tokens += tokens;
  }

  void operator()(const UserMessageReceived& event) const {
    OpenTurn turn;
    turn.run_id = event.run_id;
    turn.command = commit.command.id;
    turn.request_id = commit.command.request_id;
    turn.first = sequence;
    turn.started_at = commit.at;
    turn.deadline = event.deadline;
    turn.max_steps = event.max_steps;
    turn.request = event.request;
    for (const Message& message : event.messages) {
      if (message.role == Role::tool) turn.message_times.push_back(commit.at);
    }
    agent().turn = std::move(turn);
    for (const Message& message : event.messages) remember(message, event.run_id);
  }
  void operator()(const AssistantReplied& event) const {
    if (OpenTurn* open = turn(event.run_id)) {
      open->usage.prompt_tokens += event.usage.prompt_tokens;
      open->usage.completion_tokens += event.usage.completion_tokens;
      ++open->usage.steps;
      open->usage.context_tokens = event.usage.prompt_tokens + event.usage.completion_tokens;
      open->message_times.push_back(commit.at);
    }
    remember(event.message, event.run_id);
  }
  void operator()(const ToolReturned& event) const {
    if (OpenTurn* open = turn(event.run_id)) open->message_times.push_back(commit.at);
    remember(event.message, event.run_id);
  }
  void operator()(const TurnResumed& event) const {
    if (OpenTurn* open = turn(event.run_id)) {
      open->attempt = event.attempt;
      open->handed_over = false;
    }
  }
  void operator()(const TurnHandedOver& event) const {
    if (OpenTurn* open = turn(event.run_id)) open->handed_over = true;
  }
  void operator()(const TurnFinished& /*event*/) const { agent().turn.reset(); }
  void operator()(const TurnFailed& /*event*/) const { agent().turn.reset(); }
  void operator()(const TurnCancelled& /*event*/) const { agent().turn.reset(); }
  void operator()(const ImportBegun& event) const {
    agent().importing = true;
    agent().import_hash = event.hash;
    agent().import_records = event.records;
  }
  void operator()(const ImportSealed& /*event*/) const { agent().importing = false; }
  void operator()(const MessagesImported& event) const {
    const std::set<std::string_view> outside(event.out_of_context.begin(), event.out_of_context.end());
    for (const Message& message : event.messages) {
      if (outside.contains(message.id)) continue;
      if (message.role == Role::summary) {
        remember_summary(message);
      } else {
        remember(message, "");
      }
    }
    ++agent().records_imported;
  }
  // A history has it where it was made; it stands for what came before everything else in the context.
  void remember_summary(const Message& summary) const {
    std::vector<ContextMessage>& context = agent().context;
    auto place = context.empty() ? context.begin() : std::next(context.begin());
    while (place != context.end() && place->message->role == Role::summary) ++place;
    const std::int64_t tokens = tokens_of(summary);
    context.insert(place, {std::make_shared<const Message>(summary), "", tokens});
    agent().context_tokens += tokens;
  }
  void operator()(const AgentForked& /*event*/) const { agent(); }

  void operator()(const EventTeleported& event) const {
    Teleport& teleport = state.teleport ? *state.teleport : state.teleport.emplace();
    const CommandRef command = source_command(event);
    if (sequence == Sequence{1}) {
      teleport.source = event.source;
      teleport.origin = event.origin;
      state.created_at = event.at;
      state.created_by = command;  // A client that creates it again finds it here, too.
      state.created_by.request_id.clear();
    }
    teleport.chain = next_chain(teleport.chain, event);
    teleport.carried = sequence.value();
    if (event.inner) carry(event, command, teleport);
    if (event.client) state.recent.add({command.id, command.hash, sequence});
  }
  void carry(const EventTeleported& event, const CommandRef& command, Teleport& teleport) const {
    const Event& inner = event.inner->event;
    // Of an earlier teleport, which is over.
    if (std::holds_alternative<TeleportSealed>(inner)) return;
    Commit source;
    source.at = event.at;
    source.command = command;
    source.parts.push_back({state.stream, sequence, {}});
    std::visit(Applier{state, source, sequence}, inner);
    if (changes_entity(inner)) teleport.updated_at = event.at;
  }
  void operator()(const TeleportSealed& /*event*/) const {
    if (state.teleport) state.teleport->sealed = true;
  }
  void operator()(const AgentMoved& event) const {
    state.gone = kGoneMoved + event.place;
    state.body.emplace<AgentState>();
  }

  CatalogueState& catalogue() const {
    if (auto* catalogue = std::get_if<CatalogueState>(&state.body)) return *catalogue;
    return state.body.emplace<CatalogueState>();
  }
  void operator()(const ToolCreated& event) const {
    catalogue().tools[event.tool.id] = {event.tool, commit.at};
  }
  void operator()(const ToolUpdated& event) const {
    catalogue().tools[event.tool.id] = {event.tool, event.created_at};
  }
  void operator()(const ToolDeleted& event) const { catalogue().tools.erase(event.id); }

  void operator()(const BlockCreated& event) const {
    block().value = event.block;
    state.erasable = event.erasable;
    const Part& first = commit.parts.front();
    for (const StoredEvent& stored : first.events) {
      const auto* other = std::get_if<Event>(&stored);
      if (other != nullptr && std::holds_alternative<ImportBegun>(*other)) {
        block().imported_with = first.stream;
      }
    }
  }
  void operator()(const BlockUpdated& event) const { block().value = event.block; }
  void operator()(const BlockDeleted& /*event*/) const {
    state.deleted = true;
    state.body.emplace<BlockState>();
  }
};

void mark_corrupt(ActorState& state, Offset offset, std::string why) {
  state.corrupt = true;
  state.bad_offset = offset;
  state.why_corrupt = std::move(why);
}

}  // namespace

namespace {

std::uint32_t mark_of(const CommandId& id) {
  std::uint32_t mark = 0;
  std::memcpy(&mark, id.bytes.data(), sizeof(mark));
  return mark;
}

}  // namespace

void RecentCommands::add(const RecentCommand& command) {
  if (ring_.size() < kRecentCommandsMax) {
    ring_.push_back(command);
    marks_.push_back(mark_of(command.id));
    return;
  }
  ring_[start_] = command;
  marks_[start_] = mark_of(command.id);
  start_ = (start_ + 1) % kRecentCommandsMax;
}

const RecentCommand* RecentCommands::find(const CommandId& id) const {
  // All of them, without a way out in between: then many are compared at a time.
  const std::uint32_t wanted = mark_of(id);
  std::uint32_t seen = 0;
  for (const std::uint32_t mark : marks_) seen |= static_cast<std::uint32_t>(mark == wanted);
  if (seen == 0) return nullptr;
  const auto found =
      std::find_if(ring_.begin(), ring_.end(), [&](const RecentCommand& c) { return c.id == id; });
  return found == ring_.end() ? nullptr : &*found;
}

std::vector<RecentCommand> RecentCommands::list() const {
  std::vector<RecentCommand> ordered;
  ordered.reserve(ring_.size());
  for (std::size_t i = 0; i < ring_.size(); ++i) ordered.push_back(ring_[(start_ + i) % ring_.size()]);
  return ordered;
}

std::int64_t tokens_of(const Message& message) {
  // About four bytes of English make a token; the constant covers role and separators.
  std::size_t bytes = message.content.size() + message.reasoning.size();
  for (const ToolCall& call : message.tool_calls) bytes += call.name.size() + call.arguments.size();
  return static_cast<std::int64_t>(bytes / 4 + 4);
}

void apply_part(ActorState& state, const Commit& commit, const Part& part, Offset offset, bool deciding) {
  apply_part(state, commit, part, offset, deciding, {});
}

void apply_part(ActorState& state, const Commit& commit, const Part& part, Offset offset, bool deciding,
                const EventPlaces& absent) {
  if (state.corrupt) return;
  if (part.first != next(state.sequence)) {
    return mark_corrupt(state, offset,
                        "its sequences jump from " + std::to_string(state.sequence.value()) + " to " +
                            std::to_string(part.first.value()));
  }
  if (state.sequence == Sequence{}) {
    state.stream = part.stream;
    state.born = offset;
    state.created_at = commit.at;
    state.created_by = commit.command;
    state.created_by.request_id.clear();
  }
  for (std::size_t i = 0; i < part.events.size(); ++i) {
    const StoredEvent& stored = part.events[i];
    const Sequence sequence = next(state.sequence);
    const bool skipped =
        !absent.empty() && absent.contains({part.stream, offset, static_cast<std::int64_t>(i)});
    if (!skipped) {
      const auto* event = std::get_if<Event>(&stored);
      if (event == nullptr) return mark_corrupt(state, offset, std::get<UnreadableEvent>(stored).why);
      std::visit(Applier{state, commit, sequence}, *event);
    }
    state.sequence = sequence;
  }
  if (deciding && commit.command.client)
    state.recent.add({commit.command.id, commit.command.hash, part.first});
}

}  // namespace varve
