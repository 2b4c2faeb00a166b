#include "sim/trace_lines.h"

#include <algorithm>
#include <map>

namespace varve::sim {
namespace {

constexpr std::array<const char*, kTraceKinds> kKindNames{"boot",  "crash",  "pause", "fault",   "claim",
                                                          "serve", "commit", "read",  "request", "answer",
                                                          "group", "log",    "model", "other"};

using Words = std::vector<std::string_view>;

Words words_of(std::string_view line) {
  Words words;
  while (!line.empty()) {
    const std::size_t end = std::min(line.find(' '), line.size());
    if (end > 0) words.push_back(line.substr(0, end));
    line.remove_prefix(std::min(line.size(), end + 1));
  }
  return words;
}

std::string_view word(const Words& words, std::size_t at) {
  return at < words.size() ? words[at] : std::string_view{};
}

// Where a lane stands on the page.
int rank_of(const std::string& lane) {
  if (lane.starts_with("client")) return 0;
  if (lane.starts_with("node")) return 1;
  if (lane == "owning" || lane == "folding") return 2;
  if (lane == "log") return 3;
  return lane == "world" ? 5 : 4;
}

// What one line says.
struct Said {
  std::string lane = "world";
  TraceKind kind = TraceKind::other;
};

TraceKind kind_of_owner(std::string_view verb) {
  if (verb == "claim-sent") return TraceKind::claim;
  if (verb == "serve" || verb == "stop" || verb == "end" || verb == "reading") return TraceKind::serve;
  if (verb == "read") return TraceKind::read;
  return TraceKind::commit;
}

TraceKind kind_of_flight(std::string_view what) {
  if (what == "asks" || what == "delivered") return TraceKind::request;
  return what == "lost" || what == "reset" || what == "refused" || what == "unreachable" ? TraceKind::fault
                                                                                         : TraceKind::answer;
}

// "client-1>node-4"
std::pair<std::string, std::string> ends_of(std::string_view link) {
  const std::size_t arrow = std::min(link.find('>'), link.size());
  return {std::string(link.substr(0, arrow)),
          arrow < link.size() ? std::string(link.substr(arrow + 1)) : std::string{}};
}

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// Of a world's line: "net 9 client-1>node-4 asks ..", "log p=0 landed o=5", "owning g=2 granted ..".
Said said_by_world(const Words& words) {
  const std::string_view part = word(words, 1);
  if (part == "violation") return {"world", TraceKind::fault};
  if (part == "owning" || part == "folding") return {std::string(part), TraceKind::group};
  if (part == "log") {
    const std::string_view what = word(words, 3);
    const bool fault = what == "leader-change" || what == "truncated" || what == "gave-up";
    return {"log", fault ? TraceKind::fault : TraceKind::log};
  }
  if (part == "views" || part == "snapshots") return {std::string(part), TraceKind::fault};
  if (part != "net") return {};
  if (is_number(word(words, 2))) {
    const auto [from, to] = ends_of(word(words, 3));
    const std::string_view what = word(words, 4);
    return {what == "delivered" ? to : from, kind_of_flight(what)};
  }
  const auto [from, to] = ends_of(word(words, 3));
  return {to.starts_with("node") ? to : "world", TraceKind::fault};
}

Said said_by(const Words& words) {
  const std::string_view first = word(words, 0);
  const std::string second(word(words, 1));
  if (first == "boot") return {second.empty() ? "node" : second, TraceKind::boot};
  if (first == "crash") return {second.empty() ? "node" : second, TraceKind::crash};
  if (first == "pause" || first == "resume") return {second, TraceKind::pause};
  if (first == "cut-off" || first == "reconnect" || first == "clock") return {second, TraceKind::fault};
  if (first == "twin") return {second, TraceKind::fault};  // A second process of the same node.
  if (first == "end" && second == "the") return {std::string(word(words, 4)), TraceKind::fault};
  if (first.starts_with("fault.") || first == "disk:") return {"disk", TraceKind::fault};
  if (!first.ends_with(':')) return {};
  const std::string place(first.substr(0, first.size() - 1));
  if (place == "world") return said_by_world(words);
  if (second == "owner") return {place, kind_of_owner(word(words, 3))};
  if (second == "model") return {place, TraceKind::model};
  if (second == "boot") return {place, TraceKind::boot};
  if (second == "crash" || second == "stop") return {place, TraceKind::crash};
  return {place, TraceKind::other};
}

class Reader {
 public:
  explicit Reader(const std::vector<TraceLine>& lines) : lines_(lines) {
    for (const TraceLine& line : lines) {
      words_.push_back(words_of(line.text));
      said_.push_back(said_by(words_.back()));
      lanes_.emplace(std::pair{rank_of(said_.back().lane), said_.back().lane}, 0);
    }
    for (auto& [lane, number] : lanes_) {
      number = model_.lanes.size();
      model_.lanes.push_back(lane.second);
    }
  }

  TraceModel read() {
    for (std::size_t i = 0; i < lines_.size(); ++i) {
      model_.lane_of.push_back(lane(said_[i].lane));
      model_.kind_of.push_back(said_[i].kind);
      read_line(i);
    }
    if (!lines_.empty()) {
      while (!open_.empty()) end_band(open_.begin()->first, lines_.back().at);
    }
    return std::move(model_);
  }

