#include "projections/postgres_copy.h"

#include <array>
#include <charconv>
#include <optional>
#include <system_error>

namespace varve {

namespace {

const char* escape_of(char c) {
  switch (c) {
    case '\\':
      return "\\\\";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      return nullptr;
  }
}

void add_text(std::string& line, std::string_view text) {
  std::size_t from = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char* escape = escape_of(text[i]);
    if (escape == nullptr) continue;
    line.append(text.substr(from, i - from)).append(escape);
    from = i + 1;
  }
  line.append(text.substr(from));
}

void add_number(std::string& line, std::int64_t number) {
  std::array<char, 24> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  line.append(digits.data(), end);
}

// Takes the values of a line off, one by one.
class Fields {
 public:
  explicit Fields(std::string_view line) : rest_(line) {}

  bool failed() const { return failed_; }
  bool at_end() const { return ended_; }

  // Null: as it is, or there was none.
  std::optional<std::string_view> next() {
    failed_ = failed_ || ended_;
    const std::size_t end = rest_.find('\t');
    const std::string_view field = rest_.substr(0, end);
    ended_ = end == std::string_view::npos;
    rest_ = ended_ ? std::string_view{} : rest_.substr(end + 1);
    if (field == kCopyNull) return std::nullopt;
    return field;
  }
  std::optional<std::int64_t> number() {
    const auto field = next();
    if (!field) return std::nullopt;
    std::int64_t value = 0;
    const auto parsed = std::from_chars(field->data(), field->data() + field->size(), value);
    if (parsed.ec != std::errc{} || parsed.ptr != field->data() + field->size()) failed_ = true;
    return value;
  }
  std::int64_t number_or_fail() {
    const auto value = number();
    failed_ = failed_ || !value;
    return value.value_or(0);
  }

 private:
  std::string_view rest_;
  bool ended_ = false;
  bool failed_ = false;
};

char meant_by(char escaped) {
  switch (escaped) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'v':
      return '\v';
    default:
      return escaped;
  }
}

std::string unescaped(std::string_view field) {
  std::string text;
  text.reserve(field.size());
  for (std::size_t from = 0; from < field.size();) {
    const std::size_t escape = field.find('\\', from);
    text.append(field.substr(from, escape - from));
    if (escape == std::string_view::npos || escape + 1 == field.size()) break;
    text += meant_by(field[escape + 1]);
    from = escape + 2;
  }
  return text;
}

Offset offset_of(std::int64_t number) {
  return Offset{static_cast<std::uint64_t>(number)};
}

}  // namespace

void add_value(std::string& line, const Value& value) {
  if (!line.empty()) line += '\t';
  if (std::holds_alternative<std::monostate>(value)) {
    line += kCopyNull;
  } else if (const auto* number = std::get_if<std::int64_t>(&value)) {
    add_number(line, *number);
  } else {
    add_text(line, std::get<std::string>(value));
  }
}

void add_value(std::string& line, PackedReader& values) {
  if (!line.empty()) line += '\t';
  switch (values.next()) {
    case PackedReader::Kind::integer:
      add_number(line, values.integer());
      break;
    case PackedReader::Kind::text:
      add_text(line, values.text());
      break;
    case PackedReader::Kind::null:
      line += kCopyNull;
      break;
  }
}

Result<Row> row_of_line(View view, std::string_view line) {
  Fields fields(line);
  Row row;
  const auto columns = schema_of(view).columns;
  row.values.reserve(columns.size());
  for (const Column& column : columns) {
    if (column.type == ColumnType::integer) {
      const auto number = fields.number();
      row.values.push_back(number ? Value{*number} : Value{});
    } else {
      const auto field = fields.next();
      row.values.push_back(field ? Value{unescaped(*field)} : Value{});
    }
  }
  row.from.partition = Partition{static_cast<std::uint32_t>(fields.number_or_fail())};
  row.from.offset = offset_of(fields.number_or_fail());
  row.from.ordinal = fields.number_or_fail();
  row.from.at = WallTime{fields.number_or_fail()};
  row.from.sequence = Sequence{static_cast<std::uint64_t>(fields.number_or_fail())};
  const auto to = fields.number();
  const auto to_at = fields.number();
  if (to && to_at) row.to = RowTo{offset_of(*to), WallTime{*to_at}};
  if (fields.failed() || !fields.at_end() || to.has_value() != to_at.has_value())
    return Error{Errc::corrupt, "a row of " + std::string{schema_of(view).name} + " has other columns"};
  return row;
}

}  // namespace varve
