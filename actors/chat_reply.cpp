#include "actors/chat_reply.h"

#include <algorithm>
#include <utility>

#include "actors/chat_completions.h"

namespace varve {
namespace {

std::string_view string_at(const Json* object, std::string_view key) {
  const Json* member = object == nullptr ? nullptr : object->find(key);
  return member != nullptr && member->is_string() ? std::string_view{member->as_string()}
                                                  : std::string_view{};
}

std::optional<std::int64_t> integer_at(const Json* object, std::string_view key) {
  const Json* member = object == nullptr ? nullptr : object->find(key);
  return member != nullptr && member->is_number() ? member->as_integer() : std::nullopt;
}

std::int64_t tokens_at(const Json& usage, std::string_view key) {
  return std::max<std::int64_t>(0, integer_at(&usage, key).value_or(0));
}

}  // namespace

ReplyContext reply_context(const ModelRequest& request, std::string provider, std::string call_prefix) {
  ReplyContext context{std::move(provider), {}, std::move(call_prefix)};
  for (const auto& message : request.messages) {
    for (const ToolCall& call : message->tool_calls) context.call_ids.insert(call.id);
  }
  return context;
}

// ---- ReplyBuilder

ReplyBuilder::ReplyBuilder(ReplyContext context, std::function<void(const ModelDelta&)> on_delta)
    : context_(std::move(context)), on_delta_(std::move(on_delta)) {}

void ReplyBuilder::fail(std::string_view what) {
  if (!failure_) failure_ = llm_error(context_.provider, what);
}

bool ReplyBuilder::room_for(std::size_t bytes) {
  bytes_ += bytes;
  if (bytes_ > kReplyTextMax) fail("the reply is longer than 1 MiB");
  return !failed();
}

void ReplyBuilder::hand_out(ModelDelta delta) {
  if (!on_delta_) return;
  handed_out_ = true;
  on_delta_(delta);
}

// Providers that fail after they have answered 200 put the error where a piece should be.
void ReplyBuilder::add_error(const Json& body, const Json& error) {
  const auto code = integer_at(&error, "code");
  if (code && *code >= 400 && *code < 600) {
    failure_ = failure_of_status(context_.provider, static_cast<int>(*code), body.dump());
    return;
  }
  const std::string words = provider_words(body);
  fail(words.empty() ? "the provider reports an error and does not say which" : words);
}

void ReplyBuilder::add(const Json& body) {
  if (failed()) return;
  if (!body.is_object()) return fail("the answer is not a JSON object");
  if (const Json* error = body.find("error"); error != nullptr && !error->is_null()) {
    return add_error(body, *error);
  }
  if (string_at(&body, "object") == "error") return add_error(body, body);
  if (const Json* usage = body.find("usage"); usage != nullptr && usage->is_object()) {
    reply_.prompt_tokens = tokens_at(*usage, "prompt_tokens");
    reply_.completion_tokens = tokens_at(*usage, "completion_tokens");
  }
  const Json* choices = body.find("choices");
  if (choices == nullptr || !choices->is_array()) return;
  for (const Json& choice : choices->items()) {
    // We ask for one; should there be more, the first is the reply.
    if (integer_at(&choice, "index").value_or(0) == 0) add_choice(choice);
  }
}

void ReplyBuilder::add_choice(const Json& choice) {
  const Json* piece = choice.find("delta");
  const bool whole = piece == nullptr || !piece->is_object();
  if (whole) piece = choice.find("message");
  if (piece != nullptr && piece->is_object()) {
    chosen_ = true;
    const Json* reasoning = piece->find("reasoning_content");
    if (reasoning == nullptr || reasoning->is_null()) reasoning = piece->find("reasoning");
    add_text(reasoning, ModelDelta::Kind::reasoning);
    add_text(piece->find("content"), ModelDelta::Kind::text);
    add_text(piece->find("refusal"), ModelDelta::Kind::text);
    if (const Json* calls = piece->find("tool_calls"); calls != nullptr && calls->is_array()) {
      for (const Json& item : calls->items()) {
        if (!failed()) add_call(item, whole);
      }
    }
  }
  const std::string_view reason = string_at(&choice, "finish_reason");
  if (reason.empty()) return;
  finished_ = true;
  if (reason == "length") reply_.stop_reason = "max_tokens_exceeded";
}

void ReplyBuilder::add_text(const Json* content, ModelDelta::Kind kind) {
  if (content == nullptr || failed()) return;
  std::string text;
  if (content->is_string()) {
    text = content->as_string();
  } else if (content->is_array()) {
    for (const Json& part : content->items()) text += string_at(&part, "text");
  }
  if (text.empty() || !room_for(text.size())) return;
  (kind == ModelDelta::Kind::text ? reply_.text : reply_.reasoning) += text;
  ModelDelta delta;
  delta.kind = kind;
  delta.text = std::move(text);
  hand_out(std::move(delta));
}

// Which call a piece belongs to. Providers count with `index`, but some leave it out and some repeat it with
// another id for the next call.
std::size_t ReplyBuilder::place_of(const Json& item, bool whole) {
  const auto index = integer_at(&item, "index");
  const std::string_view id = string_at(&item, "id");
  const bool named = !string_at(item.find("function"), "name").empty();
  for (std::size_t i = calls_.size(); i > 0 && !whole; --i) {
    Call& call = calls_[i - 1];
    const bool same_id = id.empty() || call.provider_id.empty() || call.provider_id == id;
    if (index ? call.index == index && same_id : !id.empty() && call.provider_id == id) return i - 1;
    if (!index && id.empty()) {
      if (named && !call.call.name.empty()) break;
      return i - 1;
    }
  }
  Call call;
  call.index = index;
  calls_.push_back(std::move(call));
  return calls_.size() - 1;
}

std::string ReplyBuilder::new_id(std::string_view proposed) {
  std::string id{proposed};
  for (std::size_t number = calls_.size(); id.empty() || context_.call_ids.contains(id); ++number) {
    id = context_.call_prefix + "-" + std::to_string(number);
  }
  context_.call_ids.insert(id);
  return id;
}

void ReplyBuilder::add_call(const Json& item, bool whole) {
  const Json* function = item.find("function");
  std::string arguments{string_at(function, "arguments")};
  if (const Json* object = function == nullptr ? nullptr : function->find("arguments");
      object != nullptr && object->is_object()) {
    arguments = object->dump();
  }
  const std::string_view name = string_at(function, "name");
  const std::string_view id = string_at(&item, "id");
  if (!room_for(arguments.size() + name.size() + id.size())) return;
  const std::size_t place = place_of(item, whole);
  if (calls_.size() > kReplyCallsMax) return fail("the reply has more than 128 tool calls");
  Call& slot = calls_[place];
  if (slot.provider_id.empty()) slot.provider_id = id;
  if (slot.call.name.empty()) slot.call.name = name;
  slot.call.arguments += arguments;
  if (slot.call.name.empty() || (slot.announced && arguments.empty())) return;
  ModelDelta delta;
  delta.kind = ModelDelta::Kind::tool_call;
  delta.call = place;
  delta.text = std::move(arguments);
  if (!slot.announced) {
    slot.announced = true;
    slot.call.id = new_id(slot.provider_id);
    delta.call_id = slot.call.id;
    delta.call_name = slot.call.name;
    delta.text = slot.call.arguments;
  }
  hand_out(std::move(delta));
}

ModelOutcome ReplyBuilder::take() {
  if (!failed() && !chosen_) fail("the answer holds no reply");
  for (std::size_t place = 0; place < calls_.size() && !failed(); ++place) {
    Call& slot = calls_[place];
    if (!slot.announced) {
      fail("a tool call has no name");
    } else if (slot.call.arguments.empty()) {
      slot.call.arguments = "{}";
      ModelDelta delta;
      delta.kind = ModelDelta::Kind::tool_call;
      delta.call = place;
      delta.text = "{}";
      hand_out(std::move(delta));
    }
    reply_.tool_calls.push_back(std::move(slot.call));
  }
  if (failed()) return std::move(*failure_);
  return std::move(reply_);
}

// ---- ChatStream

ChatStream::ChatStream(ReplyContext context, std::function<void(const ModelDelta&)> on_delta)
    : builder_(std::move(context), std::move(on_delta)) {}

bool ChatStream::feed(std::string_view bytes) {
  if (builder_.failed()) return false;
  if (done_) return true;
  bytes_ += bytes.size();
  if (bytes_ > kStreamBytesMax) builder_.fail("the stream is longer than 256 MiB");
  if (form_ == Form::unknown) {
    const auto first = bytes.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos) return !builder_.failed();
    form_ = bytes[first] == '{' || bytes[first] == '[' ? Form::whole : Form::events;
  }
  if (form_ == Form::whole) {
    pending_ += bytes;
    if (pending_.size() > kReplyBodyMax) builder_.fail("the answer is longer than 8 MiB");
    return !builder_.failed();
  }
  while (!bytes.empty() && !builder_.failed() && !done_) {
    const auto end = bytes.find('\n');
    pending_ += bytes.substr(0, end);
    if (pending_.size() > kStreamLineMax) {
      builder_.fail("a line of the stream is longer than 2 MiB");
    } else if (end != std::string_view::npos) {
      const std::string line = std::exchange(pending_, {});
      take_line(line);
    }
    bytes.remove_prefix(end == std::string_view::npos ? bytes.size() : end + 1);
  }
  return !builder_.failed();
}

