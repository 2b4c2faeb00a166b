// PostgresListener: hears when batches of the views are committed, by whichever process, so that those who
// wait for a position here need not look again and again. The batch's own statement sends it
// (PostgresViewStore::Options::tells), so it comes after the commit and never for what was rolled back.
//
// What is heard is a hint: one may be missing, and whoever waits also looks by himself. The connection is the
// listener's own. When it is lost, it connects again until it is stopped, listens again, and says so: what
// was sent meanwhile it has not heard.
//
// Thread: the Env's; connecting runs on Lane::read. Never: a wait on the Env's thread.
#pragma once

#include <functional>
#include <memory>

#include "eventlog/ids.h"
#include "projections/postgres_pool.h"
#include "runtime/real_env.h"

namespace varve {

class PostgresListener {
 public:
  struct Hearing {
    // A batch of this partition is in the views, of whichever generation.
    std::function<void(Partition)> moved;
    // It listens from now on.
    std::function<void()> begun;
  };

  // Both outlive it. It ends before the Env does, and behind its shut_down().
  PostgresListener(RealEnv& env, PostgresPool& pool);
  ~PostgresListener();
  PostgresListener(const PostgresListener&) = delete;
  PostgresListener& operator=(const PostgresListener&) = delete;

  // Once.
  void start(Hearing hearing);
  // Hears nothing more.
  void stop();

 private:
  struct Impl;
  static Task<> listen(std::shared_ptr<Impl> impl);
  static Task<> connect(std::shared_ptr<Impl> impl);
  static Task<> hear(std::shared_ptr<Impl> impl);

  std::shared_ptr<Impl> impl_;
};

}  // namespace varve
