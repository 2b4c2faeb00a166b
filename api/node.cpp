#include "api/node.h"

#include <algorithm>

namespace varve {
namespace {

ApiOptions api_options(const NodeOptions& options, std::uint32_t partitions, Node& node) {
  ApiOptions api;
  api.failure = [&node] { return node.failure(); };
  api.ready = [&node] { return node.answer_ready(); };
  api.ack_log_lag_records = options.ack_log_lag_records;
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

Task<std::optional<Owner>> ViewOwners::owner(Partition partition) {
  auto found = std::make_shared<std::optional<Owner>>();
  std::function<Status(ViewReader&)> work = [partition, found](ViewReader& reader) -> Status {
    Query query;
    query.view = View::shard_owners;
    query.where.push_back({static_cast<int>(shard_owners::partition),
                           Filter::Op::equal,
                           {Value{static_cast<std::int64_t>(partition.value())}}});
    query.limit = 1;
    auto rows = reader.select(query);
    if (!rows) return rows.error();
    if (rows->empty()) return ok();
    const Row& row = rows->front();
    *found = Owner{Epoch{static_cast<std::uint64_t>(row.integer(shard_owners::epoch))},
                   row.text(shard_owners::node), row.text(shard_owners::url)};
    return ok();
  };
  if (Status read = co_await views_.read(std::move(work)); !read) co_return read.error();
  co_return std::move(*found);
}

Node::Node(Env& env, NodeIdentity identity, Ports ports, NodeOptions options)
    : env_(env),
      identity_(std::move(identity)),
      ports_(ports),
      options_(std::move(options)),
      everything_owned_(env, ports.log.partitions()),
      everything_folded_(env, ports.log.partitions()),
      search_(ports.views),
      view_owners_(ports.views),
      progress_(env, ports.views, options_.first_look),
      owners_(view_owners_),
      member_(
          env, ports.assignment != nullptr ? *ports.assignment : everything_owned_,
          [this](Partition partition, PartitionOwner::Proof prove) {
            return make_shard(partition, std::move(prove));
          },
          ClusterMember::Options{options_.hand_back_time}),
      receiver_(
          env, member_, owners_, ports.log.partitions(),
          [this](const std::vector<LogPosition>& positions) { progress_.awaited_elsewhere(positions); }),
      sender_(env, {member_, owners_, receiver_, ports.transport, options_.owner_search}, identity_,
              ports.log.partitions()),
      folding_(env, ports.log, ports.views, progress_,
               ports.folding != nullptr ? *ports.folding : everything_folded_,
               {options_.batch_changes_max, options_.gather}),
      lag_(env, ports.views, progress_),
      status_(env, {ports.log, ports.views, progress_, member_, lag_}, identity_.url,
              [this] { return failure(); }),
      api_(env, {sender_, ports.views, progress_, lag_, ports.log, ports.keys},
           api_options(options_, ports.log.partitions(), *this)),
      quarantine_(env_, {ports.log, ports.views, progress_, sender_}),
      inspect_(env_, ports.log, ports.views, kInspectRecordsMax) {}

boost::asio::awaitable<Response> Node::handle(Request request) {
  if (QuarantineRoutes::serves(request.target)) return quarantine_.handle(std::move(request));
  if (InspectRoutes::serves(request.target)) return inspect_.handle(std::move(request));
  return api_.handle(std::move(request));
}

std::unique_ptr<Shard> Node::make_shard(Partition partition, PartitionOwner::Proof prove) {
  const Shard::Ports ports{ports_.log, ports_.snapshots, sender_, ports_.model, &search_, ports_.keys};
  return std::make_unique<Shard>(env_, partition, identity_, ports, std::move(prove), options_.shard);
}

void Node::start() {
  if (ports_.transport != nullptr) {
    ports_.transport->serve([this](std::string request) { return receiver_.answer(std::move(request)); });
  }
  member_.start();
  if (options_.fold_views) folding_.start();
}

std::optional<Error> Node::failure() const {
  const auto failed = member_.failure();
  return failed ? failed : folding_.failure();
}

boost::asio::awaitable<NodeGauges> Node::gauges() {
  const auto facts = co_await status_.facts();
  NodeGauges gauges;
  gauges.facts = *facts;
  gauges.ready = decide_ready(*facts, options_.ready).ready();
  for (const auto& shard : member_.shards()) {
    gauges.actors_resident += shard->resident();
    gauges.turns_open += shard->turns_driven();
  }
  const EventLog::InFlight in_flight = ports_.log.in_flight();
  gauges.log_records_in_flight = in_flight.records;
  gauges.log_bytes_in_flight = in_flight.bytes;
  co_return gauges;
}

boost::asio::awaitable<Response> Node::answer_ready() {
  const auto facts = co_await status_.facts();
  co_return ready_response(*facts, options_.ready);
}

// A member of a cluster may have nothing assigned to it: it sends commands on, and reads the views.
bool Node::owns_its_partitions() const {
  return member_.owns_what_is_assigned() || (ports_.assignment != nullptr && !member_.joined());
}

Task<> Node::wait_ready(MonoTime deadline) {
  while (!owns_its_partitions()) {
    if (const auto failed = failure()) co_return *failed;
    if (env_.now() >= deadline) co_return Error{Errc::unavailable, "the partitions were not owned in time"};
    const MonoTime again = std::min(deadline, env_.now() + std::chrono::milliseconds{100});
    const auto shards = member_.shards();
    const auto waiting =
        std::find_if(shards.begin(), shards.end(), [](const auto& shard) { return !shard->owner().owned(); });
    if (waiting == shards.end()) {
      co_await member_.wait(again);
    } else {
      // NOLINTNEXTLINE(performance-unnecessary-copy-initialization): it is held while this waits.
      const std::shared_ptr<Shard> shard = *waiting;
      const Status owned = co_await shard->wait_ready(again);
      if (!owned && !failure() && env_.now() < again) co_await sleep_until(env_, again);
    }
  }
  if (!options_.fold_views) co_return ok();
  std::vector<LogPosition> ends;
  for (std::uint32_t number = 0; number < ports_.log.partitions(); ++number) {
    const Partition partition{number};
    auto end = co_await ports_.log.end(partition);
    while (!end && end.error().code == Errc::unavailable && env_.now() < deadline) {
      co_await sleep_for(env_, std::chrono::milliseconds{100});
      end = co_await ports_.log.end(partition);
    }
    if (!end) co_return end.error();
    if (*end > Offset{}) ends.push_back({partition, Offset{end->value() - 1}});
  }
  co_return co_await views_pass(std::move(ends), deadline);
}

Task<> Node::views_pass(std::vector<LogPosition> positions, MonoTime deadline) {
  while (!progress_.has_passed(positions)) {
    if (const auto failed = failure()) co_return *failed;
    if (env_.now() >= deadline) co_return Error{Errc::unavailable, "the views did not catch up in time"};
    // Longer than between two looks into the store: another node may do the folding.
    co_await progress_.wait_for(positions, std::min(deadline, env_.now() + std::chrono::milliseconds{250}));
  }
  co_return ok();
}

Task<> Node::drain(MonoTime deadline) {
  const auto shards = member_.shards();
  Status status = co_await member_.drain(deadline);
  // The views get what the drain itself has written.
  std::vector<LogPosition> written;
  for (const auto& shard : shards) {
    if (!shard->owner().mark().none)
      written.push_back({shard->owner().partition(), shard->owner().mark().offset});
  }
  if (options_.fold_views && !failure()) co_await progress_.wait_for(std::move(written), deadline);
  Status left = co_await folding_.stop(deadline);
  co_return status ? left : status;
}

}  // namespace varve
