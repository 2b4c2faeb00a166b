#include "api/quarantine_routes.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "api/http_status.h"
#include "projections/quarantine.h"
#include "runtime/json.h"

namespace varve {
namespace {

std::string position_of(const ParkedStream& parked) {
  return to_string(LogPosition{parked.partition, parked.offset});
}

std::string event_named(const ParkedStream& parked) {
  std::string named =
      "event " + std::to_string(parked.event) + " of " + parked.stream.value() + " at " + position_of(parked);
  if (!parked.type.empty()) named += " (" + parked.type + ")";
  return named;
}

std::string behind_named(const ParkedStream& parked) {
  const std::size_t count = parked.behind.size();
  if (count == 0) return "Nothing waits behind it.";
  return std::to_string(count) +
         (count == 1 ? " record of the stream waits" : " records of the stream wait") + " behind it.";
}

void write_members(JsonWriter& out, const ParkedStream& parked) {
  out.field("stream", parked.stream.value()).field_integer("partition", parked.partition.value());
  out.field("position", position_of(parked)).field_integer("event", parked.event);
  out.field("type", parked.type).field("reason", parked.reason);
  out.field("since", format_rfc3339_micros(parked.at));
  out.field_integer("waiting", static_cast<std::int64_t>(parked.behind.size()));
}

std::string parked_json(const ParkedStream& parked, const std::string& event) {
  JsonWriter out;
  out.begin_object();
  write_members(out, parked);
  out.field_raw("poison", event);
  out.key("behind").begin_array();
  const std::size_t shown = std::min(parked.behind.size(), QuarantineRoutes::kBehindShown);
  for (std::size_t i = 0; i < shown; ++i) {
    const QuarantineRow& row = parked.behind[i];
    out.begin_object().field("position", to_string(LogPosition{row.partition, row.offset}));
    out.field("at", format_rfc3339_micros(row.at)).end_object();
  }
  out.end_array();
  out.field("retry", retry_consequence(parked)).field("skip", skip_consequence(parked));
  return out.end_object().take();
}

// Shortened to what people read; nothing of it is parsed again.
void write_data(JsonWriter& out, const std::string& data) {
  if (data.size() <= QuarantineRoutes::kEventBytesShown) {
    out.field_raw("data", data.empty() ? "null" : data);
    return;
  }
  out.field_null("data").field_integer("data_bytes", static_cast<std::int64_t>(data.size()));
}

std::string event_json(const StoredEvent& stored) {
  JsonWriter out;
  out.begin_object();
  if (const auto* unreadable = std::get_if<UnreadableEvent>(&stored)) {
    out.field("type", unreadable->type).field_integer("version", unreadable->version);
    out.field_boolean("readable", false).field("why", unreadable->why);
    write_data(out, unreadable->data);
    return out.end_object().take();
  }
  const Event& event = std::get<Event>(stored);
  JsonWriter whole;
  write_event(whole, event);
  const auto parsed = Json::parse(whole.text());
  const Json* data = parsed ? parsed->find("data") : nullptr;
  out.field("type", type_of(event)).field_integer("version", version_of(event));
  out.field_boolean("readable", true);
  write_data(out, data != nullptr ? data->dump() : std::string());
  return out.end_object().take();
}

// What a body of a skip names.
struct SkipBody {
  LogPosition position;
  std::int64_t event = 0;
};
std::optional<SkipBody> parse_skip(const std::string& body) {
  const auto json = Json::parse(body);
  if (!json || !json->is_object()) return std::nullopt;
  const Json* position = json->find("position");
  const Json* event = json->find("event");
  if (position == nullptr || !position->is_string() || event == nullptr) return std::nullopt;
  const auto positions = parse_positions(position->as_string());
  const auto number = event->as_integer();
  if (!positions || positions->size() != 1 || !number) return std::nullopt;
  return SkipBody{positions->front(), *number};
}

// The path behind kQuarantinePath: {"agent-..","skip"}.
std::vector<std::string> words_of(std::string_view path) {
  std::vector<std::string> words;
  std::string_view rest = path.substr(kQuarantinePath.size());
  while (!rest.empty()) {
    rest.remove_prefix(1);  // The slash.
    const std::size_t slash = std::min(rest.find('/'), rest.size());
    if (slash > 0) words.emplace_back(percent_decode(rest.substr(0, slash), false).value_or(""));
    rest.remove_prefix(slash);
  }
  return words;
}

Response wrong_method(const char* allowed) {
  Response wrong = detail_response(405, "Method Not Allowed");
  wrong.headers.emplace("allow", allowed);
  return wrong;
}

}  // namespace

std::vector<ParkedStream> parked_streams(std::vector<QuarantineRow> rows) {
  std::stable_sort(rows.begin(), rows.end(), [](const QuarantineRow& a, const QuarantineRow& b) {
    return std::tie(a.partition, a.offset, a.stream) < std::tie(b.partition, b.offset, b.stream);
  });
  std::vector<ParkedStream> found;
  std::map<StreamId, std::size_t> places;
  for (QuarantineRow& row : rows) {
    const auto [place, first] = places.emplace(row.stream, found.size());
    if (!first) {
      found[place->second].behind.push_back(std::move(row));
      continue;
    }
    ParkedStream& parked = found.emplace_back();
    parked.partition = row.partition;
    parked.offset = row.offset;
    parked.event = std::max<std::int64_t>(row.event, 0);
    parked.at = row.at;
    parked.stream = std::move(row.stream);
    parked.type = std::move(row.type);
    parked.reason = std::move(row.reason);
  }
  return found;
}

std::string retry_consequence(const ParkedStream& parked) {
  return "A retry folds " + event_named(parked) +
         " with this program, and then what waits, each where it would have been. " + behind_named(parked) +
         " Nothing is written to the log. If the event still cannot be folded, everything stays as it is.";
}

std::string skip_consequence(const ParkedStream& parked) {
  return "A skip writes a ruling into the log: " + event_named(parked) +
         " is absent from now on, for its actor, for the views, for every rebuild, verify and replay. " +
         behind_named(parked) +
         " What waits becomes valid at the ruling's position. It cannot be taken back: a newer program that "
         "can read the event will leave it out, too.";
}

bool QuarantineRoutes::serves(std::string_view target) {
  if (!target.starts_with(kQuarantinePath)) return false;
  const std::string_view rest = target.substr(kQuarantinePath.size());
  return rest.empty() || rest.front() == '/' || rest.front() == '?';
}

boost::asio::awaitable<Response> QuarantineRoutes::handle(Request request) {
  env_.count("http_requests");
  const MonoTime begun = env_.now();
  const bool get = request.method == "GET";
  Response response = co_await route(std::move(request));
  const char* status = response.status < 300 ? "2xx" : response.status < 500 ? "4xx" : "5xx";
  const TimingName name{"http", get ? "GET" : "POST", kQuarantinePath, status};
  env_.observe(name, env_.now() - begun);
  co_return response;
}

QuarantineRoutes::Answer QuarantineRoutes::route(Request request) {
  const auto target = parse_target(request.target);
  if (!target || !target->path.starts_with(kQuarantinePath)) {
    Response malformed = detail_response(400, "the request target is not a well-formed path");
    co_return malformed;
  }
  const std::vector<std::string> words = words_of(target->path);
  const bool get = request.method == "GET";
  const bool post = request.method == "POST";
  if (words.size() <= 1) {
    if (!get) co_return wrong_method("GET");
    Response read = words.empty() ? co_await list() : co_await show(StreamId{words[0]});
    co_return read;
  }
  const bool retries = words[1] == "retry";
  if (words.size() > 2 || (!retries && words[1] != "skip")) co_return detail_response(404, "Not Found");
  if (!post) co_return wrong_method("POST");
  const StreamId stream{words[0]};
  Response done = retries ? co_await retry_stream(stream) : co_await skip(stream, std::move(request.body));
  co_return done;
}

Task<std::vector<ParkedStream>> QuarantineRoutes::look() {
  const auto rows = std::make_shared<std::vector<QuarantineRow>>();
  std::function<Status(ViewReader&)> work = [rows](ViewReader& reader) -> Status {
    auto quarantine = reader.quarantine();
    if (!quarantine) return quarantine.error();
    *rows = std::move(*quarantine);
    return ok();
  };
  if (Status read = co_await ports_.views.read(std::move(work)); !read) co_return read.error();
  co_return parked_streams(std::move(*rows));
}

Task<ParkedStream> QuarantineRoutes::find(StreamId stream) {
  auto all = co_await look();
  if (!all) co_return all.error();
  const auto found = std::find_if(all->begin(), all->end(),
                                  [&stream](const ParkedStream& one) { return one.stream == stream; });
  if (found == all->end()) {
    co_return Error{Errc::not_found, "'" + stream.value() + "' is not in quarantine"};
  }
  co_return std::move(*found);
}

Task<std::string> QuarantineRoutes::event_of(ParkedStream parked) {
  std::vector<Offset> offsets{parked.offset};
  auto records = co_await records_at(ports_.log, parked.partition, std::move(offsets));
  if (!records) co_return records.error();
  const auto read = decoded(records->front());
  if (!read) co_return read.error();
  const auto* commit = std::get_if<Commit>(&**read);
  for (const Part& part : commit != nullptr ? commit->parts : std::vector<Part>{}) {
    const auto number = static_cast<std::size_t>(parked.event);
    if (part.stream == parked.stream && number < part.events.size())
      co_return event_json(part.events[number]);
  }
  co_return Error{Errc::corrupt, "the log does not hold " + event_named(parked)};
}

QuarantineRoutes::Answer QuarantineRoutes::list() {
  const auto all = co_await look();
  if (!all) co_return error_response(all.error(), false);
  JsonWriter out;
  out.begin_object().key("streams").begin_array();
  for (const ParkedStream& parked : *all) {
    out.begin_object();
    write_members(out, parked);
    out.end_object();
  }
  out.end_array().end_object();
  co_return json_response(out.take());
}

QuarantineRoutes::Answer QuarantineRoutes::show(StreamId stream) {
  const auto parked = co_await find(std::move(stream));
  if (!parked) co_return error_response(parked.error(), false);
  const auto event = co_await event_of(*parked);
  if (!event) co_return error_response(event.error(), false);
  co_return json_response(parked_json(*parked, *event));
}

QuarantineRoutes::Answer QuarantineRoutes::retry_stream(StreamId stream) {
  const auto before = co_await find(stream);
  if (!before) co_return error_response(before.error(), false);
  const auto outcome = co_await retry(env_, ports_.log, ports_.views, stream);
  if (!outcome) co_return error_response(outcome.error(), false);
  if (*outcome == RetryOutcome::parked_again) {
    const auto parked = co_await find(stream);
    // A ruling may have come in between.
    if (parked) {
      co_return detail_response(
          409, event_named(*parked) + " still cannot be folded by this program: " + parked->reason);
    }
  }
  JsonWriter out;
  out.begin_object().field("stream", stream.value()).field("outcome", "released");
  out.field_integer("records", static_cast<std::int64_t>(before->behind.size()) + 1).end_object();
  co_return json_response(out.take());
}

QuarantineRoutes::Answer QuarantineRoutes::skip(StreamId stream, std::string body) {
  const auto named = parse_skip(body);
  if (!named) {
    co_return unprocessable(
        R"(body: expected {"position":"PARTITION:OFFSET","event":NUMBER}, as it is listed)");
  }
  const auto parked = co_await find(stream);
  if (!parked) co_return error_response(parked.error(), false);
  const bool same = LogPosition{parked->partition, parked->offset} == named->position;
  if (!same || parked->event != named->event) {
    co_return detail_response(409, "'" + stream.value() + "' does not wait at event " +
                                       std::to_string(named->event) + " of " + to_string(named->position) +
                                       ", but at " + event_named(*parked));
  }
  CommandEnvelope envelope{{}, stream, SkipEvent{parked->offset, parked->event}};
  envelope.command_ref.id = command_id_from_text("skip " + uuid4(env_.rng()));
  const CallLimits limits{env_.now() + kTime};
  auto answer = co_await ports_.sender.send(std::move(envelope), limits);
  if (!answer) co_return error_response(answer.error(), true);
  Response response = co_await skipped(stream, std::move(*answer));
  co_return response;
}

// Waits until the views have met the ruling, and tells what the stream is then.
QuarantineRoutes::Answer QuarantineRoutes::skipped(StreamId stream, CommandAnswer answer) {
  const std::string positions = to_string(answer.positions);
  const bool met = co_await ports_.progress.wait_for(std::move(answer.positions), env_.now() + kViewWaitMax);
  JsonWriter out;
  out.begin_object().field("stream", stream.value()).field("outcome", "skipped").field("ruling", positions);
  const auto parked = met ? co_await find(stream) : Result<ParkedStream>{};
  if (parked) {
    out.key("parked").begin_object();
    write_members(out, *parked);
    out.end_object();
  } else {
    out.field_null("parked");
  }
  Response response = json_response(out.end_object().take());
  response.headers.emplace("varve-position", positions);
  if (parked) response.headers.emplace("varve-view", "parked");
  if (!met) response.headers.emplace("varve-view", "behind");
  co_return response;
}

}  // namespace varve
