#include "api/presence.h"

namespace varve {

void Presence::start() {
  env_.spawn("presence", beat());
}

Task<> Presence::beat() {
  while (!stopping_) {
    beating_ = true;
    const Status kept = co_await processes_.keep(self_);
    beating_ = false;
    stopped_.notify_all();
    if (!kept) env_.count("process_beats_failed");
    if (stopping_) break;
    co_await stopped_.wait(env_, env_.now() + kProcessBeat);
  }
  co_return ok();
}

// Behind a beat that is under way, which would write the row again.
Task<> Presence::leave() {
  while (beating_) co_await stopped_.wait(env_, kNever);
  co_return co_await processes_.leave(self_.node);
}

Task<> Presence::stop(MonoTime deadline) {
  stopping_ = true;
  stopped_.notify_all();
  TaskGroup group(env_);
  ignore_error(group.spawn("leave", leave()), "the group is open");
  group.close();
  co_return co_await group.join(deadline);
}

}  // namespace varve
