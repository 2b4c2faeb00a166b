#include "sim/truncation.h"

#include <algorithm>

#include "sim/swarm_config.h"

namespace varve::sim {
namespace {

constexpr std::chrono::seconds kWatched{30};
constexpr std::chrono::seconds kPatience{8};

}  // namespace

Truncation::Truncation(ClusterWorld& world, const LogOracle& log)
    : world_(world),
      log_(log),
      env_(world.scheduler(), "stranger", world.options().seed ^ 0x7a11ULL),
      client_(env_, world.network(), "stranger") {}

Truncation::~Truncation() {
  env_.kill();
}

void Truncation::on_trace(std::string_view node, std::string_view line) {
  if (owner_.empty() || !line.starts_with(owner_)) return;
  // What was on its way before may still come into the log; but nobody sends more.
  const std::string_view what = line.substr(owner_.size());
  for (const char* word : {"serve ", "claim-sent ", "commit-sent "}) {
    if (!what.starts_with(word)) continue;
    violations_.add("I1", std::string(node) + " goes on behind a truncated log: " + std::string(line));
  }
}

// Records that both the recovery row and the checkpoint know of, behind the birth of some agent.
std::optional<Truncation::Cut> Truncation::choose_cut() {
  std::vector<Cut> cuts;
  for (std::uint32_t i = 0; i < log_.partitions(); ++i) {
    const Partition partition{i};
    const auto& recovery = world_.snapshots().storage()->recovery;
    const auto& checkpoints = world_.views().storage()->checkpoints;
    const auto row = recovery.find(partition);
    const auto checkpoint = checkpoints.find(partition);
    if (row == recovery.end() || checkpoint == checkpoints.end()) continue;
    if (row->second.mark.none || checkpoint->second.mark.none) continue;
    const Offset known = std::min(row->second.mark.offset, checkpoint->second.mark.offset);
    std::optional<StreamId> agent;
    for (const JudgedRecord& record : log_.judged(partition)) {
      if (record.offset > known) break;
      if (agent) cuts.push_back({partition, record.offset, *agent});
      const Commit* commit = record.admitted() ? record.commit() : nullptr;
      if (commit == nullptr || agent) continue;
      const StreamId& stream = commit->parts.front().stream;
      if (stream.value().starts_with("agent-")) agent = stream;
    }
  }
  if (cuts.empty()) return std::nullopt;
  return cuts[world_.scheduler().choices().choose(kTruncationTrack, cuts.size())];
}

// Asks every node for a change of an agent of the partition.
Task<> Truncation::knock(Truncation* self, Cut cut) {
  for (std::size_t node = 0; node < self->world_.nodes(); ++node) {
    Request request;
    request.method = "PATCH";
    request.target = "/v1/agents/" + cut.agent.value();
    request.body = R"({"name":"nobody"})";
    request.headers.emplace("content-type", "application/json");
    request.headers.emplace("idempotency-key", "knock-" + std::to_string(node));
    auto came = co_await self->client_.exchange(self->world_.url(node), std::move(request), kPatience);
    CHECK(came.has_value());
    if (came->status < 200 || came->status >= 300) continue;
    self->violations_.add(
        "I1", ClusterWorld::place(node) + " has changed " + cut.agent.value() + ", whose log was truncated");
  }
  co_return ok();
}

std::vector<Violation> Truncation::run(const std::function<bool()>& step) {
  const auto cut = choose_cut();
  if (!cut) {
    world_.counters().add("sometimes.truncation.found_nothing_to_cut");
    return {};
  }
  const bool restored = world_.scheduler().choices().choose(kTruncationTrack, 2) == 0;
  const bool without_snapshots = world_.scheduler().choices().choose(kTruncationTrack, 2) == 1;
  world_.counters().add(restored ? "fault.log.restored_older" : "fault.log.truncated_while_running");
  owner_ = "owner p=" + std::to_string(cut->partition.value()) + " ";
  for (std::size_t node = 0; restored && node < world_.nodes(); ++node) world_.crash(node);
  // Whoever must read the log from its start has a mark to compare, too.
  if (restored && without_snapshots) world_.snapshots().lose_snapshot(cut->agent);
  world_.log().truncate(cut->partition, cut->end);
  for (std::size_t node = 0; restored && node < world_.nodes(); ++node) world_.boot(node);
  const std::uint64_t version = world_.views().storage()->checkpoints.at(cut->partition).version;

  const MonoTime end = world_.world().now() + kWatched;
  env_.call_at(env_.now() + kWatched / 3, [this, cut = *cut] { env_.spawn("knock", knock(this, cut)); });
  world_.world().call_at(end, [] {});
  while (world_.world().now() < end && step()) {
  }
  if (world_.views().storage()->checkpoints.at(cut->partition).version != version) {
    violations_.add("I4", "the views went on behind a truncated log");
  }
  return violations_.list();
}

}  // namespace varve::sim
