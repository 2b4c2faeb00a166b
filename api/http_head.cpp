#include "api/http_head.h"

#include <array>
#include <boost/beast/http/status.hpp>
#include <charconv>
#include <chrono>
#include <cstdio>

namespace varve {

namespace {

// Headers that are the server's to say.
bool is_framing(std::string_view name) {
  return http_names_equal(name, "content-length") || http_names_equal(name, "transfer-encoding") ||
         http_names_equal(name, "connection") || http_names_equal(name, "date");
}

void append_number(std::string& out, std::size_t number) {
  std::array<char, 24> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  out.append(digits.data(), end);
}

void append_header(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ");
  for (const char c : value) {
    const bool control = (c >= 0 && c < ' ' && c != '\t') || c == '\x7f';
    out.push_back(control ? ' ' : c);
  }
  out.append("\r\n");
}

}  // namespace

bool http_may_have_body(int status) {
  return status >= 200 && status != 204 && status != 304;
}

bool http_names_equal(std::string_view a, std::string_view b) {
  return a.size() == b.size() && !HeaderNameLess{}(a, b) && !HeaderNameLess{}(b, a);
}

void append_http_head(std::string& out, const Response& response, const HttpFraming& framing,
                      std::string_view date) {
  const auto status = static_cast<unsigned>(response.status);
  out.append("HTTP/1.1 ");
  append_number(out, status);
  const auto reason = boost::beast::http::obsolete_reason(boost::beast::http::int_to_status(status));
  out.append(" ").append(reason.data(), reason.size()).append("\r\n");
  bool typed = false;
  for (const auto& [name, value] : response.headers) {
    if (is_framing(name)) continue;
    typed = typed || http_names_equal(name, "content-type");
    append_header(out, name, value);
  }
  const bool bodied = http_may_have_body(response.status);
  if (!typed && bodied && !response.body.empty()) out.append("content-type: application/json\r\n");
  if (bodied && framing.chunked) {
    if (!framing.http_1_0) out.append("transfer-encoding: chunked\r\n");
  } else if (bodied) {
    out.append("content-length: ");
    append_number(out, response.body.size());
    out.append("\r\n");
  }
  out.append("date: ").append(date).append("\r\n");
  if (!framing.keep_alive) {
    out.append("connection: close\r\n");
  } else if (framing.http_1_0) {
    out.append("connection: keep-alive\r\n");
  }
  out.append("\r\n");
}

std::string_view HttpDate::text(WallTime now) {
  const std::int64_t second = now.value() / 1'000'000;
  if (second == second_) return text_;
  second_ = second;
  using std::chrono::days;
  const std::chrono::sys_seconds time{std::chrono::seconds{second}};
  const auto day = std::chrono::floor<days>(time);
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss clock{time - day};
  constexpr std::array kDays{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr std::array kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                               "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::array<char, 64> line;
  const int length =
      std::snprintf(line.data(), line.size(), "%s, %02u %s %04d %02d:%02d:%02d GMT",
                    kDays.at(std::chrono::weekday{day}.c_encoding()), static_cast<unsigned>(date.day()),
                    kMonths.at(static_cast<unsigned>(date.month()) - 1), static_cast<int>(date.year()),
                    static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                    static_cast<int>(clock.seconds().count()));
  text_.assign(line.data(), static_cast<std::size_t>(length));
  return text_;
}

}  // namespace varve
