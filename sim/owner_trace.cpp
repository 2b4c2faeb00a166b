#include "sim/owner_trace.h"

#include <array>
#include <charconv>

namespace varve::sim {
namespace {

using Kind = OwnerLine::Kind;

// Which fields a kind has, in their order. Letters: f from, e epoch, c claim id, o offset, k record kind,
// v verdict, n index, i command, s stream, q sequence, x next.
struct Shape {
  Kind kind;
  std::string_view word;
  std::string_view fields;
};
constexpr std::array<Shape, 11> kShapes{{{Kind::reading, "reading", "f"},
                                         {Kind::claim_sent, "claim-sent", "ec"},
                                         {Kind::read, "read", "okv"},
                                         {Kind::serve, "serve", "ec"},
                                         {Kind::stop, "stop", "e"},
                                         {Kind::commit_sent, "commit-sent", "enisqx"},
                                         {Kind::done, "done", "enio"},
                                         {Kind::never, "never", "eni"},
                                         {Kind::not_written, "not-written", "eni"},
                                         {Kind::unknown, "unknown", "eni"},
                                         {Kind::end, "end", ""}}};

constexpr std::array<std::string_view, 4> kRecords{"claim", "commit", "ruling", "foreign"};
constexpr std::array<Verdict, 5> kVerdicts{Verdict::admitted, Verdict::fenced, Verdict::duplicate,
                                           Verdict::gap, Verdict::foreign};

std::string_view key_of(char field) {
  switch (field) {
    case 'f':
      return "from=";
    case 'e':
      return "e=";
    case 'c':
      return "id=";
    case 'o':
      return "o=";
    case 'k':
      return "kind=";
    case 'v':
      return "v=";
    case 'n':
      return "n=";
    case 'i':
      return "cmd=";
    case 's':
      return "stream=";
    case 'q':
      return "seq=";
    default:
      return "next=";
  }
}

// The next word of a line; takes it off.
std::string_view next_word(std::string_view& rest) {
  const std::size_t end = rest.find(' ');
  const std::string_view word = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return word;
}

bool read_number(std::string_view text, std::uint64_t& number) {
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), number);
  return fault == std::errc{} && end == text.data() + text.size();
}

template <class T>
bool read_tagged(std::string_view text, T& value) {
  std::uint64_t number = 0;
  if (!read_number(text, number)) return false;
  value = T{number};
  return true;
}

bool read_id(std::string_view text, CommandId& id) {
  auto parsed = parse_command_id(text);
  if (!parsed) return false;
  id = *parsed;
  return true;
}

bool read_record(std::string_view text, OwnerLine::Record& record) {
  for (std::size_t i = 0; i < kRecords.size(); ++i) {
    if (kRecords[i] != text) continue;
    record = static_cast<OwnerLine::Record>(i);
    return true;
  }
  return false;
}

bool read_verdict(std::string_view text, Verdict& verdict) {
  for (const Verdict known : kVerdicts) {
    if (text != to_string(known)) continue;
    verdict = known;
    return true;
  }
  return false;
}

bool read_field(char field, std::string_view text, OwnerLine& line) {
  switch (field) {
    case 'f':
    case 'o':
      return read_tagged(text, line.offset);
    case 'e':
      return read_tagged(text, line.epoch);
    case 'n':
      return read_tagged(text, line.n);
    case 'c':
    case 'i':
      return read_id(text, line.id);
    case 'k':
      return read_record(text, line.record);
    case 'v':
      return read_verdict(text, line.verdict);
    case 's':
      line.stream = StreamId{std::string(text)};
      return !text.empty();
    case 'q':
      return read_tagged(text, line.first);
    default:
      return read_tagged(text, line.next);
  }
}

std::string field_text(char field, const OwnerLine& line) {
  switch (field) {
    case 'f':
    case 'o':
      return std::to_string(line.offset.value());
    case 'e':
      return std::to_string(line.epoch.value());
    case 'n':
      return std::to_string(line.n.value());
    case 'c':
    case 'i':
      return to_hex(line.id);
    case 'k':
      return std::string(kRecords.at(static_cast<std::size_t>(line.record)));
    case 'v':
      return to_string(line.verdict);
    case 's':
      return line.stream.value();
    case 'q':
      return std::to_string(line.first.value());
    default:
      return std::to_string(line.next.value());
  }
}

bool read_line(std::string_view rest, OwnerLine& line) {
  std::uint64_t partition = 0;
  if (!read_number(next_word(rest), partition) || partition >= kPartitionsMax) return false;
  line.partition = Partition{static_cast<std::uint32_t>(partition)};
  const std::string_view word = next_word(rest);
  for (const Shape& shape : kShapes) {
    if (shape.word != word) continue;
    line.kind = shape.kind;
    for (const char field : shape.fields) {
      std::string_view text = next_word(rest);
      const std::string_view key = key_of(field);
      if (!text.starts_with(key)) return false;
      text.remove_prefix(key.size());
      if (!read_field(field, text, line)) return false;
    }
    return rest.empty();
  }
  return false;
}

}  // namespace

Result<std::optional<OwnerLine>> owner_line(std::string_view line) {
  constexpr std::string_view kStart = "owner p=";
  if (!line.starts_with(kStart)) return std::optional<OwnerLine>{};
  OwnerLine read;
  if (!read_line(line.substr(kStart.size()), read)) {
    return Error{Errc::corrupt, "not a line of an owner: " + std::string(line)};
  }
  return std::optional<OwnerLine>{std::move(read)};
}

std::string to_text(const OwnerLine& line) {
  std::string text = "owner p=" + std::to_string(line.partition.value());
  for (const Shape& shape : kShapes) {
    if (shape.kind != line.kind) continue;
    text.append(" ").append(shape.word);
    for (const char field : shape.fields) {
      text.append(" ").append(key_of(field)).append(field_text(field, line));
    }
  }
  return text;
}

}  // namespace varve::sim
