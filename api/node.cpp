#include "api/node.h"

#include <algorithm>

namespace varve {
namespace {

// Embedded: the lock file was taken before the log was opened, and is held until the process ends.
Task<bool> holds_the_lock() {
  co_return true;
}

ApiOptions api_options(const NodeOptions& options, std::uint32_t partitions,
                       std::function<std::optional<Error>()> failure) {
  ApiOptions api;
  api.failure = std::move(failure);
  api.partitions = partitions;
  api.models = options.models;
  api.view_wait = options.view_wait;
  return api;
}

}  // namespace

Task<std::vector<FoundMessage>> ViewMessageSearch::search(MessageQuestion question) {
  SearchQuery query;
  query.query = std::move(question.query);
  query.agent_id = question.agent.value();
  query.roles = std::move(question.roles);
  if (query.roles.size() > kSearchRolesMax) query.roles.resize(kSearchRolesMax);
  if (question.from) query.start_at = question.from->value();
  if (question.until) query.end_at = question.until->value();
  query.limit = std::min(question.limit, kSearchHitsMax);
  auto found = std::make_shared<std::vector<FoundMessage>>();
  std::function<Status(ViewReader&)> work = [query = std::move(query), found](ViewReader& reader) -> Status {
    auto hits = reader.search_messages(query);
    if (!hits) return hits.error();
    for (const SearchHit& hit : *hits) {
      Message said;
      said.content = hit.row.text(messages::content);
      found->push_back(
          {hit.row.text(messages::role), text_of(said), WallTime{hit.row.integer(messages::created_at)}});
    }
    return ok();
  };
  if (Status read = co_await views_.read(std::move(work)); !read) co_return read.error();
  co_return std::move(*found);
}

Node::Node(Env& env, NodeIdentity identity, Ports ports, NodeOptions options)
    : env_(env),
      ports_(ports),
      options_(std::move(options)),
      sender_(ports.log.partitions()),
      search_(ports.views),
      progress_(env, ports.views),
      api_(env, {sender_, ports.views, progress_},
           api_options(options_, ports.log.partitions(), [this] { return failure(); })) {
  for (std::uint32_t number = 0; number < ports.log.partitions(); ++number) {
    const Partition partition{number};
    Shard::Ports shard_ports{ports.log, ports.snapshots, sender_, ports.model, &search_};
    shards_.push_back(
        std::make_unique<Shard>(env, partition, identity, shard_ports, holds_the_lock, options_.shard));
    sender_.add(partition, *shards_.back());
    workers_.push_back(std::make_unique<ProjectionWorker>(env, ports.log, ports.views, progress_, partition));
  }
}

void Node::start() {
  for (const auto& shard : shards_) shard->start();
  if (!options_.fold_views) return;
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    env_.spawn("projection " + std::to_string(i), workers_[i]->run());
  }
}

std::optional<Error> Node::failure() const {
  for (const auto& shard : shards_) {
    if (shard->owner().failure()) return shard->owner().failure();
  }
  for (const auto& worker : workers_) {
    if (worker->failure()) return worker->failure();
  }
  return std::nullopt;
}

Task<> Node::wait_ready(MonoTime deadline) {
  std::vector<LogPosition> ends;
  for (const auto& shard : shards_) {
    while (!shard->owner().owned()) {
      if (const auto failed = failure()) co_return *failed;
      if (env_.now() >= deadline) co_return Error{Errc::unavailable, "the partitions were not owned in time"};
      ignore_error(
          co_await shard->wait_ready(std::min(deadline, env_.now() + std::chrono::milliseconds{100})),
          "asked again above");
    }
    auto end = co_await ports_.log.end(shard->owner().partition());
    if (!end) co_return end.error();
    if (*end > Offset{}) ends.push_back({shard->owner().partition(), Offset{end->value() - 1}});
  }
  while (options_.fold_views && !progress_.has_passed(ends)) {
    if (const auto failed = failure()) co_return *failed;
    if (env_.now() >= deadline) co_return Error{Errc::unavailable, "the views did not catch up in time"};
    co_await progress_.wait_for(ends, std::min(deadline, env_.now() + std::chrono::milliseconds{100}));
  }
  co_return ok();
}

Task<> Node::drain(MonoTime deadline) {
  Status status = ok();
  for (const auto& shard : shards_) {
    Status drained = co_await shard->drain(deadline);
    if (!drained && status) status = drained;
  }
  // The views get what the drain itself has written.
  std::vector<LogPosition> written;
  for (const auto& shard : shards_) {
    if (!shard->owner().mark().none)
      written.push_back({shard->owner().partition(), shard->owner().mark().offset});
  }
  if (options_.fold_views && !failure()) co_await progress_.wait_for(std::move(written), deadline);
  for (const auto& worker : workers_) worker->stop();
  co_return status;
}

}  // namespace varve
