#include "api/inspect_routes.h"

#include <algorithm>

#include "api/http_status.h"
#include "inspect/bisect_log.h"
#include "inspect/explain.h"
#include "runtime/suspend.h"

namespace varve {
namespace {

bool is_path(std::string_view target, std::string_view path) {
  return target.substr(0, target.find('?')) == path;
}

// The value of the last parameter of this name; empty: there is none.
std::string parameter(const Target& target, std::string_view name) {
  std::string value;
  for (const auto& [key, one] : target.query) {
    if (key == name) value = one;
  }
  return value;
}

// The first parameter that is none of `known`.
std::optional<std::string> unknown(const Target& target, const std::vector<std::string_view>& known) {
  for (const auto& [key, value] : target.query) {
    if (std::find(known.begin(), known.end(), key) == known.end()) return key;
  }
  return std::nullopt;
}

// A read, which may be repeated.
Response refusal(const Error& error) {
  return error_response(error, false);
}

// Lets the next one in when this one has ended, however it ends.
class Turn {
 public:
  explicit Turn(std::shared_ptr<bool> busy) : busy_(std::move(busy)) { *busy_ = true; }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() { *busy_ = false; }

 private:
  std::shared_ptr<bool> busy_;
};

}  // namespace

bool InspectRoutes::serves(std::string_view target) {
  return is_path(target, kExplainPath) || is_path(target, kBisectPath);
}

boost::asio::awaitable<Response> InspectRoutes::handle(Request request) {
  env_.count("http_requests");
  const MonoTime begun = env_.now();
  const bool explains = is_path(request.target, kExplainPath);
  Response response = co_await route(std::move(request));
  const char* status = response.status < 300 ? "2xx" : response.status < 500 ? "4xx" : "5xx";
  const TimingName name{"http", "GET", explains ? kExplainPath : kBisectPath, status};
  env_.observe(name, env_.now() - begun);
  co_return response;
}

InspectRoutes::Answer InspectRoutes::route(Request request) {
  auto target = parse_target(request.target);
  if (!target) co_return detail_response(400, "the request target is not a well-formed path");
  if (request.method != "GET") {
    Response wrong = detail_response(405, "Method Not Allowed");
    wrong.headers.emplace("allow", "GET");
    co_return wrong;
  }
  if (*busy_) {
    Response wait =
        detail_response(429, "the log is being played again for another request; ask again later");
    wait.headers.emplace("retry-after", "1");
    co_return wait;
  }
  const Turn turn(busy_);
  co_await yield(env_);  // What is waiting goes first.
  const bool explains = target->path == kExplainPath;
  Response answer = explains ? co_await explained(std::move(*target)) : co_await bisected(std::move(*target));
  co_return answer;
}

Task<> InspectRoutes::check_length() {
  std::uint64_t records = 0;
  for (std::uint32_t number = 0; number < log_.partitions(); ++number) {
    auto end = co_await log_.end(Partition{number});
    if (!end) co_return end.error();
    records += end->value();
  }
  if (records <= records_max_) co_return ok();
  co_return Error{Errc::conflict,
                  "the log has up to " + std::to_string(records) + " records, and a server plays " +
                      std::to_string(records_max_) +
                      " again at most: use the command of this name, which has a process of its own"};
}

InspectRoutes::Answer InspectRoutes::explained(Target target) {
  if (const auto other = unknown(target, {"row", "field"})) {
    co_return detail_response(422, "explain takes row and field, not '" + *other + "'");
  }
  auto row = parse_row_name(parameter(target, "row"), parameter(target, "field"));
  if (!row) co_return refusal(row.error());
  if (Status fits = co_await check_length(); !fits) co_return refusal(fits.error());
  auto explanation = co_await explain(log_, std::move(*row));
  if (!explanation) co_return refusal(explanation.error());
  co_return json_response(explanation_json(*explanation));
}

InspectRoutes::Answer InspectRoutes::bisected(Target target) {
  if (const auto other = unknown(target, {"where", "about", "good", "bad", "first"})) {
    co_return detail_response(422, "bisect takes where, about, good, bad and first, not '" + *other + "'");
  }
  const std::string first = parameter(target, "first");
  if (!first.empty() && first != "true" && first != "false") {
    co_return detail_response(422, "first is true or false");
  }
  auto where = Expression::parse(parameter(target, "where"), Expression::Asks::states_only);
  if (!where) co_return refusal(Error{where.error().code, "where: " + where.error().message});
  BisectQuestion question;
  question.where = std::make_shared<const Expression>(std::move(*where));
  const std::string about = parameter(target, "about");
  if (!about.empty()) question.about = StreamId{about};
  question.good = parameter(target, "good");
  question.bad = parameter(target, "bad");
  question.find = first == "true" ? Find::first : Find::any;
  if (Status fits = co_await check_length(); !fits) co_return refusal(fits.error());
  auto report = co_await bisect_log(log_, question);
  if (!report) co_return refusal(report.error());
  co_return json_response(bisect_json(*report, question));
}

}  // namespace varve
