#include "cluster/messages.h"

#include <algorithm>
#include <array>

#include "cluster/answer_codec.h"
#include "runtime/stored_json.h"
#include "runtime/utf8.h"

namespace varve {
namespace {

constexpr std::array<std::string_view, 3> kKinds{"text", "reasoning", "tool_call"};

std::int64_t micros(Duration duration) {
  return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
}

Duration duration_in(JsonFields& fields, std::string_view key) {
  const std::int64_t us = fields.integer(key);
  return std::clamp<Duration>(std::chrono::microseconds{std::clamp<std::int64_t>(us, 0, micros(kForever))},
                              Duration{}, kForever);
}

// ---- pieces of a reply ----

void write_pieces(JsonWriter& out, std::string_view key, const RunNews::Pieces& pieces) {
  out.key(key).begin_object().field("message_id", pieces.reply.message_id);
  out.field("step_id", pieces.reply.step_id).field_integer("at", pieces.reply.at.value());
  out.field_integer("from", static_cast<std::int64_t>(pieces.from)).key("pieces").begin_array();
  for (const ModelDelta& delta : pieces.reply.deltas) {
    out.begin_object().field("kind", kKinds[static_cast<std::size_t>(delta.kind)]);
    out.field("text", mend_text(delta.text));
    if (delta.kind == ModelDelta::Kind::tool_call) {
      out.field_integer("call", static_cast<std::int64_t>(delta.call));
      out.field("call_id", mend_text(delta.call_id)).field("call_name", mend_text(delta.call_name));
    }
    out.end_object();
  }
  out.end_array().end_object();
}

std::optional<RunNews::Pieces> read_pieces(const Json& run, std::string_view key, JsonFields& outer) {
  const Json* json = run.find(key);
  if (json == nullptr) return std::nullopt;
  JsonFields fields(*json, "pieces of a reply");
  RunNews::Pieces pieces;
  pieces.reply.message_id = fields.text("message_id");
  pieces.reply.step_id = fields.text("step_id");
  pieces.reply.at = WallTime{fields.integer("at")};
  pieces.from = fields.unsigned_integer("from");
  for (const Json& item : fields.list("pieces")) {
    JsonFields piece(item, "piece of a reply");
    ModelDelta delta;
    const std::string kind = piece.text("kind");
    const auto found = std::find(kKinds.begin(), kKinds.end(), kind);
    if (found == kKinds.end()) piece.set_fault("\"kind\" is not known");
    delta.kind = static_cast<ModelDelta::Kind>(found - kKinds.begin());
    delta.text = piece.text("text");
    delta.call = static_cast<std::size_t>(std::max<std::int64_t>(0, piece.integer_or("call", 0)));
    delta.call_id = piece.optional_text("call_id").value_or("");
    delta.call_name = piece.optional_text("call_name").value_or("");
    if (piece.fault()) {
      outer.set_fault(piece.fault()->message);
      return std::nullopt;
    }
    pieces.reply.deltas.push_back(std::move(delta));
  }
  if (fields.fault()) outer.set_fault(fields.fault()->message);
  return pieces;
}

// ---- requests ----

void write_request(JsonWriter& out, const ForwardedCommand& request) {
  out.field("ask", "command").field("sender", request.sender);
  out.field_integer("call", static_cast<std::int64_t>(request.call));
  out.field_integer("attempt", static_cast<std::int64_t>(request.attempt));
  out.field_integer("oldest", static_cast<std::int64_t>(request.oldest));
  out.field_integer("epoch", static_cast<std::int64_t>(request.epoch.value()));
  out.field_integer("left_us", micros(request.left));
  out.field("turn", request.turn == CallLimits::Turn::opened ? "opened" : "ended");
  out.field_raw("command", encode_command(request.envelope));
}

void write_request(JsonWriter& out, const FollowedRun& request) {
  out.field("ask", "run").field("agent", request.agent.value()).field("run_id", request.run_id);
  out.field_integer("messages", static_cast<std::int64_t>(request.messages)).field("reply", request.reply);
  out.field_integer("pieces", static_cast<std::int64_t>(request.pieces));
  out.field_integer("wait_us", micros(request.wait));
}

Result<NodeRequest> read_command(JsonFields& fields) {
  ForwardedCommand request;
  request.sender = fields.text("sender");
  request.call = fields.unsigned_integer("call");
  request.attempt = fields.unsigned_integer("attempt");
  request.oldest = fields.unsigned_integer("oldest");
  request.epoch = Epoch{fields.unsigned_integer("epoch")};
  request.left = duration_in(fields, "left_us");
  request.turn = fields.text("turn") == "opened" ? CallLimits::Turn::opened : CallLimits::Turn::ended;
  auto envelope = decode_command(fields.object("command").dump());
  if (fields.fault()) return *fields.fault();
  if (!envelope) return envelope.error();
  request.envelope = std::move(*envelope);
  return NodeRequest{std::move(request)};
}

Result<NodeRequest> read_run(JsonFields& fields) {
  FollowedRun request;
  request.agent = StreamId{fields.text("agent")};
  request.run_id = fields.text("run_id");
  request.messages = fields.unsigned_integer("messages");
  request.reply = fields.text("reply");
  request.pieces = fields.unsigned_integer("pieces");
  request.wait = duration_in(fields, "wait_us");
  if (fields.fault()) return *fields.fault();
  return NodeRequest{std::move(request)};
}

// ---- replies ----

void write_reply(JsonWriter& out, const Error& error) {
  out.key("error");
  write_error(out, error);
}

void write_reply(JsonWriter& out, const NotOwner& moved) {
  out.field("moved", mend_text(moved.why));
  if (!moved.owner) return;
  out.key("owner").begin_object();
  out.field_integer("epoch", static_cast<std::int64_t>(moved.owner->epoch.value()));
  out.field("node", moved.owner->node).field("url", moved.owner->url).end_object();
}

void write_reply(JsonWriter& out, const Answered& answered) {
  out.key("answer");
  write_answer(out, answered.answer);
  if (!answered.run_id.empty()) out.field("run_id", answered.run_id);
}

void write_reply(JsonWriter& out, const RunNews& news) {
  out.key("run").begin_object().key("messages");
  write_turn_messages(out, news.messages);
  if (news.made) write_pieces(out, "made", *news.made);
  if (news.live) write_pieces(out, "live", *news.live);
  if (news.result) {
    out.key("result");
    write_turn_result(out, *news.result);
  }
  out.field("positions", to_string(news.positions)).field_boolean("abandoned", news.abandoned).end_object();
}

Result<NodeReply> read_moved(JsonFields& fields, const Json& json) {
  NotOwner moved{fields.text("moved"), std::nullopt};
  if (json.find("owner") != nullptr) {
    JsonFields owner(fields.object("owner"), "owner");
    moved.owner = Owner{Epoch{owner.unsigned_integer("epoch")}, owner.text("node"), owner.text("url")};
    if (owner.fault()) return *owner.fault();
  }
  if (fields.fault()) return *fields.fault();
  return NodeReply{std::move(moved)};
}

Result<NodeReply> read_news(const Json& json) {
  JsonFields fields(json, "news of a turn");
  RunNews news;
  news.messages = read_turn_messages(fields, "messages");
  news.made = read_pieces(json, "made", fields);
  news.live = read_pieces(json, "live", fields);
  if (const Json* result = json.find("result")) {
    auto read = read_turn_result(*result);
    if (!read) return read.error();
    news.result = std::move(*read);
  }
  const std::string positions = fields.text("positions");
  news.abandoned = fields.boolean_or("abandoned", false);
  if (fields.fault()) return *fields.fault();
  if (positions.empty()) return NodeReply{std::move(news)};
  auto parsed = parse_positions(positions);
  if (!parsed) return parsed.error();
  news.positions = std::move(*parsed);
  return NodeReply{std::move(news)};
}

}  // namespace

std::string encode_request(const NodeRequest& request) {
  JsonWriter out;
  out.begin_object();
  std::visit([&out](const auto& one) { write_request(out, one); }, request);
  return out.end_object().take();
}

Result<NodeRequest> decode_request(std::string_view json) {
  const auto parsed = parse_stored_json(json);
  if (!parsed) return parsed.error();
  JsonFields fields(*parsed, "request of a node", Errc::invalid_argument);
  const std::string ask = fields.text("ask");
  if (fields.fault()) return *fields.fault();
  if (ask == "command") return read_command(fields);
  if (ask == "run") return read_run(fields);
  return Error{Errc::invalid_argument, "a node asks for '" + ask + "', which this one does not know"};
}

std::string encode_reply(const NodeReply& reply) {
  JsonWriter out;
  out.begin_object();
  std::visit([&out](const auto& one) { write_reply(out, one); }, reply);
  return out.end_object().take();
}

Result<NodeReply> decode_reply(std::string_view json) {
  const auto parsed = parse_stored_json(json);
  if (!parsed) return parsed.error();
  JsonFields fields(*parsed, "reply of a node");
  if (parsed->find("error") != nullptr) {
    Error error;
    if (Status read = read_error(fields.object("error"), error); !read) return read.error();
    return NodeReply{std::move(error)};
  }
  if (parsed->find("moved") != nullptr) return read_moved(fields, *parsed);
  if (const Json* run = parsed->find("run")) return read_news(*run);
  auto answer = read_answer(fields.object("answer"));
  if (fields.fault()) return *fields.fault();
  if (!answer) return answer.error();
  return NodeReply{Answered{std::move(*answer), fields.optional_text("run_id").value_or("")}};
}

// ---- following a turn ----

namespace {

// The pieces of `reply` that the caller does not have; nothing if it has them all.
std::optional<RunNews::Pieces> new_pieces(const LiveReply& reply, const FollowedRun& asked) {
  const std::size_t known = asked.reply == reply.message_id ? std::min(asked.pieces, reply.deltas.size()) : 0;
  if (known == reply.deltas.size() && known > 0) return std::nullopt;
  RunNews::Pieces pieces{{reply.message_id, reply.step_id, reply.at, {}}, known};
  pieces.reply.deltas.assign(reply.deltas.begin() + static_cast<std::ptrdiff_t>(known), reply.deltas.end());
  return pieces;
}

void take_pieces(TurnChannel& channel, RunNews::Pieces pieces) {
  const bool same = channel.live() && channel.live()->message_id == pieces.reply.message_id;
  const std::size_t known = same ? channel.live()->deltas.size() : 0;
  if (pieces.from > known) return;  // A gap: the whole message comes when it is committed.
  std::vector<ModelDelta> deltas = std::move(pieces.reply.deltas);
  pieces.reply.deltas.clear();
  if (!same) channel.begin_reply(std::move(pieces.reply));
  for (std::size_t i = known - pieces.from; i < deltas.size(); ++i) channel.add_delta(deltas[i]);
}

}  // namespace

std::optional<RunNews> news_of(const TurnChannel& channel, const FollowedRun& asked) {
  RunNews news;
  const std::vector<TurnMessage>& all = channel.messages();
  const std::size_t known = std::min(asked.messages, all.size());
  news.messages.assign(all.begin() + static_cast<std::ptrdiff_t>(known), all.end());
  if (!news.messages.empty() && channel.last_reply()) news.made = new_pieces(*channel.last_reply(), asked);
  if (channel.live() && !channel.live()->deltas.empty()) news.live = new_pieces(*channel.live(), asked);
  if (channel.finished()) {
    news.result = channel.result();
    news.result->messages.clear();
    news.positions = channel.positions();
  }
  news.abandoned = !channel.finished() && channel.abandoned();
  if (news.messages.empty() && !news.live && !news.result && !news.abandoned) return std::nullopt;
  return news;
}

void take_news(TurnChannel& channel, RunNews news) {
  if (channel.finished()) return;
  for (TurnMessage& message : news.messages) {
    if (news.made && news.made->reply.message_id == message.message.id) {
      take_pieces(channel, std::move(*news.made));
      news.made.reset();
    }
    channel.publish(std::move(message));
  }
  if (news.live) take_pieces(channel, std::move(*news.live));
  if (news.result) channel.finish(std::move(*news.result), std::move(news.positions));
}

FollowedRun followed(const TurnChannel& channel, StreamId agent, Duration wait) {
  FollowedRun asked{std::move(agent), channel.run_id(), channel.messages().size(), {}, 0, wait};
  if (channel.live()) {
    asked.reply = channel.live()->message_id;
    asked.pieces = channel.live()->deltas.size();
  }
  return asked;
}

}  // namespace varve
