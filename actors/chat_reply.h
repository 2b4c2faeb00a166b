// Reads a chat completion as it comes in, whole or as server-sent events, into a ModelReply. Pure: bytes in,
// pieces and one outcome out. Everything in it has a limit, and nothing that a provider sends is trusted.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "actors/model_client.h"
#include "runtime/json.h"

namespace varve {

// Text, reasoning and arguments of one reply together.
inline constexpr std::size_t kReplyTextMax = 1 << 20;
inline constexpr std::size_t kReplyCallsMax = 128;
// One reply that comes in one piece, as bytes of JSON.
inline constexpr std::size_t kReplyBodyMax = 8 << 20;
// One line of a stream, and all the data of one of its events.
inline constexpr std::size_t kStreamLineMax = 2 << 20;
// A stream with everything around its pieces.
inline constexpr std::size_t kStreamBytesMax = 256 << 20;

// What reading a reply must know of its request.
struct ReplyContext {
  std::string provider;
  // Ids that the conversation has already. A call that comes with one of them, or without any, gets
  // `call_prefix` and a number.
  std::set<std::string, std::less<>> call_ids;
  std::string call_prefix = "call";
};
ReplyContext reply_context(const ModelRequest& request, std::string provider, std::string call_prefix);

// Joins the pieces of one reply; a reply in one piece is the short case.
class ReplyBuilder {
 public:
  ReplyBuilder(ReplyContext context, std::function<void(const ModelDelta&)> on_delta);

  // A chat.completion, or one chat.completion.chunk.
  void add(const Json& body);
  void fail(std::string_view what);
  bool failed() const { return failure_.has_value(); }
  // The provider has said why it stopped.
  bool finished() const { return finished_; }
  // Some piece has been handed out: asking again would say it twice.
  bool handed_out() const { return handed_out_; }
  ModelOutcome take();

 private:
  struct Call {
    std::optional<std::int64_t> index;  // As the provider counts.
    std::string provider_id;
    ToolCall call;
    bool announced = false;
  };
  void add_error(const Json& body, const Json& error);
  void add_choice(const Json& choice);
  void add_text(const Json* content, ModelDelta::Kind kind);
  void add_call(const Json& item, bool whole);
  std::size_t place_of(const Json& item, bool whole);
  std::string new_id(std::string_view proposed);
  void hand_out(ModelDelta delta);
  bool room_for(std::size_t bytes);

  ReplyContext context_;
  std::function<void(const ModelDelta&)> on_delta_;
  ModelReply reply_;
  std::vector<Call> calls_;
  std::optional<ModelFailure> failure_;
  std::size_t bytes_ = 0;
  bool chosen_ = false;
  bool finished_ = false;
  bool handed_out_ = false;
};

// The answer to one request, fed in pieces cut anywhere. Servers that were asked for a stream and answer with
// one JSON object are understood too, and the other way round.
class ChatStream {
 public:
  ChatStream(ReplyContext context, std::function<void(const ModelDelta&)> on_delta);

  // False if the rest need not be read: it is broken, or too much.
  bool feed(std::string_view bytes);
  // The provider has said that this was all.
  bool done() const { return done_; }
  // The reply is there; at most its usage is missing.
  bool whole() const { return done_ || builder_.finished(); }
  bool handed_out() const { return builder_.handed_out(); }
  // Call it once, after the last feed().
  ModelOutcome finish();

 private:
  enum class Form : unsigned char { unknown, whole, events };
  void take_line(std::string_view line);
  void end_event();

  ReplyContext context_;
  ReplyBuilder builder_;
  Form form_ = Form::unknown;
  std::string pending_;  // A line that has not ended, or the whole body.
  std::string data_;     // Of the event that has not ended.
  std::size_t bytes_ = 0;
  bool done_ = false;
};

ModelOutcome parse_chat_reply(ReplyContext context, std::string_view body);

}  // namespace varve
