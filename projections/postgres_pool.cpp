#include "projections/postgres_pool.h"

#include <algorithm>

#include "projections/postgres_connection.h"

namespace varve {

namespace {

constexpr std::size_t kWaitersMax = 4096;
constexpr std::int64_t kServerVersionMin = 150'000;

std::string seconds(Duration time) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(time).count()) + " ms";
}

Result<Unit> check_server(PostgresSession& session) {
  const auto answer = session.ask(
      "SELECT current_setting('server_version_num')::bigint, current_setting('server_version'), "
      "current_setting('transaction_read_only') = 'on', current_setting('server_encoding')",
      {});
  if (!answer) return answer.error();
  if (answer->integer(0, 0) < kServerVersionMin) {
    return Error{Errc::invalid_argument,
                 "PostgreSQL 15 or newer is needed, and this is " + std::string{answer->text(0, 1)}};
  }
  if (answer->text(0, 3) != "UTF8") {
    return Error{Errc::invalid_argument,
                 "the database must have the encoding UTF8, and has " + std::string{answer->text(0, 3)}};
  }
  if (answer->boolean(0, 2)) {
    return Error{Errc::unavailable,
                 "PostgreSQL takes no writes at present (read-only: a standby, or set so)"};
  }
  return ok();
}

}  // namespace

PostgresPool::PostgresPool(Env& env, PostgresOptions options, std::string conninfo, std::string where)
    : env_(env), options_(std::move(options)), conninfo_(std::move(conninfo)), where_(std::move(where)) {
  slots_.resize(std::max<std::size_t>(1, options_.connections));
  for (std::size_t i = slots_.size(); i > 0; --i) free_.push_back(i - 1);
}

PostgresPool::~PostgresPool() = default;

Result<std::unique_ptr<PostgresPool>> PostgresPool::make(Env& env, PostgresOptions options) {
  auto address = postgres_address(options);
  if (!address) return address.error();
  return std::unique_ptr<PostgresPool>(
      new PostgresPool(env, std::move(options), std::move(address->conninfo), std::move(address->where)));
}

Result<std::shared_ptr<PostgresConnection>> PostgresPool::open_apart() const {
  return PostgresConnection::open(conninfo_);
}

Task<> PostgresPool::probe() {
  std::function<Result<Unit>(PostgresSession&)> job = check_server;
  const PostgresUse how{Lane::store, options_.answer};
  const Status checked = co_await run<Unit>(how, std::move(job));
  if (!checked) co_return Error{checked.error().code, where_ + ": " + checked.error().message};
  co_return ok();
}

Task<> PostgresPool::use(PostgresUse how, std::function<void(PostgresSession&)> job) {
  const auto number = co_await check_out();
  if (!number) co_return number.error();
  const Status used = co_await use_slot(*number, how, std::move(job));
  check_in(*number);
  co_return used;
}

Task<> PostgresPool::use_slot(std::size_t number, PostgresUse how,
                              std::function<void(PostgresSession&)> job) {
  // The second time round the connection is new. One that dies within that moment is no reason to go on
  // trying.
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (!slots_[number].connection) {
      const Status connected = co_await connect(number, how.lane);
      if (!connected) co_return connected.error();
    }
    const auto begun = co_await run_job(number, how, job);
    if (!begun) co_return begun.error();
    if (*begun) co_return ok();
  }
  co_return Error{Errc::unavailable, "PostgreSQL closes new connections at once"};
}

Task<std::size_t> PostgresPool::check_out() {
  if (!free_.empty()) {
    const std::size_t number = free_.back();
    free_.pop_back();
    co_return number;
  }
  if (waiting_.size() >= kWaitersMax) {
    co_return Error{Errc::unavailable, "too many jobs wait for a connection to PostgreSQL"};
  }
  auto waiter = std::make_shared<Waiter>();
  waiting_.push_back(waiter);
  const MonoTime deadline = env_.now() + options_.wait;
  while (!waiter->slot && env_.now() < deadline) co_await waiter->given.wait(env_, deadline);
  if (waiter->slot) co_return *waiter->slot;
  std::erase(waiting_, waiter);
  env_.count("postgres_pool_timeouts");
  co_return Error{Errc::unavailable, "all " + std::to_string(slots_.size()) +
                                         " connections to PostgreSQL were in use for " +
                                         seconds(options_.wait)};
}

void PostgresPool::check_in(std::size_t number) {
  if (waiting_.empty()) {
    free_.push_back(number);
    return;
  }
  const auto next = waiting_.front();
  waiting_.pop_front();
  next->slot = number;
  next->given.notify_all();
}

void PostgresPool::cut() {
  for (const Slot& slot : slots_) {
    if (slot.in_use) slot.in_use->cut();
  }
}

Task<> PostgresPool::connect(std::size_t number, Lane lane) {
  using Opened = std::shared_ptr<PostgresConnection>;
  std::function<Result<Opened>()> job = [conninfo = conninfo_] { return PostgresConnection::open(conninfo); };
  auto opened = co_await offload<Opened>(env_, lane, std::move(job));
  if (!opened) {
    env_.count("postgres_connects_failed");
    co_return opened.error();
  }
  env_.count("postgres_connections_opened");
  slots_[number].connection = std::move(*opened);
  co_return ok();
}

Task<bool> PostgresPool::run_job(std::size_t number, PostgresUse how,
                                 std::function<void(PostgresSession&)> job) {
  struct Fate {
    bool begun = false;
    bool usable = false;
  };
  // Taken out, so that one that is of no use ends on the lane: closing may take a moment.
  auto connection = std::move(slots_[number].connection);
  const auto socket = connection->socket();
  slots_[number].in_use = socket;
  const Duration limit = how.limit;
  Callback cut = [socket, &env = env_, limit] {
    env.count("postgres_connections_cut");
    env.log(LogLevel::warning, "PostgreSQL gave no answer for " + seconds(limit) + ": its connection is cut");
    socket->cut();
  };
  const TimerId timer = env_.call_at(env_.now() + limit, std::move(cut));
  auto kept = std::make_shared<std::shared_ptr<PostgresConnection>>(std::move(connection));
  std::function<Result<Fate>()> on_lane = [kept, job = std::move(job)]() -> Result<Fate> {
    Fate fate;
    fate.begun = (*kept)->alive();
    fate.usable = fate.begun && (*kept)->run(job);
    if (!fate.usable) kept->reset();
    return fate;
  };
  const auto fate = co_await offload<Fate>(env_, how.lane, std::move(on_lane));
  env_.cancel(timer);
  slots_[number].in_use = nullptr;
  if (!fate) co_return fate.error();
  if (!fate->usable) env_.count("postgres_connections_lost");
  slots_[number].connection = std::move(*kept);
  co_return fate->begun;
}

}  // namespace varve
