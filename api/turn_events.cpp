#include "api/turn_events.h"

#include <algorithm>
#include <map>

namespace varve {
namespace {

using Kind = ModelDelta::Kind;

std::string data(const std::string& json) {
  return "data: " + json + "\n\n";
}

std::string ping(Env& env, const std::string& run_id) {
  JsonWriter out;
  out.begin_object().field("id", "ping-" + uuid4(env.rng()));
  out.field("date", format_rfc3339_seconds(env.wall_now())).field_null("name").field("message_type", "ping");
  out.field_null("otid").field_null("sender_id").field_null("step_id").field_null("is_err");
  out.field_null("seq_id").field("run_id", run_id).end_object();
  return data(out.take());
}

// Error types as the API's clients know them in streams.
std::string stream_error_type(const std::string& type) {
  return type == "llm_bad_request" ? "llm_error" : type;
}

std::string error_event(const std::string& run_id, const std::string& type, const std::string& message,
                        const std::string& detail) {
  JsonWriter out;
  out.begin_object().field("message_type", "error_message").field("run_id", run_id);
  out.field("error_type", stream_error_type(type)).field("message", message).field("detail", detail);
  out.field_null("seq_id").end_object();
  return "event: error\n" + data(out.take());
}

std::string end_events(const TurnResult& turn, bool tokens) {
  std::string out = data(stop_event(turn.stop_reason));
  if (!turn.error_type.empty()) {
    const bool model = turn.error_type.starts_with("llm_");
    out += error_event(turn.run_id, turn.error_type,
                       model ? "An error occurred with the LLM request." : "The turn failed.",
                       turn.error_message);
  } else {
    JsonWriter usage;
    render_usage(usage, turn.usage, tokens);
    out += data(usage.text());
  }
  return out + "data: [DONE]\n\n";
}

// How much of a reply that came in pieces has been sent.
struct SentReply {
  std::string message_id;
  std::size_t deltas = 0;
  std::size_t text = 0;
  std::size_t reasoning = 0;
  std::map<std::size_t, std::size_t> arguments;  // By call.
  std::vector<Kind> parts;                       // In the order of their first pieces.

  unsigned part_of(Kind kind) {
    auto found = std::find(parts.begin(), parts.end(), kind);
    if (found == parts.end()) found = parts.insert(parts.end(), kind);
    return static_cast<unsigned>(found - parts.begin());
  }
  void count(const ModelDelta& delta) {
    if (delta.kind == Kind::text) text += delta.text.size();
    if (delta.kind == Kind::reasoning) reasoning += delta.text.size();
    if (delta.kind == Kind::tool_call) arguments[delta.call] += delta.text.size();
  }
};

class TurnEvents final : public EventSource {
 public:
  TurnEvents(Env& env, std::shared_ptr<TurnChannel> channel, StreamOptions options)
      : env_(env), channel_(std::move(channel)), options_(std::move(options)) {}

  boost::asio::awaitable<std::optional<std::string>> next() override {
    if (!started_) {
      started_ = true;
      if (options_.settle && !options_.opened.empty()) co_await options_.settle(options_.opened);
      if (options_.pings) co_return ping(env_, channel_->run_id());
    }
    MonoTime ping_at = env_.now() + kPingEvery;
    for (;;) {
      std::string out = gather();
      if (!out.empty()) co_return out;
      if (ended_) co_return std::nullopt;
      if (channel_->finished()) {
        if (options_.settle) co_await options_.settle(channel_->positions());
        ended_ = true;
        co_return end_events(channel_->result(), options_.tokens);
      }
      co_await channel_->wait(env_, ping_at);
      if (env_.now() < ping_at) continue;
      ping_at = env_.now() + kPingEvery;
      if (options_.pings) co_return ping(env_, channel_->run_id());
    }
  }

 private:
  // Everything that is there and was not sent.
  std::string gather() {
    std::string out;
    const std::vector<TurnMessage>& messages = channel_->messages();
    while (index_ < messages.size()) take_message(out, messages[index_++]);
    if (options_.tokens && channel_->live()) take_pieces(out, *channel_->live(), index_);
    if (ended_) return out;
    if (!channel_->finished() && channel_->abandoned()) {
      out += error_event(channel_->run_id(), "interrupted",
                         "The server hands this turn over; it goes on. Read on from the run's stream.", "");
      out += "data: [DONE]\n\n";
      ended_ = true;
    }
    return out;
  }

