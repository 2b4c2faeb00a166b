// Points in time. MonoTime measures waiting, WallTime dates events; they never mix. Neither asks the OS:
// Env does (env.h).
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/result.h"
#include "runtime/tagged.h"

namespace varve {

using Duration = std::chrono::nanoseconds;

// Nanoseconds since an arbitrary start; never goes backwards.
using MonoTime = Tagged<struct MonoTimeTag, std::int64_t>;
// Microseconds since 1970-01-01T00:00:00Z; may jump.
using WallTime = Tagged<struct WallTimeTag, std::int64_t>;

inline constexpr MonoTime kNever{std::numeric_limits<std::int64_t>::max()};

// Saturates at kNever, so that "start + very long" is never in the past.
constexpr MonoTime operator+(MonoTime start, Duration wait) {
  if (wait.count() > 0 && start.value() > kNever.value() - wait.count()) return kNever;
  return MonoTime{start.value() + wait.count()};
}
constexpr Duration operator-(MonoTime end, MonoTime start) {
  return Duration{end.value() - start.value()};
}

// "2026-11-23T06:43:53.020081Z"
std::string format_rfc3339_micros(WallTime time);
// "2026-11-23T06:43:53+00:00", as clients of the V1 API get dates of messages.
std::string format_rfc3339_seconds(WallTime time);

// A time of RFC 3339, also cut short: "2026-11-23", "2026-11-23T06:43", "2026-11-23T06:43:53.02+01:00".
// Without an offset it is UTC. Nothing if it is no such text or no such day.
std::optional<WallTime> parse_rfc3339(std::string_view text);

}  // namespace varve
