#include "api/inspect_routes.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "api/http_status.h"
#include "inspect/bisect_log.h"
#include "inspect/explain.h"
#include "inspect/replay_page.h"
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

// Digits alone, as a column holds it; nothing: it is none.
std::optional<std::uint64_t> number_in(const std::string& text) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, value);
  if (text.empty() || read.ec != std::errc{} || read.ptr != end) return std::nullopt;
  if (value >= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return std::nullopt;
  return value;
}

Error wrong(const std::string& what) {
  return Error{Errc::invalid_argument, what};
}

Status place_of_replay(const Target& target, const EventLog& log, ReplayQuestion& question) {
  const std::string stream = parameter(target, "stream");
  const std::string partition = parameter(target, "partition");
  if (stream.empty() == partition.empty()) return wrong("stream or partition: give one of them");
  if (!stream.empty()) {
    question.stream = StreamId{stream};
    question.partition = partition_of(*question.stream, log.partitions());
    return ok();
  }
  const auto number = number_in(partition);
  if (!number || *number >= log.partitions()) {
    return wrong("partition: expected 0 to " + std::to_string(log.partitions() - 1) + ", got '" + partition +
                 "'");
  }
  question.partition = Partition{static_cast<std::uint32_t>(*number)};
  return ok();
}

Result<ReplayQuestion> replay_question(const Target& target, const EventLog& log) {
  if (const auto other = unknown(target, {"stream", "partition", "from", "to", "until", "limit"}))
    return wrong("replay takes stream or partition, from, to, until and limit, not '" + *other + "'");
  ReplayQuestion question;
  if (Status placed = place_of_replay(target, log, question); !placed) return placed.error();
  if (const std::string from = parameter(target, "from"); !from.empty()) {
    const auto offset = number_in(from);
    if (!offset) return wrong("from: expected an offset, as 17, got '" + from + "'");
    question.from = Offset{*offset};
  }
  if (const std::string to = parameter(target, "to"); !to.empty()) {
    const auto offset = number_in(to);
    if (!offset) return wrong("to: expected an offset, as 17, got '" + to + "'");
    if (*offset < question.from.value()) return wrong("to: it lies before from");
    question.to = Offset{*offset};
  }
  if (const std::string limit = parameter(target, "limit"); !limit.empty()) {
    const auto number = number_in(limit);
    if (!number || *number < 1 || *number > kReplayRecordsMax)
      return wrong("limit: expected 1 to " + std::to_string(kReplayRecordsMax) + ", got '" + limit + "'");
    question.records_max = static_cast<std::size_t>(*number);
  }
  if (const std::string until = parameter(target, "until"); !until.empty()) {
    auto parsed = Expression::parse(until, Expression::Asks::states_and_event);
    if (!parsed) return Error{parsed.error().code, "until: " + parsed.error().message};
    question.until = std::make_shared<const Expression>(std::move(*parsed));
  }
  return question;
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
  return is_path(target, kExplainPath) || is_path(target, kBisectPath) || is_path(target, kReplayPath);
}

boost::asio::awaitable<Response> InspectRoutes::handle(Request request) {
  env_.count("http_requests");
  const MonoTime begun = env_.now();
  const std::string_view path = is_path(request.target, kExplainPath)  ? kExplainPath
                                : is_path(request.target, kBisectPath) ? kBisectPath
                                                                       : kReplayPath;
  Response response = co_await route(std::move(request));
  const char* status = response.status < 300 ? "2xx" : response.status < 500 ? "4xx" : "5xx";
  const TimingName name{"http", "GET", path, status};
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
  Answer answer = target->path == kExplainPath  ? explained(std::move(*target))
                  : target->path == kBisectPath ? bisected(std::move(*target))
                                                : replayed(std::move(*target));
  Response response = co_await std::move(answer);
  co_return response;
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
  const Status fits = co_await check_length();
  if (!fits && (question.find == Find::first || fits.error().code != Errc::conflict))
    co_return refusal(fits.error());
  const AskedViews asked{env_, log_, views_};
  Task<BisectReport> answer = question.find == Find::first
                                  ? bisect_log(log_, question)
                                  : bisect_by_views(asked, question, fits ? Play::if_needed : Play::never);
  auto report = co_await std::move(answer);
  if (!report) co_return refusal(report.error());
  co_return json_response(bisect_json(*report, question));
}

InspectRoutes::Answer InspectRoutes::replayed(Target target) {
  auto question = replay_question(target, log_);
  if (!question) co_return refusal(question.error());
  if (Status fits = co_await check_length(); !fits) co_return refusal(fits.error());
  auto page = co_await replay_page(log_, *question);
  if (!page) co_return refusal(page.error());
  if (!page->known && !page->next) {
    co_return detail_response(404, "nothing there is of " + question->stream->value() +
                                       ", which would be in partition " +
                                       std::to_string(question->partition.value()));
  }
  co_return json_response(replay_page_json(*page, *question));
}

}  // namespace varve
