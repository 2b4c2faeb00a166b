// Rng: seeded random numbers (xoshiro256**), with integer distributions of our own, so that a seed means the
// same on every standard library. Env owns one; nothing else draws entropy.
//
// Never draw two values in one call's argument list: compilers evaluate arguments in different orders.
// Thread: one at a time.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace varve {

class Rng {
 public:
  explicit Rng(std::uint64_t seed);
  explicit Rng(const std::array<std::uint64_t, 4>& state);

  std::uint64_t u64();
  // Uniform in [0, bound). `bound` must not be 0.
  std::uint64_t below(std::uint64_t bound);
  // Uniform in [low, high], both included.
  std::uint64_t between(std::uint64_t low, std::uint64_t high);
  // True with probability numerator / denominator.
  bool chance(std::uint64_t numerator, std::uint64_t denominator);
  // A generator of its own for a part, so that more draws in one part change no other's.
  Rng fork(std::string_view domain);

 private:
  std::array<std::uint64_t, 4> state_;
};

// A random (version 4) UUID in lower case: "123e4567-e89b-42d3-8456-426614174000".
std::string uuid4(Rng& rng);
// Shapes 16 bytes as a version 4 UUID.
std::string uuid4_from(const std::array<std::uint8_t, 16>& bytes);
// True if `text` has exactly that form.
bool is_uuid4(std::string_view text);

}  // namespace varve
