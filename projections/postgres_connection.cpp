#include "projections/postgres_connection.h"

#include <libpq-fe.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <map>
#include <pqxx/connection>
#include <pqxx/notification>

#include "runtime/check.h"

namespace varve {

namespace {

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) { CHECK(number >= 0); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { ::close(number_); }
  int number() const { return number_; }

 private:
  int number_;
};

using OptionList = std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)>;

// libpq's own way to wait for a connection without end: this one ends.
bool wait_for(PGconn* connection, PostgresPollingStatusType what, const Descriptor& timer) {
  const short events = what == PGRES_POLLING_READING ? POLLIN : POLLOUT;
  std::array<pollfd, 2> watched{pollfd{PQsocket(connection), events, 0}, pollfd{timer.number(), POLLIN, 0}};
  while (::poll(watched.data(), watched.size(), -1) < 0) {
    if (errno != EINTR) return false;
  }
  return watched[1].revents == 0;
}

long seconds_of(PGconn* connection) {
  const OptionList all(PQconninfo(connection), &PQconninfoFree);
  for (const PQconninfoOption* option = all.get(); option != nullptr && option->keyword != nullptr;
       ++option) {
    if (std::string_view{option->keyword} != "connect_timeout" || option->val == nullptr) continue;
    const long seconds = std::strtol(option->val, nullptr, 10);
    if (seconds > 0) return seconds;
  }
  return 5;
}

// How libpqxx connects: within connect_timeout as a whole, with messages that hold the SQLSTATE. (Without it,
// "wrong password" would have to be guessed from a text in the server's language.)
class BoundedConnect : public pqxx::connectionpolicy {
 public:
  explicit BoundedConnect(const std::string& conninfo) : connectionpolicy(conninfo) {}

  handle do_startconnect(handle present) override {
    if (present != nullptr) return present;
    std::unique_ptr<PGconn, decltype(&PQfinish)> made(PQconnectStart(options().c_str()), &PQfinish);
    if (!made) throw pqxx::broken_connection("no memory for a connection");
    if (PQstatus(made.get()) == CONNECTION_BAD) throw pqxx::broken_connection(PQerrorMessage(made.get()));
    PQsetErrorVerbosity(made.get(), PQERRORS_VERBOSE);
    const long seconds = seconds_of(made.get());
    const Descriptor timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
    const itimerspec when{{0, 0}, {seconds, 0}};
    CHECK(::timerfd_settime(timer.number(), 0, &when, nullptr) == 0);
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    while (state == PGRES_POLLING_READING || state == PGRES_POLLING_WRITING) {
      if (!wait_for(made.get(), state, timer)) {
        throw pqxx::broken_connection("no answer within " + std::to_string(seconds) + " s");
      }
      state = PQconnectPoll(made.get());
    }
    if (state != PGRES_POLLING_OK) throw pqxx::broken_connection(PQerrorMessage(made.get()));
    PQsetErrorVerbosity(made.get(), PQERRORS_DEFAULT);
    return made.release();
  }
};

using Options = std::map<std::string, std::string>;

Result<Options> parse(const std::string& url) {
  char* fault = nullptr;
  const OptionList all(PQconninfoParse(url.c_str(), &fault), &PQconninfoFree);
  if (fault != nullptr) PQfreemem(fault);  // It may quote a password.
  if (!all) {
    return Error{Errc::invalid_argument,
                 "the url of PostgreSQL cannot be read; it is written "
                 "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with %-escapes in names and password"};
  }
  Options found;
  for (const PQconninfoOption* option = all.get(); option->keyword != nullptr; ++option) {
    if (option->val != nullptr) found[option->keyword] = option->val;
  }
  return found;
}

std::string in_ms(Duration time) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(time).count());
}

