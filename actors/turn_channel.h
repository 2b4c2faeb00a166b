// TurnChannel: where an open turn publishes its steps. Every subscriber sees all of them, from the first, at
// its own pace; a plain request collects them, a stream forwards them. Committed messages are counted; beside
// them stands the reply that is being made, piece by piece, until it is committed. A subscriber that is slow
// costs nobody anything. Bounded by the turn's steps and kOutputBytesMax a reply. Thread: the shard's.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "actors/command.h"
#include "actors/model_client.h"
#include "runtime/sync.h"

namespace varve {

// A reply in the making. It is in no log yet: after a crash it is made anew under another id.
struct LiveReply {
  std::string message_id;
  std::string step_id;
  WallTime at;
  std::vector<ModelDelta> deltas;
};
// Beyond so many pieces the next ones are joined to the last, so that a reply of single letters stays small.
inline constexpr std::size_t kLiveDeltasMax = 16'384;

class TurnChannel {
 public:
  explicit TurnChannel(std::string run_id) : run_id_(std::move(run_id)) {}

  const std::string& run_id() const { return run_id_; }

  void begin_reply(LiveReply reply) { live_ = std::move(reply); }
  void add_delta(const ModelDelta& delta) {
    if (!live_ || result_) return;
    std::vector<ModelDelta>& deltas = live_->deltas;
    const bool full = deltas.size() >= kLiveDeltasMax;
    if (full && deltas.back().kind == delta.kind && deltas.back().call == delta.call) {
      deltas.back().text += delta.text;
    } else {
      deltas.push_back(delta);
    }
    changed_.notify_all();
  }
  void publish(TurnMessage message) {
    // Its pieces stay for subscribers who have not seen them all yet, until the next message.
    last_reply_ = live_ && live_->message_id == message.message.id ? std::move(live_) : std::nullopt;
    live_.reset();
    messages_.push_back(std::move(message));
    changed_.notify_all();
  }
  // The turn is over; the first end counts. `positions`: the newest that the turn wrote.
  void finish(TurnResult result, std::vector<LogPosition> positions) {
    if (result_) return;
    // What there is of a reply that came to nothing stays for subscribers who have not seen it yet.
    result.messages = messages_;
    result_ = std::move(result);
    positions_ = std::move(positions);
    changed_.notify_all();
  }
  // Its owner stops: whoever waits must ask the next one.
  void abandon() {
    live_.reset();
    abandoned_ = true;
    changed_.notify_all();
  }

  bool finished() const { return result_.has_value(); }
  bool abandoned() const { return abandoned_; }
  const std::vector<TurnMessage>& messages() const { return messages_; }
  const std::optional<LiveReply>& live() const { return live_; }
  // The pieces that the newest committed message came in, if it was made so.
  const std::optional<LiveReply>& last_reply() const { return last_reply_; }
  const TurnResult& result() const { return *result_; }
  const std::vector<LogPosition>& positions() const { return positions_; }
  // Ends at the next change, at the turn's end, or at the deadline.
  boost::asio::awaitable<void> wait(Env& env, MonoTime deadline) { return changed_.wait(env, deadline); }

 private:
  std::string run_id_;
  std::vector<TurnMessage> messages_;
  std::optional<LiveReply> live_;
  std::optional<LiveReply> last_reply_;
  std::optional<TurnResult> result_;
  std::vector<LogPosition> positions_;
  bool abandoned_ = false;
  Notifier changed_;
};

}  // namespace varve
