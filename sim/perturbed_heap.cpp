#include "sim/perturbed_heap.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace {

// Plain numbers: operator new runs before and after every constructor of the program.
std::uint64_t heap_seed = 0;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)
constexpr std::size_t kDecoys = 64;
void* decoys[kDecoys] = {};  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

std::uint64_t draw() {
  heap_seed ^= heap_seed << 13U;
  heap_seed ^= heap_seed >> 7U;
  heap_seed ^= heap_seed << 17U;
  return heap_seed;
}

void* allocate(std::size_t size) {
  if (size == 0) size = 1;
  if (heap_seed == 0) return std::malloc(size);
  const std::uint64_t chance = draw();
  // Blocks of other sizes that come and go move everything else around.
  const std::size_t decoy = chance % kDecoys;
  std::free(decoys[decoy]);
  decoys[decoy] = std::malloc(16 * (1 + (chance >> 8U) % 64));
  void* block = std::malloc(size + 16 * ((chance >> 16U) % 8));
  if (block != nullptr) std::memset(block, static_cast<int>(chance >> 24U & 0xffU), size);
  return block;
}

}  // namespace

void* operator new(std::size_t size) {
  if (void* block = allocate(size)) return block;
  throw std::bad_alloc();
}
void operator delete(void* block) noexcept {
  std::free(block);
}
void operator delete(void* block, std::size_t /*size*/) noexcept {
  std::free(block);
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
// Blocks of other operators new come from ASan itself and go back through ours: not a mismatch that matters.
extern "C" const char* __asan_default_options();   // NOLINT(readability-identifier-naming)
extern "C" const char* __asan_default_options() {  // NOLINT(readability-identifier-naming)
  return "alloc_dealloc_mismatch=0";
}
#endif
#endif

namespace varve::sim {

void perturb_heap(std::uint64_t seed) {
  heap_seed = seed;
}

}  // namespace varve::sim
