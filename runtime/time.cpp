#include "runtime/time.h"

#include <array>
#include <cstdio>

namespace varve {
namespace {

struct Civil {
  int year;
  unsigned month, day, hour, minute, second, micros;
};

Civil civil(WallTime time) {
  const std::chrono::microseconds since{time.value()};
  const auto day_start = std::chrono::floor<std::chrono::days>(since);
  const std::chrono::year_month_day date{std::chrono::sys_days{day_start}};
  const auto in_day = static_cast<std::uint64_t>((since - day_start).count());
  return {static_cast<int>(date.year()),
          static_cast<unsigned>(date.month()),
          static_cast<unsigned>(date.day()),
          static_cast<unsigned>(in_day / 3'600'000'000U),
          static_cast<unsigned>(in_day / 60'000'000U % 60U),
          static_cast<unsigned>(in_day / 1'000'000U % 60U),
          static_cast<unsigned>(in_day % 1'000'000U)};
}

// Takes numbers and signs from the front of a text.
struct Scanner {
  std::string_view rest;

  bool take(char wanted) {
    if (rest.empty() || rest.front() != wanted) return false;
    rest.remove_prefix(1);
    return true;
  }
  // Exactly so many digits.
  std::optional<int> number(std::size_t digits) {
    if (rest.size() < digits) return std::nullopt;
    int value = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      if (rest[i] < '0' || rest[i] > '9') return std::nullopt;
      value = value * 10 + (rest[i] - '0');
    }
    rest.remove_prefix(digits);
    return value;
  }
  // ".02": in micros; digits beyond the sixth are dropped.
  std::optional<std::int64_t> fraction() {
    std::int64_t micros = 0;
    std::int64_t unit = 100'000;
    std::size_t digits = 0;
    while (digits < rest.size() && rest[digits] >= '0' && rest[digits] <= '9') {
      micros += (rest[digits] - '0') * unit;
      unit /= 10;
      ++digits;
    }
    if (digits == 0) return std::nullopt;
    rest.remove_prefix(digits);
    return micros;
  }
};

std::optional<std::int64_t> day_micros(Scanner& scan) {
  const auto year = scan.number(4);
  if (!year || !scan.take('-')) return std::nullopt;
  const auto month = scan.number(2);
  if (!month || !scan.take('-')) return std::nullopt;
  const auto day = scan.number(2);
  if (!day) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year{*year},
                                         std::chrono::month{static_cast<unsigned>(*month)},
                                         std::chrono::day{static_cast<unsigned>(*day)}};
  if (!date.ok()) return std::nullopt;
  const std::int64_t days = std::chrono::sys_days{date}.time_since_epoch().count();
  return days * 86'400'000'000;
}

// Hours and minutes, seconds and their fraction if they are there.
std::optional<std::int64_t> clock_micros(Scanner& scan) {
  const auto hour = scan.number(2);
  if (!hour || *hour > 23 || !scan.take(':')) return std::nullopt;
  const auto minute = scan.number(2);
  if (!minute || *minute > 59) return std::nullopt;
  std::int64_t micros = (*hour * std::int64_t{60} + *minute) * 60'000'000;
  if (!scan.take(':')) return micros;
  const auto second = scan.number(2);
  if (!second || *second > 60) return std::nullopt;
  micros += *second * std::int64_t{1'000'000};
  if (!scan.take('.')) return micros;
  const auto fraction = scan.fraction();
  if (!fraction) return std::nullopt;
  return micros + *fraction;
}

std::optional<std::int64_t> offset_micros(Scanner& scan) {
  if (scan.rest.empty() || scan.take('Z') || scan.take('z')) return 0;
  const bool behind = scan.take('-');
  if (!behind && !scan.take('+')) return std::nullopt;
  const auto hour = scan.number(2);
  if (!hour || !scan.take(':')) return std::nullopt;
  const auto minute = scan.number(2);
  if (!minute) return std::nullopt;
  const std::int64_t micros = (*hour * std::int64_t{60} + *minute) * 60'000'000;
  return behind ? -micros : micros;
}

}  // namespace

std::string format_rfc3339_micros(WallTime time) {
  const Civil c = civil(time);
  std::array<char, 64> text{};
  const int length = std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02u:%02u:%02u.%06uZ", c.year,
                                   c.month, c.day, c.hour, c.minute, c.second, c.micros);
  return {text.data(), static_cast<std::size_t>(length)};
}

std::string format_rfc3339_seconds(WallTime time) {
  const Civil c = civil(time);
  std::array<char, 64> text{};
  const int length = std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02u:%02u:%02u+00:00", c.year,
                                   c.month, c.day, c.hour, c.minute, c.second);
  return {text.data(), static_cast<std::size_t>(length)};
}

std::optional<WallTime> parse_rfc3339(std::string_view text) {
  Scanner scan{text};
  const auto day = day_micros(scan);
  if (!day) return std::nullopt;
  if (scan.rest.empty()) return WallTime{*day};
  if (!scan.take('T') && !scan.take('t') && !scan.take(' ')) return std::nullopt;
  const auto clock = clock_micros(scan);
  if (!clock) return std::nullopt;
  const auto offset = offset_micros(scan);
  if (!offset || !scan.rest.empty()) return std::nullopt;
  return WallTime{*day + *clock - *offset};
}

}  // namespace varve
