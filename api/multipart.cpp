#include "api/multipart.h"

#include <algorithm>
#include <optional>

#include "api/http.h"

namespace varve {
namespace {

Error refuse(std::string why) {
  return {Errc::invalid_argument, "body: " + std::move(why)};
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool names_equal(std::string_view a, std::string_view b) {
  return !HeaderNameLess{}(a, b) && !HeaderNameLess{}(b, a);
}

// The text up to `end`, which is taken too; nothing if it does not come.
std::optional<std::string_view> take_until(std::string_view& text, std::string_view end) {
  const std::size_t place = text.find(end);
  if (place == std::string_view::npos) return std::nullopt;
  const std::string_view taken = text.substr(0, place);
  text.remove_prefix(place + end.size());
  return taken;
}

// A quoted value, `text` behind its opening quote. A backslash keeps what follows it, but only a quote or
// another one: browsers send paths with plain backslashes.
std::optional<std::string> take_quoted(std::string_view& text) {
  std::string value;
  while (!text.empty()) {
    const char c = text.front();
    text.remove_prefix(1);
    if (c == '"') return value;
    if (c == '\\' && !text.empty() && (text.front() == '"' || text.front() == '\\')) {
      value.push_back(text.front());
      text.remove_prefix(1);
    } else {
      value.push_back(c);
    }
  }
  return std::nullopt;
}

// The value of a parameter in "form-data; name=\"a\"; filename=\"b\"". Nothing if it is not there or broken.
std::optional<std::string> parameter(std::string_view header, std::string_view wanted) {
  if (!take_until(header, ";")) return std::nullopt;
  while (!header.empty()) {
    const auto name = take_until(header, "=");
    if (!name) return std::nullopt;
    std::optional<std::string> value;
    header = trimmed(header);
    if (header.starts_with('"')) {
      header.remove_prefix(1);
      value = take_quoted(header);
      if (!value) return std::nullopt;
      take_until(header, ";");
    } else {
      const std::size_t end = std::min(header.find(';'), header.size());
      value = std::string(trimmed(header.substr(0, end)));
      header.remove_prefix(std::min(end + 1, header.size()));
    }
    if (names_equal(trimmed(*name), wanted)) return value;
  }
  return std::nullopt;
}

Status read_headers(std::string_view headers, const std::string& where, FormPart& part) {
  std::optional<std::string> name;
  while (!headers.empty()) {
    const std::size_t end = std::min(headers.find("\r\n"), headers.size());
    const std::string_view line = headers.substr(0, end);
    headers.remove_prefix(std::min(end + 2, headers.size()));
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return refuse(where + " has a header line without a colon");
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (names_equal(line.substr(0, colon), "content-disposition")) {
      name = parameter(value, "name");
      part.filename = parameter(value, "filename").value_or("");
    } else if (names_equal(line.substr(0, colon), "content-type")) {
      part.content_type = std::string(value);
    }
  }
  if (!name || name->empty()) return refuse(where + " has no content-disposition with a name");
  part.name = std::move(*name);
  return ok();
}

// One part, `rest` behind the line end of its delimiter.
Result<FormPart> read_part(std::string_view& rest, const std::string& delimiter, std::size_t number) {
  const std::string where = "part " + std::to_string(number);
  FormPart part;
  const std::string_view head = rest.substr(0, kPartHeaderBytesMax + 4);
  const std::size_t empty_line = head.starts_with("\r\n") ? 0 : head.find("\r\n\r\n");
  if (empty_line == std::string_view::npos) {
    return refuse(where + " has no end of its headers within " + std::to_string(kPartHeaderBytesMax) +
                  " bytes");
  }
  if (Status read = read_headers(rest.substr(0, empty_line), where, part); !read) return read.error();
  rest.remove_prefix(empty_line == 0 ? 2 : empty_line + 4);
  // The line end before a delimiter belongs to it; an empty part's is that of its headers.
  const std::string dashes = delimiter.substr(2);
  if (rest.starts_with(dashes)) {
    rest.remove_prefix(dashes.size());
    return part;
  }
  const auto text = take_until(rest, delimiter);
  if (!text) return refuse(where + " ('" + part.name + "') has no end: the body is cut off");
  part.text = *text;
  return part;
}

Result<std::string> boundary_of(std::string_view content_type) {
  const std::string_view type = trimmed(content_type.substr(0, content_type.find(';')));
  if (!names_equal(type, "multipart/form-data")) {
    return refuse("expected content-type multipart/form-data, got '" + std::string(type.substr(0, 100)) +
                  "'");
  }
  auto boundary = parameter(content_type, "boundary");
  if (!boundary || boundary->empty() || boundary->size() > kBoundaryBytesMax) {
    return refuse("the content-type multipart/form-data needs a boundary of 1 to " +
                  std::to_string(kBoundaryBytesMax) + " characters");
  }
  return std::move(*boundary);
}

}  // namespace

Result<std::vector<FormPart>> parse_multipart(std::string_view content_type, std::string_view body) {
  const auto boundary = boundary_of(content_type);
  if (!boundary) return boundary.error();
  const std::string delimiter = "\r\n--" + *boundary;
  std::string_view rest = body;
  // What stands before the first delimiter means nothing; it may be at the very start.
  if (rest.starts_with(delimiter.substr(2))) {
    rest.remove_prefix(delimiter.size() - 2);
  } else if (!take_until(rest, delimiter)) {
    return refuse("the boundary '" + *boundary + "' is nowhere in it");
  }
  std::vector<FormPart> parts;
  while (!rest.starts_with("--")) {
    const auto padding = take_until(rest, "\r\n");
    if (!padding || !trimmed(*padding).empty()) {
      return refuse("a boundary is followed neither by a line end nor by '--'");
    }
    if (parts.size() == kPartsMax) {
      return refuse("it has more than " + std::to_string(kPartsMax) + " parts");
    }
    auto part = read_part(rest, delimiter, parts.size() + 1);
    if (!part) return part.error();
    parts.push_back(std::move(*part));
  }
  return parts;
}

const FormPart* find_part(const std::vector<FormPart>& parts, std::string_view name) {
  const auto found =
      std::find_if(parts.rbegin(), parts.rend(), [&](const FormPart& part) { return part.name == name; });
  return found == parts.rend() ? nullptr : &*found;
}

}  // namespace varve