void ChatStream::take_line(std::string_view line) {
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  if (line.empty()) return end_event();
  constexpr std::string_view kData = "data:";
  if (!line.starts_with(kData)) return;  // Comments, names and ids of events say nothing to us.
  line.remove_prefix(kData.size());
  if (line.starts_with(' ')) line.remove_prefix(1);
  // Some servers forget the empty line before the end.
  if (line == "[DONE]") end_event();
  if (!data_.empty()) data_ += '\n';
  data_ += line;
  if (data_.size() > kStreamLineMax) builder_.fail("an event of the stream is longer than 2 MiB");
  if (line == "[DONE]") end_event();
}

void ChatStream::end_event() {
  const std::string data = std::exchange(data_, {});
  if (data.empty() || builder_.failed()) return;
  if (data == "[DONE]") {
    done_ = true;
    return;
  }
  const auto json = parse_mended_json(data);
  if (!json) return builder_.fail("an event of the stream is not JSON");
  builder_.add(*json);
}

ModelOutcome ChatStream::finish() {
  if (form_ == Form::whole && !builder_.failed()) {
    const auto json = parse_mended_json(pending_);
    if (json) {
      builder_.add(*json);
    } else {
      builder_.fail("the answer is not JSON");
    }
  } else if (form_ == Form::events && !done_) {
    const std::string line = std::exchange(pending_, {});
    if (!line.empty()) take_line(line);
    // An event that is torn says nothing; if it was only the usage, it is no loss.
    if (!parse_mended_json(data_)) data_.clear();
    end_event();
    if (!builder_.finished() && !done_) builder_.fail("the stream ended before the reply was whole");
  }
  return builder_.take();
}

ModelOutcome parse_chat_reply(ReplyContext context, std::string_view body) {
  ChatStream stream(std::move(context), nullptr);
  stream.feed(body);
  return stream.finish();
}

}  // namespace varve
