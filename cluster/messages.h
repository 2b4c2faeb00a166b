// What nodes say to each other, and its JSON. Two questions: carry out a command of mine (ForwardedCommand),
// and tell me what has become of an open turn (FollowedRun). Pure.
//
//   {"ask":"command","sender":NODE,"call":N,"attempt":A,"oldest":M,"epoch":E,"left_us":US,"turn":"opened",
//    "command":{..}}
//   {"ask":"run","agent":"agent-..","run_id":"run-..","messages":K,"reply":"message-..","pieces":P,
//    "wait_us":US}
//   {"answer":{..},"run_id":".."} or {"error":{..}} or
//   {"moved":"why","owner":{"epoch":..,"node":..,"url":..}} or
//   {"run":{"messages":[..],"made":{..},"live":{..},"result":{..},"positions":"..","abandoned":true}}
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "actors/command_sender.h"
#include "actors/turn_channel.h"
#include "cluster/owner_table.h"

namespace varve {

// A command of a caller at another node. A request may arrive twice, or late: `call` names the caller's wish
// (the same in every attempt), `attempt` counts how often it was sent, and no call below `oldest` is waited
// for.
struct ForwardedCommand {
  std::string sender;  // NodeIdentity::node, drawn at every process start.
  std::uint64_t call = 0;
  std::uint64_t attempt = 1;
  std::uint64_t oldest = 0;
  // The ownership that it is meant for: under another one it is not carried out.
  Epoch epoch;
  Duration left{};  // Of the caller's time. kForever: it does not end.
  CallLimits::Turn turn = CallLimits::Turn::ended;
  CommandEnvelope envelope;
};
inline constexpr Duration kForever = std::chrono::hours{24 * 365};

// What the caller has of the turn already, and how long it waits for more.
struct FollowedRun {
  StreamId agent;
  std::string run_id;
  std::size_t messages = 0;
  std::string reply;  // The reply in the making that it has pieces of.
  std::size_t pieces = 0;
  Duration wait{};
};

using NodeRequest = std::variant<ForwardedCommand, FollowedRun>;

// The node that was asked does not own the partition, or not under this epoch. Nothing was done.
struct NotOwner {
  std::string why;
  std::optional<Owner> owner;  // If it knows one.
};
struct Answered {
  CommandAnswer answer;
  std::string run_id;  // Of the turn that is open now and may be followed; empty = none.
};
// News of a turn.
struct RunNews {
  struct Pieces {
    LiveReply reply;
    std::size_t from = 0;  // reply.deltas begins with this piece.
  };
  std::vector<TurnMessage> messages;  // Behind those that the caller has.
  std::optional<Pieces> made;         // Pieces that the last of `messages` was made of.
  std::optional<Pieces> live;         // Of the reply that is being made.
  std::optional<TurnResult> result;   // Its messages are not repeated.
  std::vector<LogPosition> positions;
  bool abandoned = false;  // The owner stops: ask the next one.
};
using NodeReply = std::variant<Error, NotOwner, Answered, RunNews>;

std::string encode_request(const NodeRequest& request);
Result<NodeRequest> decode_request(std::string_view json);
std::string encode_reply(const NodeReply& reply);
Result<NodeReply> decode_reply(std::string_view json);

// What the caller of `asked` does not have of the turn yet; nothing if there is no news.
std::optional<RunNews> news_of(const TurnChannel& channel, const FollowedRun& asked);
// Puts the news into the caller's own channel.
void take_news(TurnChannel& channel, RunNews news);
// What to ask for next.
FollowedRun followed(const TurnChannel& channel, StreamId agent, Duration wait);

}  // namespace varve
