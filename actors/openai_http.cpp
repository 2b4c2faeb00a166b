#include "actors/openai_http.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <map>
#include <set>

#include "runtime/check.h"
#include "runtime/real_env.h"
#include "runtime/sync.h"

namespace varve {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

// Connections that wait for the next call.
constexpr long kIdleConnectionsMax = 32;

long in_ms(Duration duration) {
  return std::max<long>(1, std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

// One call under way. curl holds pointers into it, so it does not move.
struct Transfer {
  Transfer(RealEnv& environment, HttpCall asked)
      : env(environment), call(std::move(asked)), last_byte(env.now()) {}
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;
  ~Transfer() { curl_slist_free_all(headers); }

  RealEnv& env;
  HttpCall call;
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  std::array<char, CURL_ERROR_SIZE> error{};
  HttpReply reply;
  MonoTime last_byte;
  bool enough = false;
  bool done = false;
  Notifier changed;
};

// A socket that curl wants to hear about. curl owns it.
struct Watch {
  Watch(asio::io_context& io, curl_socket_t socket) : descriptor(io, socket) {}

  asio::posix::stream_descriptor descriptor;
  int wanted = CURL_POLL_NONE;
  bool reading = false;
  bool writing = false;
  bool removed = false;
};

}  // namespace

struct OpenAiHttp::Impl : std::enable_shared_from_this<Impl> {
  Impl(RealEnv& environment, Options chosen) : env(environment), options(std::move(chosen)) {}

  void open();
  void close();
  void enrol(const std::shared_ptr<Transfer>& transfer);
  void leave(Transfer& transfer);
  void set_options(Transfer& transfer);
  void act(curl_socket_t socket, int events);
  void settle(Transfer& transfer, CURLcode code);
  void arm(const std::shared_ptr<Watch>& watch, curl_socket_t socket);
  void wait(const std::shared_ptr<Watch>& watch, curl_socket_t socket, bool for_writing);
  void watch(curl_socket_t socket, int wanted);
  void set_timer(long ms);

  // curl's callbacks.
  static int on_socket(CURL* easy, curl_socket_t socket, int wanted, void* self, void* unused);
  static int on_timer(CURLM* multi, long ms, void* self);
  static std::size_t on_bytes(char* bytes, std::size_t one, std::size_t count, void* transfer);

  RealEnv& env;
  Options options;
  CURLM* multi = nullptr;
  TimerId timer = 0;
  std::map<curl_socket_t, std::shared_ptr<Watch>> watches;
  std::map<CURL*, std::shared_ptr<Transfer>> transfers;
};

void OpenAiHttp::Impl::open() {
  CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
  multi = curl_multi_init();
  CHECK(multi != nullptr);
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, &Impl::on_socket);
  curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, &Impl::on_timer);
  curl_multi_setopt(multi, CURLMOPT_TIMERDATA, this);
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, kIdleConnectionsMax);
  curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, static_cast<long>(options.connections_max));
}

void OpenAiHttp::Impl::close() {
  if (multi == nullptr) return;
  while (!transfers.empty()) {
    const auto transfer = transfers.begin()->second;
    leave(*transfer);
    transfer->reply.fault = HttpReply::Fault::closed;
    transfer->reply.detail = "shutting down";
    transfer->done = true;
    transfer->changed.notify_all();
  }
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, nullptr);
  CHECK(curl_multi_cleanup(multi) == CURLM_OK);
  multi = nullptr;
  while (!watches.empty()) watch(watches.begin()->first, CURL_POLL_REMOVE);
  set_timer(-1);
  curl_global_cleanup();
}

// ---- sockets and time

int OpenAiHttp::Impl::on_socket(CURL* /*easy*/, curl_socket_t socket, int wanted, void* self,
                                void* /*unused*/) {
  static_cast<Impl*>(self)->watch(socket, wanted);
  return 0;
}

int OpenAiHttp::Impl::on_timer(CURLM* /*multi*/, long ms, void* self) {
  static_cast<Impl*>(self)->set_timer(ms);
  return 0;
}

void OpenAiHttp::Impl::set_timer(long ms) {
  if (timer != 0) env.cancel(timer);
  timer = 0;
  if (ms < 0) return;
  // Never at once: curl may be asking from within itself.
  timer = env.call_at(env.now() + std::chrono::milliseconds{ms}, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self || self->multi == nullptr) return;
    self->timer = 0;
    self->act(CURL_SOCKET_TIMEOUT, 0);
  });
}

