// varve verify: folds the log anew and compares it with the stored views, partition by partition. Works while
// the server runs.
#include <iostream>

#include "cli/commands.h"
#include "cli/logs.h"
#include "cli/projection_stores.h"
#include "cli/verify_words.h"
#include "projections/verify.h"

namespace varve {
namespace {

constexpr std::chrono::seconds kCatchUp{3};

// The views must have everything that was in the log when this began; a running server gets a moment to fold
// it.
Task<bool> caught_up(RealEnv& env, ViewStore& views, Partition partition, Offset end) {
  const MonoTime deadline = env.now() + kCatchUp;
  for (;;) {
    auto loaded = co_await views.load(partition);
    if (!loaded) co_return loaded.error();
    for (const StreamId& parked : loaded->parked) {
      std::cout << "partition " << partition.value() << ": " << parked.value()
                << " is parked in quarantine\n";
    }
    if (loaded->checkpoint.next >= end) co_return true;
    if (env.now() >= deadline) {
      std::cout << "partition " << partition.value() << ": the views end at offset "
                << loaded->checkpoint.next.value() << ", the log at " << end.value()
                << "; start the server to fold the rest, and read its messages if it does not\n";
      co_return false;
    }
    co_await sleep_for(env, std::chrono::milliseconds{50});
  }
}

struct Findings {
  bool equal = true;
  bool differs = false;      // A rebuild cures it.
  bool log_damaged = false;  // Nothing does but a backup.
};

Task<> verify_partition(RealEnv& env, ProjectionStores& stores, Partition partition, VerifyOptions options,
                        std::shared_ptr<Findings> findings) {
  auto end = co_await stores.log->end(partition);
  if (!end) co_return end.error();
  auto complete = co_await caught_up(env, *stores.views, partition, *end);
  if (!complete) co_return complete.error();
  const bool sampled = options.sample < kWholeSample;
  auto differences = co_await fold_equals(env, *stores.log, *stores.views, partition, std::move(options));
  if (!differences) co_return differences.error();
  for (const Difference& difference : *differences) {
    std::cout << "partition " << partition.value() << ": " << difference.what << "\n";
  }
  if (!differences->empty()) findings->differs = true;
  if (!*complete || !differences->empty()) findings->equal = false;
  if (*complete && differences->empty()) {
    std::cout << "partition " << partition.value() << ": the views equal the log"
              << (sampled ? " (rows of a sample; digests of all)" : "") << "\n";
  }
  co_return ok();
}

Task<> verify(RealEnv& env, ProjectionStores& stores, VerifyOptions options,
              std::shared_ptr<Findings> findings) {
  for (std::uint32_t number = 0; number < stores.log->partitions(); ++number) {
    Status done = co_await verify_partition(env, stores, Partition{number}, options, findings);
    if (done) continue;
    findings->equal = false;
    if (done.error().code == Errc::corrupt) findings->log_damaged = true;
    std::cerr << "varve verify: partition " << number << ": " << done.error().message << "\n";
  }
  env.stop();
  co_return ok();
}

void say_how_to_repair(const Config& config, const Findings& findings) {
  if (findings.log_damaged) {
    std::cout << "what was read is damaged, and if it is the log, no rebuild mends it: see \"Backup\" in "
                 "docs/operations.md\n";
  }
  if (findings.differs) say_how_to_repair(config);
}

std::optional<View> view_named(const std::string& name) {
  for (const View view : all_views()) {
    if (schema_of(view).name == name) return view;
  }
  return std::nullopt;
}

}  // namespace

std::string rebuild_command(const Config& config) {
  std::string command = "varve projections rebuild";
  if (!config.data_dir.empty() && (config.log != "kafka" || config.store != "postgres"))
    command += " --data-dir " + config.data_dir;
  if (config.log == "kafka") {
    command +=
        " --log kafka --kafka-brokers " + brokers_of(config.kafka) + " --kafka-topic " + config.kafka.topic;
  }
  if (config.store == "postgres") command += " --store postgres --postgres-url " + config.postgres.url;
  return command;
}

void say_how_to_repair(const Config& config) {
  std::cout << "the views can be made anew from the log, while the server runs or not:\n  "
            << rebuild_command(config) << "\n";
}

int run_verify(const Config& config, const VerifyCommand& command) {
  VerifyOptions options;
  options.sample = command.sample;
  if (!command.view.empty()) {
    options.view = view_named(command.view);
    if (!options.view) {
      std::cerr << "varve verify: there is no view '" << command.view << "'; the views are:";
      for (const View view : all_views()) std::cerr << " " << schema_of(view).name;
      std::cerr << "\n";
      return kExitUsage;
    }
  }
  RealEnv env;
  auto stores = open_to_look(env, config);
  if (!stores) {
    std::cerr << "varve verify: " << stores.error().message << "\n";
    return kExitFailed;
  }
  if (command.continuous) return run_verify_continuously(env, config, **stores, command);
  const auto findings = std::make_shared<Findings>();
  env.spawn("verify", verify(env, **stores, options, findings));
  env.run();
  say_how_to_repair(config, *findings);
  std::cout.flush();
  if ((*stores)->cut_off) (*stores)->cut_off();
  env.shut_down();
  return findings->equal ? kExitDone : kExitFailed;
}

}  // namespace varve
