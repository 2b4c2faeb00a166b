#include "sim/archivist.h"

#include <algorithm>

#include "runtime/suspend.h"
#include "sim/client_answers.h"
#include "sim/shown.h"

namespace varve::sim {
namespace {

constexpr Track kTrack{Domain::workload, kTracksOfDomain - 1};  // Clients count from the other end.
constexpr const char* kName = "archivist-31";  // Its messages have a track of their own, too.
constexpr std::uint64_t kPauseUs = 5'000'000;
constexpr int kWaitsMax = 60;  // Until there is a past.
constexpr std::chrono::seconds kPatience{15};

}  // namespace

Archivist::Archivist(Site site, History& history, ClientId id)
    : site_(std::move(site)),
      history_(history),
      id_(id),
      env_(site_.scheduler, kName, site_.seed ^ 0xa4c41ULL),
      http_(env_, site_.network, kName) {}

Archivist::~Archivist() {
  env_.kill();
}

std::uint64_t Archivist::choose(std::uint64_t bound) {
  return site_.scheduler.choices().choose(kTrack, bound);
}

void Archivist::start() {
  env_.spawn("archivist", work(this));
}

Task<> Archivist::work(Archivist* self) {
  const std::uint64_t operations = 2 + self->choose(5);
  for (std::uint64_t i = 0; i < operations; ++i) {
    co_await sleep_for(self->env_, std::chrono::microseconds{self->choose(kPauseUs)});
    for (int wait = 0; wait < kWaitsMax && self->site_.written().empty(); ++wait) {
      co_await sleep_for(self->env_, std::chrono::seconds{1});
    }
    const bool forks = self->choose(3) != 2;
    auto asking = forks ? self->fork() : self->bisect();
    ignore_error(co_await std::move(asking), "what matters is written down");
  }
  self->done_ = true;
  co_return ok();
}

Task<Exchange> Archivist::insist(Request request) {
  std::vector<std::string> urls = site_.urls;
  const auto first = static_cast<std::ptrdiff_t>(choose(urls.size()));
  std::rotate(urls.begin(), urls.begin() + first, urls.end());
  RetryPolicy policy;
  policy.attempts = 8;
  policy.patience = kPatience;
  policy.keyed = false;
  return http_.insist(std::move(urls), std::move(request), policy);
}

Task<Exchange> Archivist::get(std::string target) {
  Request request;
  request.method = "GET";
  request.target = std::move(target);
  if (!seen_.empty()) request.headers.emplace("varve-wait-for", to_string(seen_));
  return insist(std::move(request));
}

// ---- forks

// The answer of the second of two, or of the first if that is none: one key makes one agent.
Task<Exchange> Archivist::ask_twice(Request request, OpId id) {
  auto once = co_await insist(request);
  if (!once) co_return once.error();
  Outcome outcome;
  const bool whole = once->end == Exchange::End::whole;
  if (whole && once->status == 200) outcome.answer = Answer::ok;
  outcome.settled = whole && !once->header("varve-view");
  history_.end(id, std::move(outcome));
  if (!whole || once->status != 200) co_return std::move(*once);
  auto again = co_await insist(std::move(request));
  if (!again) co_return again.error();
  if (again->end != Exchange::End::whole || again->status != 200) co_return std::move(*once);
  const auto first = Json::parse(once->body);
  const auto second = Json::parse(again->body);
  if (!first || !second || member_text(*first, "id") != member_text(*second, "id")) {
    found_.add("I2", "a fork was asked for twice with one key: " + once->body + " and " + again->body);
  }
  co_return std::move(*again);
}

Task<> Archivist::fork() {
  const std::vector<std::string> agents = site_.agents();
  const std::vector<LogPosition> written = site_.written();
  if (agents.empty() || written.empty()) co_return ok();
  // Rather an old agent at a new moment: then it was there.
  std::string origin = agents[choose(agents.size() / 2 + 1)];
  const std::string as_of = to_string(written[written.size() - 1 - choose(written.size() / 2 + 1)]);
  const std::string key = "archive-" + std::to_string(++asked_);
  const std::string name = "fork-" + std::to_string(asked_);
  Request request;
  request.method = "POST";
  request.target = "/v1/varve/agents/" + origin + "/fork";
  request.body = R"({"as_of":")" + as_of + R"(","name":")" + name + R"("})";
  request.headers.emplace("content-type", "application/json");
  request.headers.emplace("idempotency-key", key);
  const CommandId command = command_id_from_text("key POST " + request.target + "\n" + key);
  const std::string fork = "agent-" + derived_uuid(command, "agent", 0);
  names_.push_back(name);
  const OpId id = history_.begin(id_, op::CreateAgent{fork, name, {}, {}, {}});
  auto came = co_await ask_twice(std::move(request), id);
  if (!came) co_return came.error();
  if (came->end != Exchange::End::whole || came->status != 200) co_return ok();
  site_.counters.add("sometimes.fork.made");
  if (const auto header = came->header("varve-position")) {
    if (const auto positions = parse_positions(*header)) {
      site_.acknowledged(*positions);
      for (const LogPosition& position : *positions) merge_position(seen_, position);
    }
  }
  const auto body = Json::parse(came->body);
  const Json* from = body ? body->find("forked_from") : nullptr;
  if (from == nullptr || member_text(*body, "id") != fork) {
    found_.add("I2", "a fork that must be " + fork + " is " + came->body);
    co_return ok();
  }
  const std::string cut = member_text(*from, "as_of");
  co_return co_await compare(std::move(origin), fork, cut);
}

Task<std::optional<std::string>> Archivist::shown(std::string agent, std::string cut) {
  const std::string past = cut.empty() ? "" : "&as_of=" + percent_encoded(cut);
  auto found = co_await get("/v1/agents/" + agent + "?include=agent.blocks" + past);
  if (!found) co_return found.error();
  auto listed = co_await get("/v1/agents/" + agent + "/messages?limit=1000&order=asc" + past);
  if (!listed) co_return listed.error();
  const bool read = found->end == Exchange::End::whole && found->status == 200 &&
                    listed->end == Exchange::End::whole && listed->status == 200;
  if (!read) co_return std::optional<std::string>{};
  const auto body = Json::parse(found->body);
  const auto messages = Json::parse(listed->body);
  if (!body || !messages) co_return std::optional<std::string>{};
  co_return std::optional<std::string>{shown_agent(*body) + shown_messages(*messages)};
}

Task<> Archivist::compare(std::string origin, std::string fork, std::string cut) {
  auto then = co_await shown(origin, cut);
  if (!then) co_return then.error();
  auto now = co_await shown(fork, "");
  if (!now) co_return now.error();
  if (!*then || !*now || site_.views_go_back) co_return ok();
  site_.counters.add("sometimes.fork.compared");
  if (**then != **now) {
    found_.add("I4", fork + " is a fork of " + origin + " as of " + cut + " and shows\n" + **now +
                         "instead of\n" + **then);
  }
  co_return ok();
}

// ---- bisect

Task<Json> Archivist::find(std::string query) {
  auto came = co_await get("/v1/varve/bisect?" + query);
  if (!came) co_return came.error();
  if (came->end != Exchange::End::whole || came->status != 200)
    co_return Error{Errc::unavailable, "bisect is not answered: " + came->body};
  auto body = Json::parse(came->body);
  if (!body) co_return body.error();
  co_return std::move(*body);
}

Task<> Archivist::bisect() {
  const std::vector<LogPosition> written = site_.written();
  if (written.empty()) co_return ok();
  // One cut for all questions.
  const std::string as_of = to_string(written[written.size() - 1 - choose(written.size() / 2 + 1)]);
  auto listed = co_await get("/v1/agents/?limit=1&as_of=" + percent_encoded(as_of));
  if (!listed) co_return listed.error();
  const auto cut = listed->header("varve-as-of");
  if (listed->status != 200 || !cut) co_return ok();
  const std::vector<std::string> conditions = {
      "agents.count > " + std::to_string(choose(3)), "messages.count >= " + std::to_string(1 + choose(12)),
      "block.value contains \"value-" + std::to_string(1 + choose(30)) + "\"",
      "not block.value contains \"e-1\""};
  const std::string where = "where=" + percent_encoded(conditions[choose(conditions.size())]);
  auto halved = co_await find(where + "&bad=" + percent_encoded(*cut));
  if (!halved) co_return halved.error();
  const Json* was_found = halved->find("found");
  if (was_found == nullptr || !was_found->as_boolean()) co_return ok();
  site_.counters.add("sometimes.bisect.found");
  // Between the two neighbours there is one event: the scan must find it.
  auto scanned =
      co_await find(where + "&first=true&good=" + percent_encoded(member_text(*halved, "false_at")) +
                    "&bad=" + percent_encoded(member_text(*halved, "true_at")));
  if (!scanned) co_return scanned.error();
  site_.counters.add("sometimes.bisect.compared");
  if (member_text(*scanned, "position") != member_text(*halved, "position")) {
    found_.add("I4", where + " turns true at " + member_text(*halved, "position") +
                         " by halving; a scan says " + scanned->dump().substr(0, 300));
  }
  co_return ok();
}

// ---- at rest

void Archivist::check(const LogOracle& log, Violations& violations) const {
  for (const Violation& violation : found_.list()) violations.add(violation.invariant, violation.what);
  std::map<std::string, std::size_t> made;
  for (std::uint32_t i = 0; i < log.partitions(); ++i) {
    for (const JudgedRecord& record : log.judged(Partition{i})) {
      if (!record.admitted() || record.commit() == nullptr) continue;
      for (const Part& part : record.commit()->parts) {
        for (const StoredEvent& stored : part.events) {
          const auto* event = std::get_if<Event>(&stored);
          const auto* created = event != nullptr ? std::get_if<AgentCreated>(event) : nullptr;
          if (created != nullptr) ++made[created->settings.name];
        }
      }
    }
  }
  for (const std::string& name : names_) {
    const auto found = made.find(name);
    if (found == made.end() || found->second < 2) continue;
    violations.add("I2", "the fork '" + name + "' was made " + std::to_string(found->second) + " times");
  }
}

}  // namespace varve::sim