void OpenAiHttp::Impl::watch(curl_socket_t socket, int wanted) {
  auto found = watches.find(socket);
  if (wanted == CURL_POLL_REMOVE) {
    if (found == watches.end()) return;
    const auto gone = found->second;
    watches.erase(found);
    gone->removed = true;
    gone->descriptor.release();
    return;
  }
  if (found == watches.end()) {
    found = watches.emplace(socket, std::make_shared<Watch>(env.io_context(), socket)).first;
  }
  found->second->wanted = wanted;
  arm(found->second, socket);
}

void OpenAiHttp::Impl::arm(const std::shared_ptr<Watch>& watch, curl_socket_t socket) {
  if ((watch->wanted & CURL_POLL_IN) != 0 && !watch->reading) wait(watch, socket, false);
  if ((watch->wanted & CURL_POLL_OUT) != 0 && !watch->writing) wait(watch, socket, true);
}

void OpenAiHttp::Impl::wait(const std::shared_ptr<Watch>& watch, curl_socket_t socket, bool for_writing) {
  using Descriptor = asio::posix::stream_descriptor;
  (for_writing ? watch->writing : watch->reading) = true;
  auto ready = [weak = weak_from_this(), watch, socket, for_writing](const error_code& error) {
    (for_writing ? watch->writing : watch->reading) = false;
    const auto self = weak.lock();
    if (!self || self->multi == nullptr || watch->removed) return;
    const int flag = for_writing ? CURL_POLL_OUT : CURL_POLL_IN;
    if ((watch->wanted & flag) == 0) return;  // It has changed its mind meanwhile.
    self->act(socket, error ? CURL_CSELECT_ERR : for_writing ? CURL_CSELECT_OUT : CURL_CSELECT_IN);
    if (!watch->removed) self->arm(watch, socket);
  };
  watch->descriptor.async_wait(for_writing ? Descriptor::wait_write : Descriptor::wait_read,
                               std::move(ready));
}

// Lets curl do what can be done now, and tells those whose answer has ended.
void OpenAiHttp::Impl::act(curl_socket_t socket, int events) {
  int running = 0;
  curl_multi_socket_action(multi, socket, events, &running);
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const auto found = transfers.find(message->easy_handle);
    if (found != transfers.end()) settle(*found->second, message->data.result);
  }
}

// ---- transfers

std::size_t OpenAiHttp::Impl::on_bytes(char* bytes, std::size_t one, std::size_t count, void* pointer) {
  auto& transfer = *static_cast<Transfer*>(pointer);
  const std::string_view piece{bytes, one * count};
  long status = 0;
  curl_easy_getinfo(transfer.easy, CURLINFO_RESPONSE_CODE, &status);
  transfer.last_byte = transfer.env.now();
  transfer.reply.status = static_cast<int>(status);
  if (status < 200 || status >= 300) {
    const std::size_t room = kErrorBodyMax - transfer.reply.error_body.size();
    transfer.reply.error_body.append(piece.substr(0, room));
    return piece.size() <= room ? piece.size() : CURL_WRITEFUNC_ERROR;
  }
  if (!transfer.call.on_body || transfer.enough) return piece.size();
  switch (transfer.call.on_body(piece)) {
    case HttpCall::Appetite::more:
      break;
    case HttpCall::Appetite::enough:
      transfer.enough = true;
      transfer.changed.notify_all();
      break;
    case HttpCall::Appetite::stop:
      transfer.reply.fault = HttpReply::Fault::stopped;
      return CURL_WRITEFUNC_ERROR;
  }
  return piece.size();
}

void OpenAiHttp::Impl::set_options(Transfer& transfer) {
  CURL* easy = transfer.easy;
  const HttpCall& call = transfer.call;
  for (const std::string& header : call.headers) {
    transfer.headers = curl_slist_append(transfer.headers, header.c_str());
  }
  transfer.headers = curl_slist_append(transfer.headers, "Expect:");  // No round trip before a long body.
  curl_easy_setopt(easy, CURLOPT_URL, call.url.c_str());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer.headers);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "varve");
  if (call.body) {
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call.body->c_str());
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(call.body->size()));
  }
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Impl::on_bytes);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.error.data());
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, in_ms(call.connect_time));
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  // A redirect would take the key to somebody else: it is an answer like any other that is not 2xx.
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
  if (!options.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, options.ca_file.c_str());
  // Set even if empty: the environment is not asked.
  curl_easy_setopt(easy, CURLOPT_PROXY, options.proxy.c_str());
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);  // A provider that has died in silence is noticed.
  // A look-up that hangs is left alone, or giving up a call would wait for it.
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
}

