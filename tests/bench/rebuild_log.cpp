#include "tests/bench/rebuild_log.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "eventlog/sqlite_log_file.h"
#include "runtime/rng.h"
#include "tests/bench/measure.h"

namespace varve::bench {
namespace {

constexpr std::size_t kRecordsPerWrite = 5'000;
constexpr std::size_t kContextMax = 24;  // Messages; more are trimmed.
constexpr std::int64_t kMicrosPerRecord = 900;

class History {
 public:
  explicit History(const LogPlan& plan) : plan_(plan), rng_(plan.seed) {
    auto opened = sqlite::LogWriter::open(*sqlite::system_log_files(), plan.directory, plan.partitions);
    if (!opened) give_up(to_string(opened.error()));
    writer_ = std::move(*opened);
    indexes_.resize(plan.partitions);
    ends_.resize(plan.partitions);
    for (std::uint32_t i = 0; i < plan.partitions; ++i) {
      land(Partition{i}, "",
           Claim{Epoch{1}, command_id_from_text("claim " + std::to_string(i)), "varve", "bench",
                 "http://127.0.0.1:1", plan.partitions, now()});
    }
  }

  LogWritten run() {
    const auto begun = Clock::now();
    while (events_ < plan_.events) step();
    write();
    return {events_, records_, seconds_since(begun)};
  }

 private:
  struct Agent {
    StreamId stream;
    StreamId block;
    Sequence sequence;
    Sequence block_sequence;
    std::vector<std::string> context;
    AgentSettings settings;
    bool tagged = false;
  };

