#include "api/access.h"

#include <algorithm>
#include <array>
#include <memory>

#include "runtime/hash.h"

namespace varve {
namespace {

constexpr std::size_t kAskedHeadersBytesMax = 4096;
constexpr std::string_view kMethods = "GET, POST, PUT, PATCH, DELETE, OPTIONS";
constexpr std::string_view kReadableHeaders =
    "retry-after, varve-as-of, varve-moved-to, varve-position, varve-view, x-request-id, x-should-retry";
constexpr std::string_view kPreflightSeconds = "600";

using Digest = std::array<std::uint8_t, 32>;

// Digests have one length, whatever was sent, and no prefix of a password has the prefix of its digest.
bool equal_in_constant_time(const Digest& a, const Digest& b) {
  volatile unsigned difference = 0;  // Volatile: the loop must not end at the first difference.
  for (std::size_t i = 0; i < a.size(); ++i) difference = difference | (unsigned{a[i]} ^ unsigned{b[i]});
  return difference == 0;
}

bool same_letters(std::string_view a, std::string_view b) {
  const HeaderNameLess less;
  return !less(a, b) && !less(b, a);
}

// What follows `scheme` and spaces, if `value` begins with that.
std::optional<std::string_view> credentials_of(std::string_view value, std::string_view scheme) {
  if (value.size() <= scheme.size() || value[scheme.size()] != ' ') return std::nullopt;
  if (!same_letters(value.substr(0, scheme.size()), scheme)) return std::nullopt;
  const std::size_t start = value.find_first_not_of(' ', scheme.size());
  return start == std::string_view::npos ? std::nullopt : std::optional{value.substr(start)};
}

// Balancers, orchestrators and monitors ask these, and have no secret to give.
bool is_open(std::string_view path, bool open_metrics) {
  for (const std::string_view open : {"/v1/health/", "/v1/health", "/v1/ready/", "/v1/ready"}) {
    if (path == open) return true;
  }
  return open_metrics && path == "/metrics";
}

// The names of headers as a browser asks for them: nothing that would need quoting in an answer.
bool is_header_list(std::string_view text) {
  if (text.empty() || text.size() > kAskedHeadersBytesMax) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == ',' || c == ' ';
  });
}

class Gate {
 public:
  Gate(Env& env, const AccessPolicy& policy, Handler inner)
      : env_(env),
        inner_(std::move(inner)),
        origins_(policy.cors_origins),
        open_metrics_(policy.open_metrics) {
    if (!policy.password.empty()) password_ = sha256(policy.password);
    any_origin_ = std::find(origins_.begin(), origins_.end(), "*") != origins_.end();
  }

  Env& env() { return env_; }
  const Handler& inner() const { return inner_; }

  bool may_pass(const Request& request, std::string_view path) const {
    if (!password_) return true;
    if (request.method == "GET" && is_open(path, open_metrics_)) return true;
    if (const auto bearer = request.header("authorization")) {
      if (is_password(credentials_of(*bearer, "bearer"))) return true;
    }
    const auto bare = request.header("x-bare-password");
    return bare && is_password(credentials_of(*bare, "password"));
  }

  // The answer to a browser that asks whether it may send a request.
  std::optional<Response> preflight(const Request& request) const {
    if (request.method != "OPTIONS" || !request.header("access-control-request-method")) return std::nullopt;
    if (!allows(request.header("origin"))) return std::nullopt;
    Response response;
    response.headers.emplace("access-control-allow-methods", kMethods);
    const auto asked = request.header("access-control-request-headers");
    if (asked && is_header_list(*asked)) response.headers.emplace("access-control-allow-headers", *asked);
    response.headers.emplace("access-control-max-age", kPreflightSeconds);
    return response;
  }

  void add_cors(const std::optional<std::string>& origin, Response& response) const {
    if (origins_.empty()) return;
    // Caches must not give the answer for one page to another.
    if (!any_origin_) response.headers.emplace("vary", "origin");
    if (!allows(origin)) return;
    response.headers.emplace("access-control-allow-origin", any_origin_ ? "*" : *origin);
    response.headers.emplace("access-control-expose-headers", kReadableHeaders);
  }

 private:
  bool is_password(const std::optional<std::string_view>& given) const {
    return given && equal_in_constant_time(sha256(*given), *password_);
  }
  bool allows(const std::optional<std::string>& origin) const {
    if (!origin) return false;
    return any_origin_ || std::find(origins_.begin(), origins_.end(), *origin) != origins_.end();
  }

  Env& env_;
  Handler inner_;
  std::optional<Digest> password_;
  std::vector<std::string> origins_;
  bool any_origin_ = false;
  bool open_metrics_ = false;
};

Response unauthorized() {
  Response response;
  response.status = 401;
  response.headers.emplace("www-authenticate", "Bearer");
  response.body = R"({"detail":"Unauthorized"})";
  return response;
}

boost::asio::awaitable<Response> pass(std::shared_ptr<Gate> gate, Request request) {
  Env& env = gate->env();
  const MonoTime begun = env.now();
  const auto own_id = request.header("x-request-id");
  std::string id = own_id && is_request_id(*own_id) ? *own_id : uuid4(env.rng());
  const auto target = parse_target(request.target);
  std::string said = request.method + " " + (target ? target->path : "(not a target)");
  const auto origin = request.header("origin");

  std::optional<Response> response = gate->preflight(request);
  if (!response && !gate->may_pass(request, target ? target->path : "")) {
    env.count("http_unauthorized");
    response = unauthorized();
  }
  if (!response) {
    request.headers.erase("x-request-id");
    request.headers.emplace("x-request-id", id);
    response = co_await gate->inner()(std::move(request));
  }

  gate->add_cors(origin, *response);
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(env.now() - begun);
  said +=
      " " + std::to_string(response->status) + " in " + std::to_string(took.count()) + " us, request " + id;
  env.log(LogLevel::debug, said);
  response->headers.erase("x-request-id");
  response->headers.emplace("x-request-id", std::move(id));
  co_return std::move(*response);
}

}  // namespace

Handler with_access(Env& env, const AccessPolicy& policy, Handler inner) {
  auto gate = std::make_shared<Gate>(env, policy, std::move(inner));
  return [gate = std::move(gate)](Request request) { return pass(gate, std::move(request)); };
}

}  // namespace varve