void OpenAiHttp::Impl::enrol(const std::shared_ptr<Transfer>& transfer) {
  transfer->easy = curl_easy_init();
  CHECK(transfer->easy != nullptr);
  set_options(*transfer);
  transfers.emplace(transfer->easy, transfer);
  CHECK(curl_multi_add_handle(multi, transfer->easy) == CURLM_OK);
}

void OpenAiHttp::Impl::leave(Transfer& transfer) {
  if (transfer.easy == nullptr) return;
  CURL* easy = std::exchange(transfer.easy, nullptr);
  curl_multi_remove_handle(multi, easy);
  curl_easy_cleanup(easy);
  transfers.erase(easy);
}

void OpenAiHttp::Impl::settle(Transfer& transfer, CURLcode code) {
  using Fault = HttpReply::Fault;
  HttpReply& reply = transfer.reply;
  long status = 0;
  curl_off_t retry_after = 0;
  curl_easy_getinfo(transfer.easy, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(transfer.easy, CURLINFO_RETRY_AFTER, &retry_after);
  reply.status = static_cast<int>(status);
  if (retry_after > 0) reply.retry_after = retry_after;
  transfer.done = true;
  transfer.changed.notify_all();
  const bool refused = status >= 300;  // Its reason may have been cut off.
  if (code == CURLE_OK || transfer.enough || refused || reply.fault != Fault::none) return;
  reply.detail = transfer.error.front() != '\0' ? transfer.error.data() : curl_easy_strerror(code);
  curl_off_t connected = 0;
  curl_easy_getinfo(transfer.easy, CURLINFO_PRETRANSFER_TIME_T, &connected);
  if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
      code == CURLE_SSL_ISSUER_ERROR) {
    reply.fault = Fault::untrusted;
  } else if (code == CURLE_OPERATION_TIMEDOUT) {
    reply.fault = Fault::slow;
  } else {
    reply.fault = connected == 0 ? Fault::connect : Fault::broken;
  }
}

namespace {

// Takes a call off curl's books when its coroutine ends or is destroyed.
class Enrolment {
 public:
  Enrolment(std::shared_ptr<OpenAiHttp::Impl> impl, std::shared_ptr<Transfer> transfer)
      : impl_(std::move(impl)), transfer_(std::move(transfer)) {
    impl_->enrol(transfer_);
  }
  Enrolment(const Enrolment&) = delete;
  Enrolment& operator=(const Enrolment&) = delete;
  ~Enrolment() { impl_->leave(*transfer_); }

 private:
  std::shared_ptr<OpenAiHttp::Impl> impl_;
  std::shared_ptr<Transfer> transfer_;
};

asio::awaitable<HttpReply> perform(std::shared_ptr<OpenAiHttp::Impl> impl, HttpCall call, MonoTime deadline) {
  HttpReply reply;
  if (impl->multi == nullptr) {
    reply.fault = HttpReply::Fault::closed;
    reply.detail = "shutting down";
    co_return reply;
  }
  RealEnv& env = impl->env;
  const auto transfer = std::make_shared<Transfer>(env, std::move(call));
  const Enrolment enrolment(impl, transfer);
  MonoTime enough_at = kNever;
  while (!transfer->done) {
    const MonoTime now = env.now();
    if (transfer->enough && enough_at == kNever) enough_at = now + kEndOfAnswer;
    const MonoTime idle_at = transfer->last_byte + transfer->call.idle_time;
    if (now >= enough_at || now >= std::min(deadline, idle_at)) break;
    const MonoTime until = std::min(std::min(deadline, idle_at), enough_at);
    co_await transfer->changed.wait(env, until);
  }
  reply = std::move(transfer->reply);
  if (!transfer->done && !transfer->enough) {
    reply.fault = HttpReply::Fault::timeout;
    reply.detail = env.now() >= deadline ? "no answer before the deadline" : "no byte for too long";
  }
  co_return reply;
}

}  // namespace

OpenAiHttp::OpenAiHttp(RealEnv& env, const Options& options) : impl_(std::make_shared<Impl>(env, options)) {
  impl_->open();
}

OpenAiHttp::~OpenAiHttp() {
  impl_->close();
}

asio::awaitable<HttpReply> OpenAiHttp::call(HttpCall call, MonoTime deadline) {
  return perform(impl_, std::move(call), deadline);
}

}  // namespace varve
