#include "projections/postgres_listener.h"

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <charconv>
#include <optional>
#include <string>

#include "projections/postgres_connection.h"

namespace varve {
namespace {

constexpr std::chrono::milliseconds kFirstPause{100};
constexpr std::chrono::seconds kLongestPause{5};

// "PARTITION GENERATION", as batch_statement() writes it.
std::optional<Partition> partition_in(const std::string& payload) {
  std::uint32_t number = 0;
  const auto read = std::from_chars(payload.data(), payload.data() + payload.size(), number);
  if (read.ec != std::errc{}) return std::nullopt;
  return Partition{number};
}

// On a lane.
Result<std::shared_ptr<PostgresConnection>> open_and_listen(const PostgresPool& pool) {
  auto connection = pool.open_apart();
  if (!connection) return connection.error();
  std::string channel;
  Status asked = ok();
  (*connection)->run([&channel, &asked](PostgresSession& session) {
    const auto prefix = session.ask("SELECT views_prefix()", {});
    if (prefix) {
      channel = prefix->text(0, 0);
    } else {
      asked = prefix.error();
    }
  });
  if (!asked) return asked.error();
  if (Status listening = (*connection)->listen(channel); !listening) return listening.error();
  return connection;
}

}  // namespace

struct PostgresListener::Impl {
  Impl(RealEnv& of, PostgresPool& from) : env(of), pool(from), descriptor(of.io_context()) {}
  ~Impl() { drop(); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // Cut first: nothing that ends a connection may wait for the other side.
  void drop() {
    boost::system::error_code ignored;
    descriptor.close(ignored);
    if (connection) connection->socket()->cut();
    connection.reset();
  }

  RealEnv& env;
  PostgresPool& pool;
  Hearing hearing;
  std::shared_ptr<PostgresConnection> connection;
  boost::asio::posix::stream_descriptor descriptor;  // Of the connection's socket, a second one.
  bool stopping = false;
};

PostgresListener::PostgresListener(RealEnv& env, PostgresPool& pool)
    : impl_(std::make_shared<Impl>(env, pool)) {}

PostgresListener::~PostgresListener() {
  stop();
}

void PostgresListener::start(Hearing hearing) {
  impl_->hearing = std::move(hearing);
  impl_->env.spawn("listen to the views", listen(impl_));
}

void PostgresListener::stop() {
  impl_->stopping = true;
  boost::system::error_code ignored;
  impl_->descriptor.cancel(ignored);
}

Task<> PostgresListener::connect(std::shared_ptr<Impl> impl) {
  const PostgresPool& pool = impl->pool;
  std::function<Result<std::shared_ptr<PostgresConnection>>()> work = [&pool] {
    return open_and_listen(pool);
  };
  auto connection = co_await offload<std::shared_ptr<PostgresConnection>>(impl->env, Lane::read, work);
  if (!connection) co_return connection.error();
  const int descriptor = (*connection)->socket()->duplicate();
  if (descriptor < 0) co_return Error{Errc::unavailable, "no descriptor for a connection"};
  impl->connection = std::move(*connection);
  impl->descriptor.assign(descriptor);
  impl->env.count("view_listener_connections");
  co_return ok();
}

// Until the connection is lost.
Task<> PostgresListener::hear(std::shared_ptr<Impl> impl) {
  while (!impl->stopping) {
    const auto notes = impl->connection->notes();
    if (!notes) co_return notes.error();
    for (const std::string& payload : *notes) {
      impl->env.count("view_notifications");
      if (const auto partition = partition_in(payload)) impl->hearing.moved(*partition);
    }
    std::function<void(Waker)> park = [impl](Waker waker) {
      impl->descriptor.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                                  [waker](const boost::system::error_code& /*cut*/) { waker.wake(); });
    };
    co_await suspend(impl->env, std::move(park));
  }
  co_return ok();
}

Task<> PostgresListener::listen(std::shared_ptr<Impl> impl) {
  Duration pause = kFirstPause;
  while (!impl->stopping) {
    Status heard = co_await connect(impl);
    if (heard) {
      pause = kFirstPause;
      impl->env.log(LogLevel::debug, "listening to the views");
      impl->hearing.begun();
      heard = co_await hear(impl);
    }
    impl->drop();
    if (impl->stopping) break;
    const std::string why = heard ? "" : heard.error().message;
    impl->env.log(LogLevel::warning, "the views are not listened to for a while: " + why);
    co_await sleep_for(impl->env, pause);
    pause = std::min<Duration>(2 * pause, kLongestPause);
  }
  co_return ok();
}

}  // namespace varve
