// TurnChannel: where an open turn publishes its steps. Every subscriber sees all of them, from the first; a
// plain request collects them, a stream forwards them. Bounded by the turn's steps. Thread: the shard's.
#pragma once

#include <optional>
#include <vector>

#include "actors/command.h"
#include "runtime/sync.h"

namespace varve {

class TurnChannel {
 public:
  void publish(TurnMessage message) {
    messages_.push_back(std::move(message));
    changed_.notify_all();
  }
  // The turn is over; the first end counts. `positions`: the newest that the turn wrote.
  void finish(TurnResult result, std::vector<LogPosition> positions) {
    if (result_) return;
    result.messages = messages_;
    result_ = std::move(result);
    positions_ = std::move(positions);
    changed_.notify_all();
  }
  // Its owner stops: whoever waits must ask the next one.
  void abandon() {
    abandoned_ = true;
    changed_.notify_all();
  }

  bool finished() const { return result_.has_value(); }
  bool abandoned() const { return abandoned_; }
  const std::vector<TurnMessage>& messages() const { return messages_; }
  const TurnResult& result() const { return *result_; }
  const std::vector<LogPosition>& positions() const { return positions_; }
  // Ends at the next message, at the turn's end, or at the deadline.
  boost::asio::awaitable<void> wait(Env& env, MonoTime deadline) { return changed_.wait(env, deadline); }

 private:
  std::vector<TurnMessage> messages_;
  std::optional<TurnResult> result_;
  std::vector<LogPosition> positions_;
  bool abandoned_ = false;
  Notifier changed_;
};

}  // namespace varve