 private:
  // A band is open by its lane and what it is, with the partition of one that owns.
  using Key = std::pair<std::string, std::string>;
  struct Flight {
    std::size_t line = 0;
    bool delivered = false;
  };

  std::size_t lane(const std::string& name) const {
    const auto found = lanes_.find({rank_of(name), name});
    return found == lanes_.end() ? 0 : found->second;
  }
  bool has_lane(const std::string& name) const { return lanes_.contains({rank_of(name), name}); }

  void begin_band(const Key& key, TraceBand::Kind kind, MonoTime at, std::string label) {
    end_band(key, at);
    open_[key] = TraceBand{kind, lane(key.first), at, at, std::move(label)};
  }

  void end_band(const Key& key, MonoTime at) {
    auto open = open_.extract(key);
    if (open.empty()) return;
    open.mapped().to = at;
    model_.bands.push_back(std::move(open.mapped()));
  }

  // Everything that a dead node had.
  void end_bands_of(const std::string& node, MonoTime at) {
    for (auto one = open_.lower_bound({node, ""}); one != open_.end() && one->first.first == node;) {
      const Key key = one->first;
      ++one;
      if (key.second == "paused" || key.second.starts_with("p=")) end_band(key, at);
    }
  }

  void end_bands_named(std::string_view what, MonoTime at) {
    std::vector<Key> keys;
    for (const auto& [key, band] : open_) {
      if (key.second == what) keys.push_back(key);
    }
    for (const Key& key : keys) end_band(key, at);
  }

  void read_line(std::size_t i) {
    const Words& words = words_[i];
    const Said& said = said_[i];
    const MonoTime at = lines_[i].at;
    const std::string_view first = word(words, 0);
    if (said.kind == TraceKind::boot) end_band({said.lane, "down"}, at);
    if (said.kind == TraceKind::crash) {
      end_bands_of(said.lane, at);
      begin_band({said.lane, "down"}, TraceBand::Kind::down, at, "down");
    }
    if (first == "pause") begin_band({said.lane, "paused"}, TraceBand::Kind::paused, at, "paused");
    if (first == "resume") end_band({said.lane, "paused"}, at);
    if (first == "cut-off") begin_band({said.lane, "cut off"}, TraceBand::Kind::cut_off, at, "cut off");
    if (first == "reconnect") end_band({said.lane, "cut off"}, at);
    if (word(words, 1) == "owner") read_owner(i);
    if (word(words, 1) == "net") read_net(i);
  }

  void read_owner(std::size_t i) {
    const Words& words = words_[i];
    const std::string_view verb = word(words, 3);
    const Key key{said_[i].lane, std::string(word(words, 2))};
    if (verb == "serve") {
      begin_band(key, TraceBand::Kind::owns, lines_[i].at,
                 std::string(word(words, 2)) + " " + std::string(word(words, 4)));
    }
    if (verb == "stop" || verb == "end") end_band(key, lines_[i].at);
  }

  void read_net(std::size_t i) {
    const Words& words = words_[i];
    const std::string_view what = word(words, 2);
    if (what == "healed") return end_bands_named("one way", lines_[i].at);
    if (what == "cut" || what == "mend") {
      const Key key{said_[i].lane, "one way"};
      if (what == "cut") begin_band(key, TraceBand::Kind::one_way, lines_[i].at, "hears nobody");
      if (what == "mend") end_band(key, lines_[i].at);
      return;
    }
    if (is_number(what)) read_flight(i, std::string(what));
  }

  void read_flight(std::size_t i, const std::string& id) {
    const auto [from, to] = ends_of(word(words_[i], 3));
    const std::string_view what = word(words_[i], 4);
    if (what == "asks") {
      flights_[id] = Flight{i, false};
      return;
    }
    const auto flight = flights_.find(id);
    if (flight == flights_.end() || !has_lane(from) || !has_lane(to)) return;
    TraceMessage message{flight->second.line, i, lane(from), lane(to), false, false};
    const bool arrived = what == "delivered";
    if (!arrived && flight->second.delivered) {
      std::swap(message.from, message.to);
      message.answer = true;
    }
    message.lost = said_[i].kind == TraceKind::fault;
    if (arrived) flight->second.delivered = true;
    model_.messages.push_back(message);
  }

  const std::vector<TraceLine>& lines_;
  std::vector<Words> words_;
  std::vector<Said> said_;
  std::map<std::pair<int, std::string>, std::size_t> lanes_;
  std::map<Key, TraceBand> open_;
  std::map<std::string, Flight> flights_;
  TraceModel model_;
};

}  // namespace

const char* to_string(TraceKind kind) {
  return kKindNames[static_cast<std::size_t>(kind)];
}

const char* to_string(TraceBand::Kind kind) {
  switch (kind) {
    case TraceBand::Kind::down:
      return "down";
    case TraceBand::Kind::paused:
      return "paused";
    case TraceBand::Kind::cut_off:
      return "cut-off";
    case TraceBand::Kind::one_way:
      return "one-way";
    case TraceBand::Kind::owns:
      return "owns";
  }
  return "";
}

TraceModel model_of(const std::vector<TraceLine>& lines) {
  return Reader(lines).read();
}

}  // namespace varve::sim