  WallTime now() {
    return WallTime{1'790'000'000'000'000 + kMicrosPerRecord * static_cast<std::int64_t>(++clock_)};
  }
  std::string id(const char* kind) { return kind + uuid4(rng_); }

  void step() {
    // Agents come in the course of the history, as they do.
    const std::uint64_t wanted = 1 + events_ * plan_.agents / (plan_.events + 1);
    if (agents_.size() < wanted) return create();
    Agent& agent = agents_[rng_.below(agents_.size())];
    const std::uint64_t what = rng_.below(100);
    if (what < 12) return edit_block(agent);
    if (what < 18) return tag(agent);
    turn(agent, what < 40);
    if (agent.context.size() > kContextMax) trim(agent);
  }

  void create() {
    Agent agent;
    agent.stream = StreamId{id("agent-")};
    agent.block = StreamId{id("block-")};
    commit(agent.block, agent.block_sequence, {BlockCreated{block(20)}});
    agent.settings.name = "agent " + std::to_string(agents_.size());
    agent.settings.system = "Be kind. " + sentence(60);
    agent.settings.agent_type = "letta_v1_agent";
    agent.settings.model = "varve/echo";
    agent.settings.timezone = "UTC";
    agent.settings.context_window = 32'000;
    agent.settings.tools = {"memory_insert", "memory_replace"};
    AgentCreated created;
    created.settings = agent.settings;
    created.blocks = {{agent.block, "human"}};
    created.messages = {message(agent, Role::system, 60)};
    commit(agent.stream, agent.sequence, {created});
    agents_.push_back(std::move(agent));
  }

  void turn(Agent& agent, bool with_tool) {
    const std::string run_id = id("run-");
    const WallTime begun = now();
    UserMessageReceived asked;
    asked.run_id = run_id;
    asked.messages = {message(agent, Role::user, 6 + rng_.below(14))};
    commit(agent.stream, agent.sequence, {asked});
    if (with_tool) {
      AssistantReplied called = reply(agent, run_id, 8);
      called.message.tool_calls = {
          {id("call-"), "memory_insert", R"({"label":"human","new_str":"likes tea"})"}};
      ToolReturned returned;
      returned.run_id = run_id;
      returned.message = message(agent, Role::tool, 4);
      returned.message.name = "memory_insert";
      returned.message.tool_call_id = called.message.tool_calls.front().id;
      commit(agent.stream, agent.sequence, {called, returned});
    }
    TurnFinished finished;
    finished.run_id = run_id;
    finished.stop_reason = "end_turn";
    finished.usage = {300, 60, with_tool ? 2 : 1, 360};
    finished.started_at = begun;
    commit(agent.stream, agent.sequence, {reply(agent, run_id, 15 + rng_.below(50)), finished});
  }

  AssistantReplied reply(Agent& agent, const std::string& run_id, std::uint64_t words) {
    AssistantReplied replied;
    replied.run_id = run_id;
    replied.message = message(agent, Role::assistant, words);
    replied.message.step_id = id("step-");
    replied.model = "varve/echo";
    replied.prompt_hash = "0123456789abcdef";
    replied.usage = {300, 30, 1, 330};
    return replied;
  }

  void edit_block(Agent& agent) {
    commit(agent.block, agent.block_sequence, {BlockUpdated{block(20 + rng_.below(80)), WallTime{1}}});
  }

  void tag(Agent& agent) {
    AgentUpdated event;
    agent.settings.tags = agent.tagged ? std::vector<std::string>{} : std::vector<std::string>{"green"};
    (agent.tagged ? event.tags_removed : event.tags_added) = {"green"};
    agent.tagged = !agent.tagged;
    event.settings = agent.settings;
    commit(agent.stream, agent.sequence, {event});
  }

  void trim(Agent& agent) {
    const std::vector<std::string> leaving(agent.context.begin() + 1,
                                           agent.context.begin() + kContextMax / 2);
    agent.context.erase(agent.context.begin() + 1, agent.context.begin() + kContextMax / 2);
    commit(agent.stream, agent.sequence, {ContextTrimmed{leaving}});
  }

  Message message(Agent& agent, Role role, std::uint64_t words) {
    Message out;
    out.id = id("message-");
    out.role = role;
    out.content.clear();
    append_json_string(out.content, sentence(words));
    agent.context.push_back(out.id);
    return out;
  }
  BlockValue block(std::uint64_t words) {
    BlockValue value;
    value.label = "human";
    value.value = sentence(words);
    value.limit = 5'000;
    return value;
  }
  std::string sentence(std::uint64_t words) {
    static constexpr std::array kCommon{"the", "of", "and", "to", "a", "in", "is", "you", "that", "it"};
    std::string out;
    for (std::uint64_t i = 0; i < words; ++i) {
      if (i > 0) out += ' ';
      const bool common = rng_.chance(1, 2);
      out += common ? kCommon[rng_.below(kCommon.size())] : "word" + std::to_string(rng_.below(20'000));
    }
    return out;
  }

  void commit(const StreamId& stream, Sequence& sequence, const std::vector<Event>& events) {
    const Partition partition = partition_of(stream, plan_.partitions);
    const Part part{stream, Sequence{sequence.value() + 1}, {events.begin(), events.end()}};
    sequence = Sequence{sequence.value() + events.size()};
    events_ += events.size();
    const CommandRef command{command_id_from_text(std::to_string(records_)), CommandHash{1}, true};
    land(partition, stream.value(),
         Commit{Epoch{1}, Index{++indexes_[partition.value()]}, "bench", now(), command, {part}});
  }

  void land(Partition partition, const std::string& key, const Record& record) {
    auto bytes = encode_record(record);
    if (!bytes) give_up(to_string(bytes.error()));
    Offset& end = ends_[partition.value()];
    pending_.push_back({partition, end, key, std::make_shared<const std::string>(std::move(*bytes))});
    end = next(end);
    ++records_;
    if (pending_.size() == kRecordsPerWrite) write();
  }

  void write() {
    const sqlite::WriteResult written = writer_->write(pending_);
    if (written.outcome != sqlite::WriteResult::Outcome::written) give_up(to_string(written.error));
    pending_.clear();
  }

  LogPlan plan_;
  Rng rng_;
  std::shared_ptr<sqlite::LogWriter> writer_;
  std::vector<sqlite::FileRecord> pending_;
  std::vector<std::uint64_t> indexes_;
  std::vector<Offset> ends_;
  std::vector<Agent> agents_;
  std::uint64_t clock_ = 0;
  std::uint64_t events_ = 0;
  std::uint64_t records_ = 0;
};

}  // namespace

void give_up(const std::string& why) {
  std::fprintf(stderr, "varve-bench-rebuild: %s\n", why.c_str());
  std::exit(1);
}

LogWritten write_log(const LogPlan& plan) {
  return History(plan).run();
}

}  // namespace varve::bench
