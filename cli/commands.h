// The commands of `varve`, each a function from its options to an exit code. They print to standard output,
// say what went wrong on standard error, and own everything that they start.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "eventlog/ids.h"

namespace varve {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInUse = 3;

struct ServeOptions {
  std::string data_dir;
  std::string host = "127.0.0.1";
  std::uint16_t port = 8283;
  std::uint32_t partitions = kPartitionsDefault;
  std::string model_script;
};
int run_serve(const ServeOptions& options);

struct DumpOptions {
  std::string data_dir;
  std::optional<std::uint32_t> partition;
  std::uint64_t from = 0;
  bool json = false;
};
int run_dump(const DumpOptions& options);

struct VerifyOptions {
  std::string data_dir;
};
int run_verify(const VerifyOptions& options);

}  // namespace varve
