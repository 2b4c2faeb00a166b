#include "runtime/rng.h"

#include <bit>

#include "runtime/check.h"

namespace varve {
namespace {

// SplitMix64, the seeding function that the xoshiro authors recommend (https://prng.di.unimi.it/).
std::uint64_t split_mix(std::uint64_t& state) {
  state += 0x9e3779b97f4a7c15ULL;
  std::uint64_t z = state;
  z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31U);
}

bool is_hex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

}  // namespace

Rng::Rng(std::uint64_t seed) : state_{} {
  for (auto& word : state_) word = split_mix(seed);
}

Rng::Rng(const std::array<std::uint64_t, 4>& state) : state_(state) {
  CHECK((state[0] | state[1] | state[2] | state[3]) != 0);
}

std::uint64_t Rng::u64() {
  const std::uint64_t result = std::rotl(state_[1] * 5U, 7) * 9U;
  const std::uint64_t t = state_[1] << 17U;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

std::uint64_t Rng::below(std::uint64_t bound) {
  CHECK(bound > 0);
  // Rejects the low values that would make some results more likely than others.
  const std::uint64_t threshold = (0 - bound) % bound;
  for (;;) {
    const std::uint64_t value = u64();
    if (value >= threshold) return value % bound;
  }
}

std::uint64_t Rng::between(std::uint64_t low, std::uint64_t high) {
  CHECK(low <= high);
  if (high - low == ~std::uint64_t{0}) return u64();
  return low + below(high - low + 1);
}

bool Rng::chance(std::uint64_t numerator, std::uint64_t denominator) {
  return below(denominator) < numerator;
}

Rng Rng::fork(std::string_view domain) {
  std::uint64_t seed = u64();
  for (const char c : domain) {
    seed ^= static_cast<unsigned char>(c);
    seed = split_mix(seed);
  }
  return Rng{seed};
}

std::string uuid4_from(const std::array<std::uint8_t, 16>& bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(36);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::uint8_t byte = bytes[i];
    if (i == 6) byte = static_cast<std::uint8_t>((byte & 0x0fU) | 0x40U);
    if (i == 8) byte = static_cast<std::uint8_t>((byte & 0x3fU) | 0x80U);
    if (i == 4 || i == 6 || i == 8 || i == 10) text.push_back('-');
    text.push_back(kDigits[byte >> 4U]);
    text.push_back(kDigits[byte & 0x0fU]);
  }
  return text;
}

std::string uuid4(Rng& rng) {
  std::array<std::uint8_t, 16> bytes{};
  for (std::size_t half = 0; half < 2; ++half) {
    const std::uint64_t word = rng.u64();
    for (std::size_t i = 0; i < 8; ++i) bytes[half * 8 + i] = static_cast<std::uint8_t>(word >> (8 * i));
  }
  return uuid4_from(bytes);
}

bool is_uuid4(std::string_view text) {
  if (text.size() != 36) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !is_hex(text[i])) return false;
  }
  const char variant = text[19];
  return text[14] == '4' && (variant == '8' || variant == '9' || variant == 'a' || variant == 'b');
}

}  // namespace varve