  // `index_` is the number of the message in its run already.
  void take_message(std::string& out, const TurnMessage& message) {
    const auto seq_id = static_cast<std::int64_t>(index_);
    if (seq_id <= options_.starting_after) return;
    const bool newest = index_ == channel_->messages().size();
    const auto& reply = channel_->last_reply();
    if (options_.tokens && newest && reply && reply->message_id == message.message.id) {
      take_pieces(out, *reply, index_ - 1);
      take_rest(out, *reply, message.message, seq_id);
      return;
    }
    if (sent_.message_id == message.message.id && sent_.deltas > 0) {
      LiveReply lost{message.message.id, message.message.step_id, message.at, {}};
      take_rest(out, lost, message.message, seq_id);
      return;
    }
    for (const std::string& part :
         message_parts(view_of(message, channel_->run_id()), options_.types, seq_id)) {
      out += data(part);
    }
  }

  // The last piece is held back: it goes out with what shows that the message is committed. Not the first
  // one, for which somebody waits.
  void take_pieces(std::string& out, const LiveReply& reply, std::size_t committed) {
    if (sent_.message_id != reply.message_id) sent_ = SentReply{reply.message_id, 0, 0, 0, {}, {}};
    while (sent_.deltas < reply.deltas.size()) {
      const bool last = sent_.deltas + 1 == reply.deltas.size();
      if (last && sent_.deltas > 0) break;
      const ModelDelta& delta = reply.deltas[sent_.deltas++];
      sent_.count(delta);
      put_delta(out, reply, delta, static_cast<std::int64_t>(committed));
    }
  }

  // What of a committed reply has not gone out in pieces. Its last event has the message's own number.
  void take_rest(std::string& out, const LiveReply& reply, const Message& message, std::int64_t seq_id) {
    std::vector<ModelDelta> rest;
    const auto add = [&rest](Kind kind, const std::string& whole, std::size_t sent, std::size_t call,
                             const std::string& call_id) {
      if (whole.size() > sent) rest.push_back({kind, whole.substr(sent), call, call_id, ""});
    };
    add(Kind::reasoning, message.reasoning, sent_.reasoning, 0, "");
    add(Kind::text, text_of(message), sent_.text, 0, "");
    if (message.is_approval_request) {
      TurnMessage whole{message, reply.at};
      whole.message.content = "\"\"";
      whole.message.reasoning.clear();
      for (const ModelDelta& delta : rest) put_delta(out, reply, delta, seq_id - 1);
      for (const std::string& part :
           message_parts(view_of(whole, channel_->run_id()), options_.types, seq_id))
        out += data(part);
      return;
    }
    for (std::size_t i = 0; i < message.tool_calls.size(); ++i) {
      const ToolCall& call = message.tool_calls[i];
      const auto sent = sent_.arguments.find(i);
      add(Kind::tool_call, call.arguments, sent == sent_.arguments.end() ? 0 : sent->second, i, call.id);
      if (sent == sent_.arguments.end() && !rest.empty()) rest.back().call_name = call.name;
    }
    for (std::size_t i = 0; i < rest.size(); ++i) {
      put_delta(out, reply, rest[i], i + 1 == rest.size() ? seq_id : seq_id - 1);
    }
  }

  void put_delta(std::string& out, const LiveReply& reply, const ModelDelta& delta, std::int64_t seq_id) {
    const unsigned part = sent_.part_of(delta.kind);
    const std::string event = delta_part(reply, delta, channel_->run_id(), part, seq_id, options_.types);
    if (!event.empty()) out += data(event);
  }

  Env& env_;
  std::shared_ptr<TurnChannel> channel_;
  StreamOptions options_;
  std::size_t index_ = 0;  // Of the next committed message.
  SentReply sent_;
  bool started_ = false;
  bool ended_ = false;
};

}  // namespace

std::shared_ptr<EventSource> turn_events(Env& env, std::shared_ptr<TurnChannel> channel,
                                         StreamOptions options) {
  return std::make_shared<TurnEvents>(env, std::move(channel), std::move(options));
}

std::shared_ptr<EventSource> ended_turn_events(Env& env, TurnResult turn, StreamOptions options) {
  auto channel = std::make_shared<TurnChannel>(turn.run_id);
  for (TurnMessage& message : turn.messages) channel->publish(std::move(message));
  turn.messages.clear();
  channel->finish(std::move(turn), {});
  return turn_events(env, std::move(channel), std::move(options));
}

Response stream_response(std::shared_ptr<EventSource> events) {
  Response response;
  response.headers.emplace("content-type", "text/event-stream");
  response.headers.emplace("cache-control", "no-cache");
  response.events = std::move(events);
  return response;
}

}  // namespace varve
