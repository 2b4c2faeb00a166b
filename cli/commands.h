// The commands of `varve`, each a function from its options to an exit code. They print to standard output,
// say what went wrong on standard error, and own everything that they start.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/config.h"

namespace varve {

inline constexpr const char* kVersion = "0.1.0";  // Of the program, as CMakeLists.txt has it.

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInUse = 3;

int run_serve(const Config& config);
// The embedded log of its data directory into its topic of Kafka.
int run_log_copy(const Config& config);

// These read the log that the configuration names, whether a server runs on it or not.
struct DumpOptions {
  std::optional<std::uint32_t> partition;
  std::uint64_t from = 0;
  bool json = false;
};
int run_dump(const Config& config, const DumpOptions& options);

inline constexpr std::size_t kTailRecordsMax = 100'000;
struct TailOptions {
  std::optional<std::uint32_t> partition;
  std::size_t records = 20;  // kTailRecordsMax at most.
  bool follow = false;
  bool json = false;
};
int run_tail(const Config& config, const TailOptions& options);

struct ImportCommand {
  std::vector<std::string> files;
  std::string server = "http://127.0.0.1:8283";
  std::string key;    // Empty: one is drawn.
  std::string model;  // Empty: the files'.
  std::string password;
  bool append_copy_suffix = false;
  std::int64_t retry_seconds = 60;  // How long to try again what may pass.
};
int run_import(const ImportCommand& options);

struct ClusterStatusCommand {
  std::string server = "http://127.0.0.1:8283";
  std::string password;
  bool json = false;
};
int run_cluster_status(const ClusterStatusCommand& options);

struct VerifyCommand {
  std::string view;            // Empty: all.
  std::uint32_t sample = 100;  // Of every 100 entities so many are compared row by row.
  bool continuous = false;     // Round after round, until it is stopped or finds a difference.
  std::uint64_t rounds = 0;    // Of these at most; 0: without an end.
  std::uint64_t rate = 2'000;  // Records and rows per second, then.
};
int run_verify(const Config& config, const VerifyCommand& options);

}  // namespace varve
