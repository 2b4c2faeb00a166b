#include "tests/bench/actor_node.h"

#include <cstdio>
#include <cstdlib>

namespace varve::bench {
namespace {

constexpr std::chrono::seconds kReadyTime{30};
constexpr std::size_t kMakers = 16;  // Agents that are made at a time.

NodeIdentity identity_of(RealEnv& env) {
  NodeIdentity identity;
  identity.node = uuid4(env.rng());
  return identity;
}

NodeOptions options_of(bool fold) {
  NodeOptions options;
  options.fold_views = fold;
  return options;
}

Task<> make_agent(ActorNode& server, std::size_t n) {
  CreateAgent create;
  create.settings.name = "bench";
  create.settings.model = "varve/echo";
  create.settings.agent_type = "letta_v1_agent";
  create.settings.timezone = "UTC";
  create.settings.context_window = 8000;
  CommandEnvelope envelope = command_to(server, nth_agent(n), std::move(create));
  const CallLimits limits;
  auto made = co_await server.node().sender().send(std::move(envelope), limits);
  if (!made) co_return made.error();
  co_return ok();
}

// What the tasks of a group have yet to do, and the first error of any.
struct Shared {
  std::size_t left = 0;
  std::optional<Error> failed;

  void fail(const Error& error) {
    left = 0;
    if (!failed) failed = error;
  }
};

Task<> make_agents(ActorNode& server, Shared& shared) {
  while (shared.left > 0) {
    if (Status made = co_await make_agent(server, --shared.left); !made) shared.fail(made.error());
  }
  co_return ok();
}

// No coroutine: the command does not stay in memory here while it is carried out.
Task<CommandAnswer> send_update(ActorNode& server, std::size_t n) {
  UpdateAgent update{R"({"description":"a new description"})"};
  return server.node().sender().send(command_to(server, nth_agent(n), std::move(update)), CallLimits{});
}

Task<> update_until_done(ActorNode& server, std::size_t n, Shared& shared) {
  if (Status done = co_await update_loop(server, n, shared.left); !done) shared.fail(done.error());
  co_return ok();
}

Task<> all_updates(ActorNode& server, std::size_t agents, std::size_t commands) {
  Shared shared{commands, std::nullopt};
  TaskGroup group(server.env());
  for (std::size_t n = 0; n < agents; ++n) {
    Status started = group.spawn("updates", update_until_done(server, n, shared));
    if (!started) co_return started;
  }
  Status ended = co_await group.join(kNever);
  if (shared.failed) co_return *shared.failed;
  co_return ended;
}

}  // namespace

void give_up(const Error& error) {
  std::fprintf(stderr, "the benchmark cannot go on: %s\n", to_string(error).c_str());
  std::exit(1);
}

ActorNode::ActorNode(const Open& open, bool fold)
    : env_(RealEnv::Options{.log_level = LogLevel::error}),
      stores_(open(env_)),
      node_(env_, identity_of(env_), Node::Ports{*stores_.log, *stores_.snapshots, *stores_.views, model_},
            options_of(fold)) {
  node_.start();
}

ActorNode::~ActorNode() {
  env_.shut_down();
}

void ActorNode::run(Task<> task) {
  env_.spawn("bench", stop_after(env_, std::move(task)));
  env_.io_context().restart();
  env_.run();
}

Task<> ActorNode::stop_after(RealEnv& env, Task<> task) {
  Status status = co_await std::move(task);
  if (!status) give_up(status.error());
  env.stop();
  co_return ok();
}

std::uint64_t ActorNode::counted(std::string_view counter) const {
  const auto found = env_.counters().find(counter);
  return found == env_.counters().end() ? 0 : found->second;
}

StreamId nth_agent(std::size_t n) {
  return StreamId{"agent-" + derived_uuid(command_id_from_text("bench"), "agent", n)};
}

CommandEnvelope command_to(ActorNode& server, const StreamId& stream, Command what) {
  const CommandId id = command_id_from_text("bench " + uuid4(server.env().rng()));
  return {{id, CommandHash{1}, true}, stream, std::move(what)};
}

Task<> prepare(ActorNode& server, std::size_t agents) {
  Status ready = co_await server.node().wait_ready(server.env().now() + kReadyTime);
  if (!ready) co_return ready;
  Shared shared{agents, std::nullopt};
  TaskGroup group(server.env());
  for (std::size_t n = 0; n < kMakers; ++n) {
    Status started = group.spawn("make agents", make_agents(server, shared));
    if (!started) co_return started;
  }
  Status ended = co_await group.join(kNever);
  if (shared.failed) co_return *shared.failed;
  co_return ended;
}

Task<> update_loop(ActorNode& server, std::size_t n, std::size_t& left) {
  while (left > 0) {
    --left;
    auto answer = co_await send_update(server, n);
    if (!answer) co_return answer.error();
  }
  co_return ok();
}

ActorFigures measure_updates(ActorNode& server, std::size_t agents, std::size_t commands) {
  const std::uint64_t batches = server.counted("log_batches");
  const std::uint64_t bytes = server.counted("log_bytes");
  const Stopwatch watch;
  server.run(all_updates(server, agents, commands));
  ActorFigures figures;
  figures.cost = watch.stop(commands);
  const auto count = static_cast<double>(commands);
  figures.batch =
      count / static_cast<double>(std::max<std::uint64_t>(1, server.counted("log_batches") - batches));
  figures.bytes = static_cast<double>(server.counted("log_bytes") - bytes) / count;
  return figures;
}

}  // namespace varve::bench
