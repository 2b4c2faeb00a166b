#include "api/python_tool.h"

#include <algorithm>
#include <array>
#include <vector>

namespace varve {
namespace {

Error refuse(std::string why) {
  return {Errc::invalid_argument, "Failed to derive json schema: " + std::move(why)};
}

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t' || text.front() == '\n'))
    text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\n'))
    text.remove_suffix(1);
  return text;
}

// Where the last top-level function begins: at "def" or "async def" in the first column.
std::size_t last_function(std::string_view source) {
  std::size_t found = std::string_view::npos;
  for (std::size_t at = 0; at < source.size();) {
    const std::string_view line = source.substr(at, source.find('\n', at) - at);
    if (line.starts_with("def ")) found = at + 4;
    if (line.starts_with("async def ")) found = at + 10;
    const std::size_t newline = source.find('\n', at);
    if (newline == std::string_view::npos) break;
    at = newline + 1;
  }
  return found;
}

// Behind the bracket that closes the one at `open`; npos if none does. Texts in quotes are passed over.
std::size_t behind_bracket(std::string_view source, std::size_t open) {
  int depth = 0;
  char quote = 0;
  for (std::size_t i = open; i < source.size(); ++i) {
    const char c = source[i];
    if (quote != 0) {
      if (c == '\\') ++i;
      if (c == quote) quote = 0;
      continue;
    }
    if (c == '"' || c == '\'') quote = c;
    if (c == '(' || c == '[' || c == '{') ++depth;
    if ((c == ')' || c == ']' || c == '}') && --depth == 0) return i + 1;
  }
  return std::string_view::npos;
}

// At commas that stand in no bracket and no quotes.
std::vector<std::string_view> split_top(std::string_view text) {
  std::vector<std::string_view> parts;
  int depth = 0;
  char quote = 0;
  std::size_t start = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote != 0) {
      if (c == quote) quote = 0;
      continue;
    }
    if (c == '"' || c == '\'') quote = c;
    if (c == '(' || c == '[' || c == '{') ++depth;
    if (c == ')' || c == ']' || c == '}') --depth;
    if (c != ',' || depth != 0) continue;
    parts.push_back(trimmed(text.substr(start, i - start)));
    start = i + 1;
  }
  const std::string_view last = trimmed(text.substr(start));
  if (!last.empty()) parts.push_back(last);
  return parts;
}

// "List[int]" -> {"type":"array","items":{"type":"integer"}}; unknown types are texts.
Json schema_of_type(std::string_view type, bool& optional) {
  type = trimmed(type);
  if (type.size() >= 2 && (type.front() == '"' || type.front() == '\''))
    type = type.substr(1, type.size() - 2);
  const std::size_t bar = type.find("| None");
  if (bar != std::string_view::npos) {
    optional = true;
    type = trimmed(type.substr(0, bar));
  }
  const std::size_t bracket = type.find('[');
  const std::string_view base = trimmed(type.substr(0, bracket));
  std::string_view inner;
  if (bracket != std::string_view::npos && type.ends_with(']')) {
    inner = type.substr(bracket + 1, type.size() - bracket - 2);
  }
  if (base == "Optional") {
    optional = true;
    return schema_of_type(inner, optional);
  }
  struct Known {
    std::string_view python;
    std::string_view json;
  };
  constexpr std::array<Known, 12> kTypes{{{"int", "integer"},
                                          {"float", "number"},
                                          {"bool", "boolean"},
                                          {"str", "string"},
                                          {"list", "array"},
                                          {"List", "array"},
                                          {"set", "array"},
                                          {"tuple", "array"},
                                          {"dict", "object"},
                                          {"Dict", "object"},
                                          {"Sequence", "array"},
                                          {"Any", "string"}}};
  std::string name = "string";
  for (const Known& known : kTypes) {
    if (known.python == base) name = known.json;
  }
  Json schema = Json::object();
  schema.set("type", Json::string(name));
  if (name == "array" && !inner.empty()) {
    bool ignored = false;
    schema.set("items", schema_of_type(split_top(inner).front(), ignored));
  }
  return schema;
}

// The text between the first triple quotes of a body, if it begins with them.
std::string_view docstring_of(std::string_view body) {
  body = trimmed(body);
  for (const std::string_view quotes : {"\"\"\"", "'''"}) {
    if (!body.starts_with(quotes)) continue;
    const std::size_t end = body.find(quotes, 3);
    return end == std::string_view::npos ? std::string_view{} : body.substr(3, end - 3);
  }
  return {};
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t newline = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, newline));
    text.remove_prefix(std::min(newline + 1, text.size()));
  }
  return lines;
}

