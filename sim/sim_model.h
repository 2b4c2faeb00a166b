// A simulated provider of language models. ModelProvider is the world: habits, faults and the journal of who
// asked what; SimModel is the port of one incarnation.
//
// What a reply says follows from the request alone; whether it calls tools, which ones, how long it takes and
// how it fails is chance (Domain::model). With all choices 0 it answers at once, with a text.
//
// The journal outlives incarnations: a step that is asked again after a crash stands there twice, and every
// id of a tool call that any reply has ever named belongs to one asking.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "actors/model_client.h"
#include "sim/counters.h"
#include "sim/scheduler.h"

namespace varve::sim {

// Which thinking a request asks for. `turn` names the turn of the newest user message: its step id, else the
// message's own id, else (a request for a summary) what is to be summed up.
struct ModelStep {
  std::string turn;
  std::size_t step = 0;  // Replies of that turn which the model sees already.
  friend auto operator<=>(const ModelStep&, const ModelStep&) = default;
};
ModelStep step_of(const ModelRequest& request);

struct ModelAsking {
  enum class End : unsigned char {
    open,     // Under way, or its incarnation died.
    replied,  // The whole reply was handed over.
    failed,   // Before the first piece.
    broken,   // After some pieces.
  };
  std::string node;
  MonoTime at;  // Of the world.
  End end = End::open;
  std::vector<std::string> calls;  // Ids of the tool calls that the reply names.
};

class ModelJournal {
 public:
  // Gives back the asking's number within its step: 1, 2 ..
  std::size_t begin(const ModelStep& step, std::string node, MonoTime at);
  void name_call(const ModelStep& step, std::size_t asking, const std::string& call_id);
  void end(const ModelStep& step, std::size_t asking, ModelAsking::End end);

  const std::map<ModelStep, std::vector<ModelAsking>>& all() const { return all_; }
  std::size_t askings() const { return askings_; }
  // The step that named a tool call; null if none did.
  const ModelStep* step_of_call(const std::string& call_id) const;

 private:
  std::map<ModelStep, std::vector<ModelAsking>> all_;
  std::map<std::string, ModelStep> calls_;
  std::size_t askings_ = 0;
};

class ModelProvider {
 public:
  struct Faults {
    std::uint32_t busy_ppm = 0;     // 429, 500 or 503: another try may succeed.
    std::uint32_t refusal_ppm = 0;  // 400 or 401: it may not.
    std::uint32_t broken_ppm = 0;   // Some pieces of the reply, then a failure.
    std::uint32_t silence_ppm = 0;  // No answer before the deadline.
    std::uint64_t think_us = 0;     // The longest time before the first piece, besides kThink.
    std::uint64_t piece_us = 0;     // The longest time between two pieces.
  };
  struct Habits {
    std::uint32_t tools_ppm = 0;        // A reply calls a tool.
    std::uint32_t more_tools_ppm = 0;   // .. and one more, up to kCallsMax.
    std::uint32_t wrong_tools_ppm = 0;  // A call cannot succeed: an unknown tool or block, broken arguments.
    std::uint32_t reasoning_ppm = 0;
    std::uint32_t long_ppm = 0;  // A text that fills the context soon.
  };
  static constexpr Duration kThink = std::chrono::microseconds{200};
  static constexpr std::size_t kCallsMax = 3;
  // A turn's reply with this many before it calls no more tools, unless it must.
  static constexpr std::size_t kStepsMax = 5;

  ModelProvider(Scheduler& scheduler, Counters& counters) : scheduler_(scheduler), counters_(counters) {}

  // Models made from now on are these instead, with neither faults nor habits: for stories.
  using MakeModel = std::function<std::unique_ptr<ModelClient>(SimEnv&)>;
  void stand_in(MakeModel make) { stand_in_ = std::move(make); }
  std::unique_ptr<ModelClient> make_stand_in(SimEnv& env) const {
    return stand_in_ ? stand_in_(env) : nullptr;
  }

  void set_faults(const Faults& faults) { faults_ = faults; }
  void set_habits(const Habits& habits) { habits_ = habits; }
  const Faults& faults() const { return faults_; }
  const Habits& habits() const { return habits_; }
  ModelJournal& journal() { return journal_; }
  const ModelJournal& journal() const { return journal_; }

  MonoTime now() const { return scheduler_.now(); }
  Choices& choices() { return scheduler_.choices(); }
  bool fault(Track track, std::uint32_t ppm, std::string_view name);
  bool habit(Track track, std::uint32_t ppm);

 private:
  Scheduler& scheduler_;
  Counters& counters_;
  Faults faults_;
  Habits habits_;
  ModelJournal journal_;
  MakeModel stand_in_;
};

class SimModel final : public ModelClient {
 public:
  // `env` and `provider` outlive it. `node` is for the journal.
  SimModel(SimEnv& env, std::string node, ModelProvider& provider);

  bool serves(std::string_view handle) const override;
  std::vector<std::string> handles() const override;
  Task<ModelOutcome> complete(ModelRequest request, MonoTime deadline) override;

 private:
  Task<ModelOutcome> think(ModelRequest request, MonoTime deadline);
  // The place of one asking in the journal.
  struct Place {
    ModelStep step;
    std::size_t asking = 0;
  };
  ModelReply reply_to(const ModelRequest& request, const Place& place);
  void add_calls(ModelReply& reply, const ModelRequest& request, const Place& place);
  ToolCall call_of(const ModelTool& tool, const ModelRequest& request, const std::string& tag);
  ModelOutcome failure(const Place& place, ModelAsking::End end, int status, std::string message);
  using DeltaSink = std::function<void(const ModelDelta&)>;
  Task<ModelOutcome> speak(ModelReply reply, DeltaSink on_delta, Place place, MonoTime deadline);

  // Of what fails, of what it says and of how fast: one each for a node's model.
  Track failing() const { return {Domain::model, number_}; }
  Track saying() const { return {Domain::model, kNodesMax + number_}; }
  Track pace() const { return {Domain::model, 2 * kNodesMax + number_}; }
  static constexpr std::size_t kNodesMax = 8;

  SimEnv& env_;
  std::string node_;
  std::size_t number_;
  ModelProvider& provider_;
  std::unique_ptr<ModelClient> stand_in_;
};

}  // namespace varve::sim
