#include "sim/choices.h"

#include <algorithm>
#include <bit>
#include <charconv>

namespace varve::sim {
namespace {

constexpr std::array<const char*, kDomains> kNames{
    "schedule", "time", "clock", "network", "log", "group", "disk", "store", "model", "nemesis", "workload"};

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

}  // namespace

const char* to_string(Domain domain) {
  return kNames[static_cast<std::size_t>(domain)];
}

std::uint64_t Tape::at(Domain domain, std::size_t index) const {
  return index < of(domain).size() ? of(domain)[index] : 0;
}

void Tape::add(Domain domain, std::uint64_t value) {
  of(domain).push_back(value);
}

void Tape::set(Domain domain, std::size_t index, std::uint64_t value) {
  if (index >= of(domain).size()) of(domain).resize(index + 1);
  of(domain)[index] = value;
}

void Tape::cut(Domain domain, std::size_t length) {
  if (length < of(domain).size()) of(domain).resize(length);
}

void Tape::take_out(Domain domain, std::size_t index, std::size_t count) {
  std::vector<std::uint64_t>& values = of(domain);
  if (index >= values.size()) return;
  const auto first = values.begin() + static_cast<std::ptrdiff_t>(index);
  const auto length = std::min(count, values.size() - index);
  values.erase(first, first + static_cast<std::ptrdiff_t>(length));
}

std::string Tape::encode() const {
  std::string text;
  for (std::size_t i = 0; i < kDomains; ++i) {
    std::string line;
    for (std::size_t at = 0; at < values_[i].size(); ++at) {
      if (values_[i][at] != 0) line += " " + std::to_string(at) + ":" + std::to_string(values_[i][at]);
    }
    if (!line.empty()) text += kNames[i] + line + "\n";
  }
  return text;
}

Result<Tape> Tape::decode(std::string_view text) {
  Tape tape;
  while (!text.empty()) {
    std::string_view line = take_word(text, '\n');
    if (line.empty()) continue;
    const std::string_view name = take_word(line, ' ');
    const auto found = std::find(kNames.begin(), kNames.end(), name);
    if (found == kNames.end())
      return Error{Errc::invalid_argument, "a tape has no domain '" + std::string(name) + "'"};
    const auto domain = static_cast<Domain>(found - kNames.begin());
    while (!line.empty()) {
      const std::string_view word = take_word(line, ' ');
      std::uint64_t index = 0;
      std::uint64_t value = 0;
      if (!parse_pair(word, index, value) || index > kTapeIndexMax) {
        return Error{Errc::invalid_argument,
                     "a tape's entry is INDEX:VALUE, not '" + std::string(word) + "'"};
      }
      tape.set(domain, index, value);
    }
  }
  return tape;
}

Choices::Choices(std::uint64_t seed) {
  Rng root(seed);
  for (const char* name : kNames) streams_.push_back(root.fork(name));
}

Choices::Choices(Tape replayed) : replayed_(std::move(replayed)) {}

Choices choices_of(std::uint64_t seed, const std::optional<Tape>& tape, bool record) {
  Choices choices = tape ? Choices(*tape) : Choices(seed);
  if (record) choices.record();
  return choices;
}

std::uint64_t Choices::take(Domain domain, std::uint64_t drawn, std::uint64_t bound) {
  std::size_t& next = next_[static_cast<std::size_t>(domain)];
  std::uint64_t value = drawn;
  if (replayed_) {
    value = replayed_->at(domain, next);
    if (value >= bound) value = 0;
  }
  ++next;
  if (recording_) tape_.add(domain, value);
  return value;
}

std::uint64_t Choices::choose(Domain domain, std::uint64_t bound) {
  if (bound <= 1) return 0;
  const std::uint64_t drawn = replayed_ ? 0 : streams_[static_cast<std::size_t>(domain)].below(bound);
  return take(domain, drawn, bound);
}

bool Choices::chance(Domain domain, std::uint64_t numerator, std::uint64_t denominator) {
  if (numerator == 0) return false;
  const bool drawn = !replayed_ && streams_[static_cast<std::size_t>(domain)].chance(numerator, denominator);
  return take(domain, drawn ? 1 : 0, 2) == 1;
}

std::uint64_t Choices::spread(Domain domain, std::uint64_t longest) {
  if (longest == 0) return 0;
  std::uint64_t drawn = 0;
  if (!replayed_) {
    Rng& rng = streams_[static_cast<std::size_t>(domain)];
    const auto bits = static_cast<std::uint64_t>(std::bit_width(longest));
    const std::uint64_t width = rng.below(bits + 1);
    drawn = width == 0 ? 0 : rng.below((std::uint64_t{1} << (width - 1)) * 2);
    drawn = std::min(drawn, longest);
  }
  return take(domain, drawn, longest + 1);
}

}  // namespace varve::sim
