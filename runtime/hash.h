// Hash functions, each for one purpose. Pure.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace varve {

// XXH64 with seed 0: partitions of streams (frozen for ever), checksums of records and snapshots.
std::uint64_t xxh64(std::string_view bytes);

// An unsigned 128-bit number that wraps around; sums of row hashes.
struct Sum128 {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  Sum128& operator+=(const Sum128& other);
  friend bool operator==(const Sum128&, const Sum128&) = default;
};
// XXH3, 128 bits: row hashes.
Sum128 xxh128(std::string_view bytes);
// 32 hexadecimal digits, and back (false if the text is not that).
std::string to_hex(const Sum128& sum);
bool from_hex(std::string_view text, Sum128& sum);

// SHA-256: ids and hashes of commands.
std::array<std::uint8_t, 32> sha256(std::string_view bytes);

}  // namespace varve
