// CHECK: an always-on assertion for bugs, in every build.
//
// A failed CHECK prints the condition and its place to standard error and aborts. It is never used for
// anything that the network, the disk, a user or a model can cause: those are Result values (result.h).
#pragma once

namespace varve {
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
}  // namespace varve

#define CHECK(condition)                                     \
  do {                                                       \
    if (!(condition)) [[unlikely]]                           \
      ::varve::check_failed(#condition, __FILE__, __LINE__); \
  } while (false)
