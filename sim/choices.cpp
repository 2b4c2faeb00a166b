#include "sim/choices.h"

#include <algorithm>
#include <bit>
#include <charconv>

namespace varve::sim {
namespace {

constexpr std::array<const char*, kDomains> kNames{"config",  "schedule", "time",    "travel",
                                                   "network", "log",      "group",   "disk",
                                                   "store",   "model",    "nemesis", "workload"};

// "17:1" -> 17, 1
bool parse_pair(std::string_view word, std::uint64_t& index, std::uint64_t& value) {
  const char* end = word.data() + word.size();
  const auto first = std::from_chars(word.data(), end, index);
  if (first.ec != std::errc{} || first.ptr == end || *first.ptr != ':') return false;
  const auto second = std::from_chars(first.ptr + 1, end, value);
  return second.ec == std::errc{} && second.ptr == end;
}

// Takes the text up to `separator` off the front.
std::string_view take_word(std::string_view& text, char separator) {
  const std::size_t end = std::min(text.find(separator), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(std::min(text.size(), end + 1));
  return word;
}

constexpr std::uint64_t kTapeIndexMax = 50'000'000;

// "nemesis.3"; nothing: there is no such track.
std::optional<Track> track_of(std::string_view word) {
  std::string_view rest = word;
  const std::string_view name = take_word(rest, '.');
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return std::nullopt;
  const auto domain = static_cast<Domain>(found - kNames.begin());
  if (name.size() == word.size()) return Track{domain};
  std::size_t number = 0;
  const auto read = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  const bool whole = read.ec == std::errc{} && read.ptr == rest.data() + rest.size();
  if (!whole || number == 0 || number >= kTracksOfDomain) return std::nullopt;
  return Track{domain, number};
}

}  // namespace

const char* to_string(Domain domain) {
  return kNames[static_cast<std::size_t>(domain)];
}

std::string to_string(Track track) {
  std::string name = to_string(track.domain);
  if (track.number > 0) name += "." + std::to_string(track.number);
  return name;
}

std::size_t number_in(std::string_view name) {
  const std::size_t digits = name.find_last_not_of("0123456789") + 1;
  std::size_t number = 0;
  std::from_chars(name.data() + digits, name.data() + name.size(), number);
  return number;
}

std::uint64_t Tape::at(Track track, std::size_t index) const {
  return index < of(track).size() ? of(track)[index] : 0;
}

void Tape::add(Track track, std::uint64_t value) {
  of(track).push_back(value);
}

void Tape::set(Track track, std::size_t index, std::uint64_t value) {
  if (index >= of(track).size()) of(track).resize(index + 1);
  of(track)[index] = value;
}

void Tape::cut(Track track, std::size_t length) {
  if (length < of(track).size()) of(track).resize(length);
}

void Tape::take_out(Track track, std::size_t index, std::size_t count) {
  std::vector<std::uint64_t>& values = of(track);
  if (index >= values.size()) return;
  const auto first = values.begin() + static_cast<std::ptrdiff_t>(index);
  const auto length = std::min(count, values.size() - index);
  values.erase(first, first + static_cast<std::ptrdiff_t>(length));
}

std::string Tape::encode() const {
  std::string text;
  for (std::size_t i = 0; i < kTracks; ++i) {
    std::string line;
    for (std::size_t at = 0; at < values_[i].size(); ++at) {
      if (values_[i][at] != 0) line += " " + std::to_string(at) + ":" + std::to_string(values_[i][at]);
    }
    if (!line.empty()) text += to_string(Track::at(i)) + line + "\n";
  }
  return text;
}

Result<Tape> Tape::decode(std::string_view text) {
  Tape tape;
  while (!text.empty()) {
    std::string_view line = take_word(text, '\n');
    if (line.empty()) continue;
    const std::string_view name = take_word(line, ' ');
    const auto track = track_of(name);
    if (!track) return Error{Errc::invalid_argument, "a tape has no track '" + std::string(name) + "'"};
    while (!line.empty()) {
      const std::string_view word = take_word(line, ' ');
      std::uint64_t index = 0;
      std::uint64_t value = 0;
      if (!parse_pair(word, index, value) || index > kTapeIndexMax) {
        return Error{Errc::invalid_argument,
                     "a tape's entry is INDEX:VALUE, not '" + std::string(word) + "'"};
      }
      tape.set(*track, index, value);
    }
  }
  return tape;
}

Choices::Choices(std::uint64_t seed) : seed_(seed) {}

Choices::Choices(Tape replayed) : replayed_(std::move(replayed)) {}

Choices choices_of(std::uint64_t seed, const std::optional<Tape>& tape, bool record) {
  Choices choices = tape ? Choices(*tape) : Choices(seed);
  if (record) choices.record();
  return choices;
}

// The same for a track whatever else draws, and whenever it begins to.
Rng& Choices::stream(Track track) {
  std::optional<Rng>& rng = streams_[track.index()];
  if (!rng) rng = Rng(seed_).fork(to_string(track));
  return *rng;
}

std::uint64_t Choices::take(Track track, std::uint64_t drawn, std::uint64_t bound) {
  std::size_t& next = next_[track.index()];
  std::uint64_t value = drawn;
  if (replayed_) {
    value = replayed_->at(track, next);
    if (value >= bound) value = 0;
  }
  ++next;
  if (recording_) tape_.add(track, value);
  return value;
}

std::uint64_t Choices::choose(Track track, std::uint64_t bound) {
  if (bound <= 1) return 0;
  return take(track, replayed_ ? 0 : stream(track).below(bound), bound);
}

bool Choices::chance(Track track, std::uint64_t numerator, std::uint64_t denominator) {
  if (numerator == 0) return false;
  const bool drawn = !replayed_ && stream(track).chance(numerator, denominator);
  return take(track, drawn ? 1 : 0, 2) == 1;
}

std::uint64_t Choices::maybe(Track track, std::uint64_t numerator, std::uint64_t denominator,
                             std::uint64_t bound) {
  if (numerator == 0 || bound == 0) return 0;
  const bool drawn = !replayed_ && stream(track).chance(numerator, denominator);
  return take(track, drawn ? 1 + stream(track).below(bound) : 0, bound + 1);
}

std::uint64_t Choices::spread(Track track, std::uint64_t longest) {
  if (longest == 0) return 0;
  std::uint64_t drawn = 0;
  if (!replayed_) {
    Rng& rng = stream(track);
    const auto bits = static_cast<std::uint64_t>(std::bit_width(longest));
    const std::uint64_t width = rng.below(bits + 1);
    drawn = width == 0 ? 0 : rng.below((std::uint64_t{1} << (width - 1)) * 2);
    drawn = std::min(drawn, longest);
  }
  return take(track, drawn, longest + 1);
}

}  // namespace varve::sim
