// What may be typed at `varve replay --step`. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "eventlog/ids.h"
#include "runtime/result.h"

namespace varve {

struct StepCommand {
  enum class Kind : std::uint8_t { next, back, to_offset, to_type, print, help, quit };
  Kind kind = Kind::next;
  Offset offset;     // Of to_offset.
  std::string text;  // The type of to_type; the stream of print, empty: those of the record.
};

// An empty line is `next`; every word may be cut to its first letter. Errc::invalid_argument says what there
// is.
Result<StepCommand> parse_step_command(std::string_view line);

inline constexpr const char* kStepHelp =
    "next            (or nothing) the next record\n"
    "back            the one before\n"
    "to OFFSET       the first record at this offset or behind it, also backwards\n"
    "to TYPE         the next event of this type, as BlockUpdated\n"
    "print [STREAM]  the state of the record's actors, or of this one, as it is behind the record\n"
    "quit\n";

}  // namespace varve