bool is_section(std::string_view line) {
  for (const std::string_view name : {"Args:", "Arguments:", "Parameters:", "Returns:", "Raises:",
                                      "Examples:", "Example:", "Yields:", "Note:"}) {
    if (line == name) return true;
  }
  return false;
}

// Up to the first section, in one line.
std::string description_of(std::string_view docstring) {
  std::string description;
  for (const std::string_view raw : lines_of(docstring)) {
    const std::string_view line = trimmed(raw);
    if (is_section(line)) break;
    if (line.empty()) continue;
    description += (description.empty() ? "" : " ") + std::string(line);
  }
  return description;
}

// "a (int): left" below "Args:".
std::string description_of_parameter(std::string_view docstring, std::string_view name) {
  bool inside = false;
  for (const std::string_view raw : lines_of(docstring)) {
    const std::string_view line = trimmed(raw);
    if (is_section(line)) {
      inside = line == "Args:" || line == "Arguments:" || line == "Parameters:";
      continue;
    }
    if (!inside || !line.starts_with(name)) continue;
    std::string_view rest = line.substr(name.size());
    if (!rest.empty() && is_name_char(rest.front())) continue;
    const std::size_t colon = rest.find(':');
    if (colon != std::string_view::npos) return std::string(trimmed(rest.substr(colon + 1)));
  }
  return {};
}

void add_parameter(std::string_view text, std::string_view docstring, Json& properties, Json& required) {
  if (text.starts_with('*') || text == "/") return;
  // The first '=' that is no part of a type.
  std::size_t equals = std::string_view::npos;
  int depth = 0;
  for (std::size_t i = 0; i < text.size() && equals == std::string_view::npos; ++i) {
    if (text[i] == '[' || text[i] == '(') ++depth;
    if (text[i] == ']' || text[i] == ')') --depth;
    if (text[i] == '=' && depth == 0) equals = i;
  }
  const std::string_view declared = trimmed(text.substr(0, equals));
  const std::size_t colon = declared.find(':');
  const std::string name{trimmed(declared.substr(0, colon))};
  if (name == "self" || name == "agent_state" || name == "request_heartbeat") return;
  bool optional = equals != std::string_view::npos;
  Json schema =
      schema_of_type(colon == std::string_view::npos ? "str" : declared.substr(colon + 1), optional);
  const std::string description = description_of_parameter(docstring, name);
  if (!description.empty()) schema.set("description", Json::string(description));
  properties.set(name, std::move(schema));
  if (!optional) required.push_back(Json::string(name));
}

}  // namespace

Result<Json> schema_of_python(std::string_view source) {
  const std::size_t start = last_function(source);
  if (start == std::string_view::npos) return refuse("the source has no top-level function");
  std::size_t end = start;
  while (end < source.size() && is_name_char(source[end])) ++end;
  const std::string name{source.substr(start, end - start)};
  const auto line = std::count(source.begin(), source.begin() + static_cast<std::ptrdiff_t>(start), '\n') + 1;
  const std::string where = " (line " + std::to_string(line) + ")";
  if (name.empty()) return refuse("a function without a name" + where);
  if (end >= source.size() || source[end] != '(')
    return refuse("expected '(' behind the function's name" + where);
  const std::size_t close = behind_bracket(source, end);
  if (close == std::string_view::npos) return refuse("the parameters have no end" + where);
  const std::size_t colon = source.find(':', close);
  if (colon == std::string_view::npos) return refuse("the function has no body" + where);

  const std::string_view docstring = docstring_of(source.substr(colon + 1));
  Json properties = Json::object();
  Json required = Json::array();
  for (const std::string_view parameter : split_top(source.substr(end + 1, close - end - 2))) {
    add_parameter(parameter, docstring, properties, required);
  }
  Json parameters = Json::object();
  parameters.set("type", Json::string("object"));
  parameters.set("properties", std::move(properties));
  parameters.set("required", std::move(required));
  Json schema = Json::object();
  schema.set("name", Json::string(name));
  schema.set("description", Json::string(description_of(docstring)));
  schema.set("parameters", std::move(parameters));
  return schema;
}

}  // namespace varve
