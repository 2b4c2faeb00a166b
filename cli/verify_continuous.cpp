// varve verify --continuous: proves round after round that the views equal the log, beside a server or
// without one, until it is stopped or finds a difference.
#include <signal.h>

#include <boost/asio/signal_set.hpp>
#include <filesystem>
#include <iostream>

#include "cli/commands.h"
#include "cli/projection_stores.h"
#include "cli/verify_words.h"
#include "projections/sqlite_generations.h"
#include "projections/verify_continuous.h"
#include "runtime/suspend.h"

namespace varve {
namespace {

constexpr std::chrono::seconds kRetryWait{1};

// The views in a data directory, whichever generation a server has made the active one: it is looked for
// whenever a checkpoint is loaded.
class FollowedViews final : public ViewStore {
 public:
  FollowedViews(Env& env, std::string directory, std::uint64_t generation, std::shared_ptr<ViewStore> views)
      : env_(env), directory_(std::move(directory)), generation_(generation), views_(std::move(views)) {}

  Task<LoadedCheckpoint> load(Partition partition) override {
    using Opened = std::pair<std::uint64_t, std::shared_ptr<ViewStore>>;
    std::function<Result<Opened>()> job = [env = &env_, directory = directory_,
                                           known = generation_]() -> Result<Opened> {
      const auto active = active_generation_in(directory);
      if (!active) return active.error();
      if (*active == known) return Opened{known, nullptr};
      auto opened = SqliteViewStore::open(*env, {directory, *active});
      if (!opened) return opened.error();
      return Opened{*active, std::move(*opened)};
    };
    auto opened = co_await offload<Opened>(env_, Lane::read, std::move(job));
    if (!opened) co_return opened.error();
    if (opened->second) {
      generation_ = opened->first;
      views_ = std::move(opened->second);
    }
    const std::shared_ptr<ViewStore> views = views_;
    co_return co_await views->load(partition);
  }
  Task<CommitOutcome> commit(Batch /*batch*/) override {
    co_return Error{Errc::unavailable, "these views are only read"};
  }
  Task<> read(std::function<Status(ViewReader&)> work) override {
    const std::shared_ptr<ViewStore> views = views_;
    co_return co_await views->read(std::move(work));
  }

 private:
  Env& env_;
  std::string directory_;
  std::uint64_t generation_;
  std::shared_ptr<ViewStore> views_;
};

struct Work {
  Work(RealEnv& of, ContinuousVerify::Ports ports, const VerifyCommand& command)
      : env(of),
        verification(of, ports, pace_of(command),
                     [this](const Difference& difference) {
                       std::cout << "partition " << difference.partition.value() << ": " << difference.what
                                 << "\n";
                       differs = true;
                       verification.stop();
                     }),
        rounds(command.rounds) {}

  static VerifyPace pace_of(const VerifyCommand& command) {
    VerifyPace pace;
    pace.per_second = command.rate;
    return pace;
  }

  RealEnv& env;
  ContinuousVerify verification;
  std::uint64_t rounds;  // 0: until it is stopped.
  bool differs = false;
  bool stopping = false;
};

Task<> go_on(Work& work) {
  while (!work.stopping && !work.differs) {
    const Status done = co_await work.verification.round();
    if (work.stopping || work.differs) break;
    if (!done) {
      std::cerr << "varve verify: " << done.error().message << "\n";
    } else {
      const VerifyProgress& progress = work.verification.progress();
      std::cout << format_rfc3339_seconds(progress.round_ended) << " round " << progress.rounds
                << ": the views equal the log" << std::endl;
      if (progress.rounds == work.rounds) break;
    }
    co_await sleep_for(work.env, kRetryWait);
  }
  work.env.stop();
  co_return ok();
}

}  // namespace

int run_verify_continuously(RealEnv& env, const Config& config, ProjectionStores& stores,
                            const VerifyCommand& command) {
  std::unique_ptr<FollowedViews> followed;
  if (config.store != "postgres") {
    const auto generation = active_generation_in(config.data_dir);
    if (!generation) {
      std::cerr << "varve verify: " << generation.error().message << "\n";
      return kExitFailed;
    }
    auto views = SqliteViewStore::open(env, {config.data_dir, *generation});
    if (!views) {
      std::cerr << "varve verify: " << views.error().message << "\n";
      return kExitFailed;
    }
    followed = std::make_unique<FollowedViews>(env, config.data_dir, *generation,
                                               std::shared_ptr<ViewStore>{std::move(*views)});
  }
  ViewStore& views = followed ? static_cast<ViewStore&>(*followed) : *stores.views;
  Work work{env, {*stores.log, views, *stores.generations}, command};
  boost::asio::signal_set signals(env.io_context(), SIGINT, SIGTERM);
  signals.async_wait([&work](const boost::system::error_code& error, int /*signal*/) {
    if (error) return;
    work.stopping = true;
    work.verification.stop();
    work.env.stop();
  });
  env.spawn("verify", go_on(work));
  env.run();
  if (work.differs) say_how_to_repair(config);
  std::cout.flush();
  if (stores.cut_off) stores.cut_off();
  env.shut_down();
  return work.differs ? kExitFailed : kExitDone;
}

}  // namespace varve