// A value of a key=value list.
std::string quoted(const std::string& value) {
  std::string out{"'"};
  for (const char c : value) {
    if (c == '\'' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  return out + "'";
}

// Settings of each session, from its first packet on. What the url sets stands behind, and wins.
// jit: a statement of ours runs for milliseconds; the server may take sixty to compile it.
std::string settings_of(const PostgresOptions& options) {
  const Duration idle = options.answer;
  return "-c statement_timeout=" + in_ms(options.statement) + " -c lock_timeout=" + in_ms(options.lock) +
         " -c idle_in_transaction_session_timeout=" + in_ms(idle) +
         " -c default_transaction_isolation=read\\ committed -c standard_conforming_strings=on -c jit=off";
}

std::string where_of(const Options& found) {
  const auto value = [&found](const char* key) {
    const auto at = found.find(key);
    return at == found.end() ? std::string{} : at->second;
  };
  std::string where{"postgresql://"};
  if (!value("user").empty()) where += value("user") + "@";
  where += value("host").empty() ? value("hostaddr") : value("host");
  if (!value("port").empty()) where += ":" + value("port");
  return where + "/" + value("dbname");
}

}  // namespace

PostgresSocket::PostgresSocket(int descriptor) : descriptor_(descriptor < 0 ? -1 : ::dup(descriptor)) {}

PostgresSocket::~PostgresSocket() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void PostgresSocket::cut() const {
  if (descriptor_ >= 0) ::shutdown(descriptor_, SHUT_RDWR);
}

int PostgresSocket::duplicate() const {
  return descriptor_ < 0 ? -1 : ::dup(descriptor_);
}

Result<PostgresAddress> postgres_address(const PostgresOptions& options) {
  auto found = parse(options.url);
  if (!found) return found.error();
  Options all = *found;
  const auto unless_said = [&all](const char* key, const std::string& value) { all.emplace(key, value); };
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(options.connect).count();
  unless_said("connect_timeout", std::to_string(std::max<std::int64_t>(1, seconds)));
  unless_said("application_name", "varve");
  // A peer that is gone without a word is found within half a minute, also while we wait for its answer.
  unless_said("keepalives_idle", "10");
  unless_said("keepalives_interval", "5");
  unless_said("keepalives_count", "3");
  unless_said("tcp_user_timeout", "20000");
  if (!options.password.empty()) all["password"] = options.password;
  all["client_encoding"] = "UTF8";
  all["options"] = settings_of(options) + (all.contains("options") ? " " + all["options"] : std::string{});
  PostgresAddress address;
  for (const auto& [key, value] : all) address.conninfo += key + "=" + quoted(value) + " ";
  address.where = where_of(*found);
  return address;
}

namespace {

class NoteKeeper final : public pqxx::notification_receiver {
 public:
  NoteKeeper(pqxx::connection_base& connection, const std::string& channel)
      : notification_receiver(connection, channel) {}
  void operator()(const std::string& payload, int /*process*/) override { kept.push_back(payload); }

  std::vector<std::string> kept;
};

}  // namespace

struct PostgresConnection::Impl {
  explicit Impl(const std::string& conninfo) : raw(conninfo) {
// Deprecated since libpqxx 7 never reconnects; 6.4 would, in the middle of our work.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"
    raw.inhibit_reactivation(true);
#pragma clang diagnostic pop
  }
  // The keeper of notes would ask the server to stop sending them, and on a lost connection libpqxx 6.4 leaks
  // that answer.
  ~Impl() {
    if (notes) raw.disconnect();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  pqxx::basic_connection_base<BoundedConnect> raw;
  std::unique_ptr<NoteKeeper> notes;  // Null: it does not listen.
};

PostgresConnection::PostgresConnection(std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)), socket_(std::make_shared<const PostgresSocket>(impl_->raw.sock())) {}
PostgresConnection::~PostgresConnection() = default;

Result<std::shared_ptr<PostgresConnection>> PostgresConnection::open(const std::string& conninfo) {
  try {
    return std::shared_ptr<PostgresConnection>(new PostgresConnection(std::make_unique<Impl>(conninfo)));
  } catch (const std::exception& thrown) {
    return postgres_connect_error(thrown.what());
  }
}

bool PostgresConnection::alive() {
  try {
    // The first may read the server's farewell, the second then the end of the stream.
    impl_->raw.get_notifs();
    impl_->raw.get_notifs();
    return impl_->raw.is_open();
  } catch (const std::exception&) {
    return false;
  }
}

bool PostgresConnection::run(const std::function<void(PostgresSession&)>& job) {
  PostgresSession session(impl_->raw);
  job(session);
  return session.usable();
}

Status PostgresConnection::listen(const std::string& channel) {
  try {
    impl_->notes = std::make_unique<NoteKeeper>(impl_->raw, channel);
    return ok();
  } catch (const std::exception& thrown) {
    return Error{Errc::unavailable, std::string{"PostgreSQL does not let us listen: "} + thrown.what()};
  }
}

Result<std::vector<std::string>> PostgresConnection::notes() {
  try {
    impl_->raw.get_notifs();
    if (!impl_->raw.is_open()) return Error{Errc::unavailable, "PostgreSQL has closed the connection"};
  } catch (const std::exception& thrown) {
    return Error{Errc::unavailable, std::string{"the connection to PostgreSQL is lost: "} + thrown.what()};
  }
  std::vector<std::string> notes;
  if (impl_->notes) notes.swap(impl_->notes->kept);
  return notes;
}

}  // namespace varve
