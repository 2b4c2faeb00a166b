#include "sim/teleporter.h"

#include <algorithm>

#include "runtime/suspend.h"
#include "sim/client_answers.h"
#include "sim/shown.h"

namespace varve::sim {
namespace {

constexpr Track kTrack{Domain::workload, kTracksOfDomain - 2};  // The archivist has the last one.
constexpr const char* kName = "teleporter-23";  // Its messages have a track of their own, too.
constexpr std::uint64_t kPauseUs = 8'000'000;
constexpr std::uint64_t kDownUs = 3'000'000;
constexpr int kWaitsMax = 60;  // Until there is an agent.
constexpr int kTriesMax = 60;  // Longer than faults last.
constexpr int kLeavesMax = 8;  // Of an agent that is never quiet.
constexpr int kDeathsMax = 4;  // Of its program, for one import.
constexpr std::chrono::seconds kPatience{15};
constexpr std::chrono::milliseconds kPause{700};
constexpr std::size_t kPiecesBytes[] = {200, 1'000, 4'000};

}  // namespace

Teleporter::Teleporter(Site site, History& history, ClientId id)
    : site_(std::move(site)),
      history_(history),
      id_(id),
      env_(site_.scheduler, kName, site_.seed ^ 0x7e1e9ULL),
      http_(env_, site_.network, kName) {}

Teleporter::~Teleporter() {
  env_.kill();
}

std::uint64_t Teleporter::choose(std::uint64_t bound) {
  return site_.scheduler.choices().choose(kTrack, bound);
}

void Teleporter::start() {
  env_.spawn("teleporter", work(this));
}

Task<> Teleporter::work(Teleporter* self) {
  const std::uint64_t operations = 1 + self->choose(4);
  for (std::uint64_t i = 0; i < operations; ++i) {
    co_await sleep_for(self->env_, std::chrono::microseconds{self->choose(kPauseUs)});
    for (int wait = 0; wait < kWaitsMax && self->site_.agents().empty(); ++wait) {
      co_await sleep_for(self->env_, std::chrono::seconds{1});
    }
    const std::vector<std::string> agents = self->site_.agents();
    if (agents.empty()) break;
    const std::string& one = agents[self->choose(agents.size())];
    const std::string& other = agents[self->choose(agents.size())];
    const std::string key = "carried-" + std::to_string(++self->asked_);
    const std::string both = "agents=" + one + (one == other ? "" : "," + other);
    const std::uint64_t what = self->choose(6);
    auto working = what < 2    ? self->copy(Where::here, what == 0 ? "agents=" + one : both, key)
                   : what == 2 ? self->copy(Where::elsewhere, both, "")
                   : what == 3 ? self->copy(Where::elsewhere, "all=true", key)
                               : self->move(one);
    ignore_error(co_await std::move(working), "what matters is written down");
  }
  while (self->rivals_ > 0) co_await sleep_for(self->env_, kPause);
  self->done_ = true;
  co_return ok();
}

// ---- asking

Task<Exchange> Teleporter::insist(std::vector<std::string> urls, Request request) {
  const auto first = static_cast<std::ptrdiff_t>(choose(urls.size()));
  std::rotate(urls.begin(), urls.begin() + first, urls.end());
  RetryPolicy policy;
  policy.attempts = 4;
  policy.patience = kPatience;
  policy.longest_wait = std::chrono::seconds{2};
  policy.keyed = false;
  return http_.insist(std::move(urls), std::move(request), policy);
}

TeleportClient::Ask Teleporter::ask(Where where) {
  return [this, where](Request request) {
    std::vector<std::string> urls{OtherPlace::kUrl};
    return insist(where == Where::here ? site_.urls : std::move(urls), std::move(request));
  };
}

TeleportClient Teleporter::client_to(Where where) {
  TeleportClient::Options options;
  options.piece_bytes = kPiecesBytes[choose(std::size(kPiecesBytes))];
  options.dies = [this] { return fuse_ > 0 && --fuse_ == 0; };
  return {ask(Where::here), ask(where), std::move(options)};
}

Task<Exchange> Teleporter::get(Where where, std::string target) {
  Request request;
  request.method = "GET";
  request.target = std::move(target);
  const auto& seen = where == Where::here ? seen_here_ : seen_elsewhere_;
  if (!seen.empty()) request.headers.emplace("varve-wait-for", to_string(seen));
  return ask(where)(std::move(request));
}

// Whether the same may be tried again; what can never succeed, and should have, is written down.
bool Teleporter::may_pass(const Error& error, const char* what) {
  if (error.code == Errc::cancelled) met("sometimes.teleport.killed");
  if (error.code == Errc::unavailable) met("sometimes.teleport.cut_off");
  if (error.code == Errc::cancelled || error.code == Errc::unavailable) return true;
  if (error.code == Errc::not_found || error.code == Errc::conflict) return false;
  found_.add("I4", std::string(what) + ": " + to_string(error));
  return false;
}

// Before an import, or a part of it: who of those that take part will die.
void Teleporter::may_die() {
  fuse_ = 0;
  const bool killed = choose(3) == 2;
  const std::uint64_t pieces = 1 + choose(6);
  const bool dies = choose(3) == 2;
  const std::chrono::microseconds later{choose(kDownUs)};
  const std::chrono::microseconds down{1'000 + choose(kDownUs)};
  if (settling_) return;
  if (killed) fuse_ = pieces;
  if (!dies || !site_.deaths) return;
  env_.call_at(env_.now() + later, [this, down] {
    if (settling_ || !site_.elsewhere.up()) return;
    met("sometimes.teleport.other_place_died");
    site_.elsewhere.crash_for(down);
  });
}

// ---- copies

Task<ArchivePtr> Teleporter::fetch(std::string query) {
  for (int tries = 0; tries < kTriesMax; ++tries) {
    TeleportClient client = client_to(Where::here);
    auto archive = co_await client.fetch(query);
    if (archive) {
      met("sometimes.teleport.exported");
      co_return std::move(*archive);
    }
    if (!may_pass(archive.error(), "an export")) co_return ArchivePtr{};
    co_await sleep_for(env_, kPause);
  }
  found_.add("I9", "an export of " + query + " never came");
  co_return ArchivePtr{};
}

Task<TeleportPlan> Teleporter::import_once(ArchivePtr archive, std::string fork_key, Where where, bool left) {
  TeleportClient client = client_to(where);
  auto plan = co_await client.check(std::move(archive), fork_key, left);
  if (!plan) co_return plan.error();
  if (plan->goes_on()) met("sometimes.teleport.went_on");
  if (two_) {
    two_ = false;
    ++rivals_;
    env_.spawn("rival", rival(this, plan->archive, fork_key, where, left));
  }
  if (Status sent = co_await client.send(*plan); !sent) co_return sent.error();
  if (where == Where::here) begin_births(*plan);
  if (Status sealed = co_await client.seal(*plan); !sealed) co_return sealed.error();
  if (where == Where::here) end_births(!client.views_behind());
  auto& seen = where == Where::here ? seen_here_ : seen_elsewhere_;
  for (const LogPosition& position : client.written()) merge_position(seen, position);
  if (where == Where::here) {
    site_.acknowledged(client.written());
  } else {
    site_.elsewhere.acknowledged(client.written());
  }
  co_return plan;
}

Task<> Teleporter::rival(Teleporter* self, ArchivePtr archive, std::string fork_key, Where where, bool left) {
  TeleportClient client = self->client_to(where);
  auto plan = co_await client.check(std::move(archive), std::move(fork_key), left);
  Status done = plan ? ok() : Status{plan.error()};
  if (done) done = co_await client.send(*plan);
  if (done) self->met("sometimes.teleport.two_at_once");
  const bool refused =
      !done && done.error().code != Errc::unavailable && done.error().code != Errc::cancelled;
  if (refused)
    self->found_.add("I2", "of two imports of one archive one is refused: " + to_string(done.error()));
  --self->rivals_;
  co_return ok();
}

Task<std::optional<TeleportPlan>> Teleporter::import(ArchivePtr archive, std::string fork_key, Where where,
                                                     bool left) {
  bool checked = false;  // What was not refused at first is not refused later.
  for (int tries = 0; tries < kTriesMax; ++tries) {
    if (tries < kDeathsMax) may_die();
    two_ = choose(4) == 3;
    auto plan = co_await import_once(archive, fork_key, where, left);
    if (plan) {
      met("sometimes.teleport.imported");
      note(*plan, where);
      co_return std::optional<TeleportPlan>{std::move(*plan)};
    }
    const Errc code = plan.error().code;
    if (code == Errc::conflict && fork_key.empty() && !checked) {
      met("sometimes.teleport.refused");
      co_return std::optional<TeleportPlan>{};
    }
    if (!may_pass(plan.error(), "an import")) {
      found_.add("I4", "what the source has given is refused: " + to_string(plan.error()));
      co_return std::optional<TeleportPlan>{};
    }
    checked = checked || code == Errc::cancelled;
    co_await sleep_for(env_, kPause);
  }
  found_.add("I9", "an import never ended");
  co_return std::optional<TeleportPlan>{};
}

// The same command again, and all of its requests again without looking.
Task<> Teleporter::import_again(TeleportPlan plan, std::string fork_key, Where where, bool left) {
  for (int tries = 0; tries < kTriesMax; ++tries) {
    fuse_ = 0;
    TeleportClient client = client_to(where);
    auto again = co_await client.check(plan.archive, fork_key, left);
    Status done = again ? ok() : Status{again.error()};
    if (done && !again->nothing_to_do()) {
      found_.add("I2", "an import that is repeated finds something to do: " + plan.agents().front());
      co_return ok();
    }
    if (done) done = co_await client.send_blindly(*again);
    if (done) done = co_await client.seal(*again);
    if (done) {
      met("sometimes.teleport.imported_again");
      co_return ok();
    }
    if (!may_pass(done.error(), "a repeated import")) {
      found_.add("I2", "an import that is repeated is refused: " + to_string(done.error()));
      co_return ok();
    }
    co_await sleep_for(env_, kPause);
  }
  found_.add("I9", "a repeated import never ended");
  co_return ok();
}

Task<> Teleporter::copy(Where where, std::string query, std::string fork_key) {
  auto archive = co_await fetch(std::move(query));
  if (!archive || !*archive) co_return ok();
  auto plan = co_await import(*archive, fork_key, where, false);
  if (!plan || !*plan) co_return ok();
  if (Status same = co_await compare(**plan, where); !same) co_return same;
  if (where == Where::here) {
    for (std::string& agent : (*plan)->agents()) site_.adopt(std::move(agent));
  } else if (!(*plan)->agents().empty()) {
    const std::string agent = (*plan)->agents().front();
    if (Status talked = co_await talk(agent); !talked) co_return talked;
  }
  co_return co_await import_again(std::move(**plan), std::move(fork_key), where, false);
}

// ---- moves

Task<Exchange> Teleporter::leave(std::string agent, std::uint64_t events) {
  TeleportClient client = client_to(Where::elsewhere);
  const OpId id = history_.begin(id_, op::DeleteAgent{agent});
  auto came = co_await client.leave(agent, OtherPlace::kUrl, events);
  Outcome outcome;
  const bool whole = came && came->end == Exchange::End::whole;
  const bool done = whole && came->status == 200;
  // Of several that may have taken effect one has.
  if (done && !in_doubt_.contains(agent)) outcome.answer = Answer::ok;
  outcome.settled = whole && !came->header("varve-view");
  history_.end(id, std::move(outcome));
  if (done || !whole || came->status >= 500) in_doubt_.insert(agent);
  if (done) {
    if (const auto header = came->header("varve-position")) {
      if (const auto positions = parse_positions(*header)) {
        site_.acknowledged(*positions);
        for (const LogPosition& position : *positions) merge_position(seen_here_, position);
      }
    }
  }
  co_return came;
}

Task<bool> Teleporter::carry_and_leave(std::string agent) {
  for (int tries = 0, leaves = 0; tries < kTriesMax && leaves < kLeavesMax; ++tries) {
    if (tries > 0) co_await sleep_for(env_, kPause);
    auto archive = co_await fetch("agents=" + agent);
    if (!archive) co_return archive.error();
    if (!*archive) co_return false;
    if (tries < kDeathsMax) may_die();
    TeleportClient client = client_to(Where::elsewhere);
    auto plan = co_await client.check(*archive, "", in_doubt_.contains(agent));
    Status carried = plan ? ok() : Status{plan.error()};
    if (carried) carried = co_await client.send(*plan);
    if (!carried) {
      if (may_pass(carried.error(), "a move")) continue;
      met("teleport.move_refused");
      if (in_doubt_.contains(agent))
        found_.add("I1", agent + " may have moved, and " + to_string(carried.error()));
      co_return false;
    }
    const auto moving = std::find_if(plan->streams.begin(), plan->streams.end(),
                                     [&agent](const auto& one) { return one.stream.value() == agent; });
    auto came = co_await leave(agent, moving->events);
    if (!came) co_return came.error();
    const bool whole = came->end == Exchange::End::whole;
    if (whole && came->status == 200) co_return true;
    if (!whole || came->status >= 500 || came->status == 429) continue;
    if (came->status != 409) {
      if (came->status != 404 && came->status != 410) {
        found_.add("I1", "a move is answered " + std::to_string(came->status) + " " + came->body);
      }
      co_return false;
    }
    met("sometimes.teleport.move_came_too_early");
    ++leaves;
  }
  co_return false;
}

Task<> Teleporter::move(std::string agent) {
  if (left_.contains(StreamId{agent})) co_return ok();  // What it was is elsewhere, and has lived on.
  auto left = co_await carry_and_leave(agent);
  if (!left || !*left) co_return ok();
  met("sometimes.teleport.left");
  left_[StreamId{agent}] = OtherPlace::kUrl;
  // Nobody talks to it any more; what came to its blocks until then comes along.
  auto archive = co_await fetch("agents=" + agent);
  if (!archive || !*archive) {
    found_.add("I1", agent + " has left, and cannot be exported any more");
    co_return ok();
  }
  auto plan = co_await import(*archive, "", Where::elsewhere, true);
  if (!plan || !*plan) {
    found_.add("I1", agent + " has left, and did not arrive");
    co_return ok();
  }
  met("sometimes.teleport.moved");
  carried_.at({Where::elsewhere, StreamId{agent}}).moved = true;
  if (Status gone = co_await expect_gone(agent); !gone) co_return gone;
  if (Status talked = co_await talk(agent); !talked) co_return talked;
  co_return co_await import_again(std::move(**plan), "", Where::elsewhere, true);
}

Task<> Teleporter::expect_gone(std::string agent) {
  auto came = co_await get(Where::here, "/v1/agents/" + agent);
  if (!came) co_return came.error();
  const bool answered = came->end == Exchange::End::whole && came->status < 500 && came->status != 429;
  if (!answered || site_.views_go_back) co_return ok();
  const auto body = Json::parse(came->body);
  const bool named = body && member_text(*body, "moved_to") == OtherPlace::kUrl;
  if (came->status == 410 && named) {
    met("sometimes.teleport.answered_410");
  } else {
    found_.add("I1",
               agent + " has moved, and is answered " + std::to_string(came->status) + " " + came->body);
  }
  co_return ok();
}

// It lives on where it is now.
Task<> Teleporter::talk(std::string agent) {
  Request request;
  request.method = "POST";
  request.target = "/v1/agents/" + agent + "/messages";
  request.body = R"({"messages":[{"role":"user","content":"welcome )" + std::to_string(asked_) + R"("}]})";
  request.headers.emplace("content-type", "application/json");
  request.headers.emplace("idempotency-key", "welcome-" + std::to_string(asked_));
  talked_to_.insert(agent);
  auto came = co_await ask(Where::elsewhere)(std::move(request));
  if (!came) co_return came.error();
  if (came->end != Exchange::End::whole || came->status == 429 || came->status >= 500) co_return ok();
  if (came->status == 200) {
    met("sometimes.teleport.lives_on");
  } else {
    found_.add("I4", agent + " was carried elsewhere, and answers " + std::to_string(came->status) + " " +
                         came->body);
  }
  co_return ok();
}

}  // namespace varve::sim
