#include "sim/sim_model.h"

#include <algorithm>
#include <array>

#include "actors/echo_model.h"
#include "runtime/hash.h"
#include "runtime/json.h"
#include "runtime/suspend.h"
#include "runtime/utf8.h"

namespace varve::sim {

namespace {

constexpr std::uint64_t kMillion = 1'000'000;
constexpr std::size_t kEchoedBytes = 80;
constexpr std::size_t kLongWords = 400;

struct ShownBlock {
  std::string label;
  std::string value;
};

// The text between `open` and `close`, from `at` on, which moves behind it.
std::optional<std::string_view> between(std::string_view text, std::string_view open, std::string_view close,
                                        std::size_t& at) {
  const std::size_t start = text.find(open, at);
  if (start == std::string_view::npos) return std::nullopt;
  const std::size_t first = start + open.size();
  const std::size_t end = text.find(close, first);
  if (end == std::string_view::npos) return std::nullopt;
  at = end + close.size();
  return text.substr(first, end - first);
}

// The blocks of memory in a system message, as compile_prompt() shows them.
std::vector<ShownBlock> blocks_shown(std::string_view system) {
  std::vector<ShownBlock> blocks;
  std::size_t at = system.find("<memory_blocks>");
  if (at == std::string_view::npos) return blocks;
  while (const auto label = between(system, "\n\n<", ">\n", at)) {
    const auto value = between(system, "<value>\n", "\n</value>", at);
    if (!value) break;
    blocks.push_back({std::string(*label), std::string(*value)});
  }
  return blocks;
}

// A text that occurs once, if the block has one: its last line.
std::string text_to_replace(const ShownBlock& block) {
  const std::size_t newline = block.value.rfind('\n');
  const std::string last = newline == std::string::npos ? block.value : block.value.substr(newline + 1);
  const bool unique = !last.empty() && block.value.find(last) == block.value.rfind(last);
  return unique ? last : "a text that is not there";
}

// Names an asking in texts and ids.
std::string tag_of(const ModelStep& step, std::size_t asking) {
  const std::string name = step.turn + "/" + std::to_string(step.step) + "/" + std::to_string(asking);
  return to_hex(Sum128{0, xxh64(name)}).substr(16);
}

std::string first_word(const std::string& text) {
  const std::size_t start = text.find_first_not_of(" \n\t");
  if (start == std::string::npos) return "hello";
  const std::size_t end = std::min(text.find_first_of(" \n\t", start), text.size());
  return std::string(prefix_of_text(std::string_view(text).substr(start, end - start), kEchoedBytes));
}

bool after_tools(const ModelRequest& request) {
  return !request.messages.empty() && request.messages.back()->role == Role::tool;
}

// The tools that a reply may call, and whether it must call one.
std::vector<ModelTool> callable(const ModelRequest& request, bool& forced) {
  forced = false;
  if (request.tool_choice == "none" || request.tools.empty()) return {};
  if (request.tool_choice.empty() || request.tool_choice == "auto") return request.tools;
  forced = true;
  if (request.tool_choice == "required") return request.tools;
  std::vector<ModelTool> one;
  for (const ModelTool& tool : request.tools) {
    if (tool.name == request.tool_choice) one.push_back(tool);
  }
  return one;
}

}  // namespace

ModelStep step_of(const ModelRequest& request) {
  ModelStep step;
  for (auto message = request.messages.rbegin(); message != request.messages.rend(); ++message) {
    if ((*message)->role == Role::assistant) ++step.step;
    if ((*message)->role != Role::user) continue;
    step.turn = (*message)->step_id.empty() ? (*message)->id : (*message)->step_id;
    if (step.turn.empty()) step.turn = "text-" + to_hex(Sum128{0, xxh64(text_of(**message))});
    return step;
  }
  return step;
}

std::size_t ModelJournal::begin(const ModelStep& step, std::string node, MonoTime at) {
  auto& askings = all_[step];
  askings.push_back({std::move(node), at, ModelAsking::End::open, {}});
  ++askings_;
  return askings.size();
}

void ModelJournal::name_call(const ModelStep& step, std::size_t asking, const std::string& call_id) {
  all_.at(step).at(asking - 1).calls.push_back(call_id);
  calls_.emplace(call_id, step);
}

void ModelJournal::end(const ModelStep& step, std::size_t asking, ModelAsking::End end) {
  all_.at(step).at(asking - 1).end = end;
}

const ModelStep* ModelJournal::step_of_call(const std::string& call_id) const {
  const auto found = calls_.find(call_id);
  return found == calls_.end() ? nullptr : &found->second;
}

bool ModelProvider::fault(Track track, std::uint32_t ppm, std::string_view name) {
  if (!habit(track, ppm)) return false;
  counters_.add("fault.model." + std::string(name));
  return true;
}

bool ModelProvider::habit(Track track, std::uint32_t ppm) {
  return ppm > 0 && choices().chance(track, ppm, kMillion);
}

SimModel::SimModel(SimEnv& env, std::string node, ModelProvider& provider)
    : env_(env),
      node_(std::move(node)),
      number_(number_in(node_) % kNodesMax),
      provider_(provider),
      stand_in_(provider.make_stand_in(env)) {}

bool SimModel::serves(std::string_view handle) const {
  if (stand_in_) return stand_in_->serves(handle);
  return handle == "varve/sim" || EchoModel{}.serves(handle);
}

std::vector<std::string> SimModel::handles() const {
  if (stand_in_) return stand_in_->handles();
  auto all = EchoModel{}.handles();
  all.emplace_back("varve/sim");
  return all;
}

ModelOutcome SimModel::failure(const Place& place, ModelAsking::End end, int status, std::string message) {
  provider_.journal().end(place.step, place.asking, end);
  ModelFailure failed;
  failed.status = status;
  failed.message = std::move(message);
  return failed;
}

Task<ModelOutcome> SimModel::complete(ModelRequest request, MonoTime deadline) {
  return stand_in_ ? stand_in_->complete(std::move(request), deadline) : think(std::move(request), deadline);
}

Task<ModelOutcome> SimModel::think(ModelRequest request, MonoTime deadline) {
  Place place{step_of(request), 0};
  place.asking = provider_.journal().begin(place.step, node_, provider_.now());
  env_.trace("model asked step=" + std::to_string(place.step.step) +
             " asking=" + std::to_string(place.asking));
  const ModelProvider::Faults& faults = provider_.faults();
  if (provider_.fault(failing(), faults.silence_ppm, "silence")) {
    co_await sleep_until(env_, deadline);
    co_return failure(place, ModelAsking::End::failed, 504, "the model did not answer before the deadline");
  }
  const std::uint64_t thinking_us = provider_.choices().spread(pace(), faults.think_us);
  const MonoTime done = env_.now() + ModelProvider::kThink + std::chrono::microseconds{thinking_us};
  co_await sleep_until(env_, std::min(done, deadline));
  if (done > deadline) {
    co_return failure(place, ModelAsking::End::failed, 504, "the model did not answer before the deadline");
  }
  if (provider_.fault(failing(), faults.busy_ppm, "busy")) {
    constexpr std::array<int, 3> statuses{429, 500, 503};
    const int status = statuses.at(provider_.choices().choose(failing(), statuses.size()));
    co_return failure(place, ModelAsking::End::failed, status, "the provider is busy");
  }
  if (provider_.fault(failing(), faults.refusal_ppm, "refusal")) {
    const int status = provider_.choices().choose(failing(), 2) == 0 ? 400 : 401;
    co_return failure(place, ModelAsking::End::failed, status, "the provider refuses the request");
  }
  ModelReply reply = reply_to(request, place);
  co_return co_await speak(std::move(reply), std::move(request.on_delta), std::move(place), deadline);
}

ModelReply SimModel::reply_to(const ModelRequest& request, const Place& place) {
  const ModelProvider::Habits& habits = provider_.habits();
  ModelReply reply;
  const std::string said(prefix_of_text(last_user_text(request), kEchoedBytes));
  reply.text = (after_tools(request) ? "Done with: " : "You said: ") + said;
  if (provider_.habit(saying(), habits.reasoning_ppm)) reply.reasoning = "Thinking about: " + said;
  if (provider_.habit(saying(), habits.long_ppm)) {
    for (std::size_t i = 0; i < kLongWords; ++i) reply.text += " and so on";
  }
  add_calls(reply, request, place);
  reply.prompt_tokens = request.messages_tokens;
  reply.completion_tokens = static_cast<std::int64_t>(reply.text.size() / 4 + 1);
  return reply;
}

void SimModel::add_calls(ModelReply& reply, const ModelRequest& request, const Place& place) {
  const ModelProvider::Habits& habits = provider_.habits();
  bool forced = false;
  const std::vector<ModelTool> tools = callable(request, forced);
  const bool enough = place.step.step >= ModelProvider::kStepsMax;
  if (tools.empty() || (!forced && (enough || !provider_.habit(saying(), habits.tools_ppm)))) return;
  const std::string tag = tag_of(place.step, place.asking);
  for (std::size_t i = 0; i < ModelProvider::kCallsMax; ++i) {
    const std::string own_tag = tag + "-" + std::to_string(i);
    const ModelTool& tool = tools[provider_.choices().choose(saying(), tools.size())];
    ToolCall call = call_of(tool, request, own_tag);
    call.id = "call-" + own_tag;
    if (provider_.habit(saying(), habits.wrong_tools_ppm)) {
      switch (provider_.choices().choose(saying(), 3)) {
        case 0:
          call.name = "no_such_tool";
          break;
        case 1:
          call.arguments = "{\"label\":";
          break;
        default:
          call.arguments = R"({"label":"no_such_block","new_string":"x","old_string":"y"})";
      }
    }
    provider_.journal().name_call(place.step, place.asking, call.id);
    reply.tool_calls.push_back(std::move(call));
    if (!provider_.habit(saying(), habits.more_tools_ppm)) break;
  }
  reply.text.clear();
}

ToolCall SimModel::call_of(const ModelTool& tool, const ModelRequest& request, const std::string& tag) {
  ShownBlock block{"human", ""};
  const std::vector<ShownBlock> shown = blocks_shown(request.system);
  if (!shown.empty()) block = shown[provider_.choices().choose(saying(), shown.size())];
  JsonWriter out;
  out.begin_object();
  if (tool.name == "memory_insert") {
    out.field("label", block.label).field("new_string", "note " + tag);
    if (provider_.choices().choose(saying(), 2) == 1) out.field_integer("insert_line", 0);
  } else if (tool.name == "memory_replace") {
    out.field("label", block.label).field("old_string", text_to_replace(block));
    out.field("new_string", "fact " + tag);
  } else if (tool.name == "core_memory_append") {
    out.field("label", block.label).field("content", "note " + tag);
  } else if (tool.name == "core_memory_replace") {
    out.field("label", block.label).field("old_content", text_to_replace(block));
    out.field("new_content", "fact " + tag);
  } else if (tool.name == "conversation_search") {
    out.field("query", first_word(last_user_text(request)));
  } else {
    out.field("input", tag);
  }
  out.end_object();
  return ToolCall{"", tool.name, out.take()};
}

// Word by word if somebody listens. A reply that breaks off was never a reply.
Task<ModelOutcome> SimModel::speak(ModelReply reply, DeltaSink on_delta, Place place, MonoTime deadline) {
  std::vector<ModelDelta> pieces;
  if (!reply.reasoning.empty()) {
    pieces.push_back({ModelDelta::Kind::reasoning, reply.reasoning, 0, "", ""});
  }
  for (std::size_t at = 0; at < reply.text.size();) {
    const std::size_t end = std::min(reply.text.find(' ', at), reply.text.size() - 1) + 1;
    pieces.push_back({ModelDelta::Kind::text, reply.text.substr(at, end - at), 0, "", ""});
    at = end;
  }
  for (std::size_t i = 0; i < reply.tool_calls.size(); ++i) {
    const ToolCall& call = reply.tool_calls[i];
    pieces.push_back({ModelDelta::Kind::tool_call, "", i, call.id, call.name});
    pieces.push_back({ModelDelta::Kind::tool_call, call.arguments, i, call.id, ""});
  }
  std::size_t whole = pieces.size();
  const bool breaks = provider_.fault(failing(), provider_.faults().broken_ppm, "broken");
  if (breaks) whole = provider_.choices().choose(failing(), pieces.size());
  for (std::size_t i = 0; i < whole && on_delta; ++i) {
    on_delta(pieces[i]);
    const std::uint64_t pause_us = provider_.choices().spread(pace(), provider_.faults().piece_us);
    if (pause_us > 0) co_await sleep_for(env_, std::chrono::microseconds{pause_us});
    if (env_.now() > deadline) {
      co_return failure(place, ModelAsking::End::broken, 504, "the model did not end before the deadline");
    }
  }
  if (breaks) {
    co_return failure(place, ModelAsking::End::broken, 500,
                      "the provider broke off in the middle of a reply");
  }
  provider_.journal().end(place.step, place.asking, ModelAsking::End::replied);
  co_return ModelOutcome{std::move(reply)};
}

}  // namespace varve::sim
