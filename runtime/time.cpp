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

}  // namespace varve
