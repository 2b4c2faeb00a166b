// A turn as server-sent events, as the API's clients parse them: ping, messages (or pieces of them),
// stop_reason, usage_statistics, [DONE]; a failure is an event named "error". A stream reads the turn's
// channel at its client's pace; that it is slow, or gone, is nothing to the turn.
//
// `seq_id` counts the committed messages of the run: whoever has seen k goes on after k, with the same or
// another node. A message's earlier parts and pieces carry k - 1, so that a message that was cut off comes
// again whole.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "api/http.h"
#include "api/render_message.h"

namespace varve {

inline constexpr Duration kPingEvery{std::chrono::seconds{20}};

struct StreamOptions {
  bool pings = true;
  bool tokens = false;
  MessageTypes types;
  std::int64_t starting_after = 0;
  // The turn's opening: awaited in the views before the first event, so that the run can be asked for.
  std::vector<LogPosition> opened;
  // Awaited before the turn's end is told, with what the turn has written: so that whoever has read the end
  // finds all of it in the views.
  std::function<boost::asio::awaitable<void>(std::vector<LogPosition>)> settle;
};

std::shared_ptr<EventSource> turn_events(Env& env, std::shared_ptr<TurnChannel> channel,
                                         StreamOptions options);

// The same of a turn that has ended, from what the views keep of it.
std::shared_ptr<EventSource> ended_turn_events(Env& env, TurnResult turn, StreamOptions options);

// 200, text/event-stream.
Response stream_response(std::shared_ptr<EventSource> events);

}  // namespace varve
