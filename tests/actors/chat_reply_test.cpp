// Replies in the chat completions format: whole ones, streams however they are cut, and what is made of
// nonsense.
#include "actors/chat_reply.h"

#include <gtest/gtest.h>

namespace varve {
namespace {

// ---- replies

// "text|reasoning|calls|tokens|stop" or "status type message".
std::string told(const ModelOutcome& outcome) {
  if (const auto* failure = std::get_if<ModelFailure>(&outcome)) {
    return std::to_string(failure->status) + " " + failure->error_type + " " + failure->message;
  }
  const auto& reply = std::get<ModelReply>(outcome);
  std::string calls;
  for (const ToolCall& call : reply.tool_calls) {
    calls += "(" + call.id + " " + call.name + " " + call.arguments + ")";
  }
  return reply.text + "|" + reply.reasoning + "|" + calls + "|" + std::to_string(reply.prompt_tokens) + "+" +
         std::to_string(reply.completion_tokens) + "|" + reply.stop_reason;
}

std::string read(const std::string& body) {
  return told(parse_chat_reply({"p", {"used"}, "made"}, body));
}
std::string read_message(const std::string& piece, const std::string& reason = "stop") {
  return read(R"({"choices":[{"index":0,"message":)" + piece + R"(,"finish_reason":")" + reason +
              R"("}],"usage":{"prompt_tokens":7,"completion_tokens":2}})");
}

TEST(ChatReply, IsReadInAllItsForms) {
  EXPECT_EQ("hi|||7+2|end_turn", read_message(R"({"role":"assistant","content":"hi"})"));
  EXPECT_EQ("|||7+2|end_turn", read_message(R"({"content":null})"));
  EXPECT_EQ("ab|||7+2|end_turn", read_message(R"({"content":[{"type":"text","text":"a"},{"text":"b"},3]})"));
  EXPECT_EQ("no|||7+2|end_turn", read_message(R"({"content":null,"refusal":"no"})"));
  EXPECT_EQ("a|r||7+2|end_turn", read_message(R"({"content":"a","reasoning_content":"r"})"));
  EXPECT_EQ("a|r||7+2|end_turn", read_message(R"({"content":"a","reasoning_content":null,"reasoning":"r"})"));
  EXPECT_EQ("a|||7+2|max_tokens_exceeded", read_message(R"({"content":"a"})", "length"));
  EXPECT_EQ("a|||7+2|end_turn", read_message(R"({"content":"a"})", "content_filter"));
  EXPECT_EQ("hi|||0+0|end_turn", read(R"({"choices":[{"message":{"content":"hi"}}],"usage":null})"));
  EXPECT_EQ("hi|||0+0|end_turn", read(R"({"choices":[{"message":{"content":"hi"}},{"index":1,"message":)"
                                      R"({"content":"no"}}],"usage":{"prompt_tokens":-1}})"));
}

TEST(ChatReply, HasToolCallsWithIdsThatAreNew) {
  const auto calls = [](const std::string& items) {
    return read_message(R"({"content":null,"tool_calls":[)" + items + "]}", "tool_calls");
  };
  EXPECT_EQ(R"(||(c1 f {"a":1})|7+2|end_turn)",
            calls(R"({"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}})"));
  EXPECT_EQ(R"(||(c1 f {"a":1.50})|7+2|end_turn)",
            calls(R"({"id":"c1","function":{"name":"f","arguments":{"a":1.50}}})"));
  EXPECT_EQ(
      "||(c1 f {})(c2 g {})|7+2|end_turn",
      calls(R"({"id":"c1","function":{"name":"f","arguments":""}},{"id":"c2","function":{"name":"g"}})"));
  EXPECT_EQ("||(made-1 f {})(made-2 f {})(made-3 f {})(x f {})(made-5 f {})|7+2|end_turn",
            calls(R"({"function":{"name":"f"}},{"id":"","function":{"name":"f"}},)"
                  R"({"id":"used","function":{"name":"f"}},{"id":"x","function":{"name":"f"}},)"
                  R"({"id":"x","function":{"name":"f"}})"));
  EXPECT_EQ("500 llm_error p: a tool call has no name",
            calls(R"({"id":"c1","function":{"arguments":"{}"}})"));
  EXPECT_EQ("500 llm_error p: a tool call has no name", calls("7"));
  std::string many = R"({"id":"0","function":{"name":"f"}})";
  for (std::size_t i = 1; i <= kReplyCallsMax; ++i) many += "," + many.substr(0, 34);
  EXPECT_EQ("500 llm_error p: the reply has more than 128 tool calls", calls(many));
}

TEST(ChatReply, FailsWithASentence) {
  const std::vector<std::pair<std::string, std::string>> bodies{
      {"", "500 llm_error p: the answer holds no reply"},
      {"{}", "500 llm_error p: the answer holds no reply"},
      {R"({"choices":[]})", "500 llm_error p: the answer holds no reply"},
      {R"({"choices":[{"message":null}]})", "500 llm_error p: the answer holds no reply"},
      {R"({"choices":[7]})", "500 llm_error p: the answer holds no reply"},
      {R"({"choices":)", "500 llm_error p: the answer is not JSON"},
      {"[]", "500 llm_error p: the answer is not a JSON object"},
      {"<html>", "500 llm_error p: the stream ended before the reply was whole"},
      {R"({"error":{"message":"busy","code":429}})", "429 llm_rate_limit p answered HTTP 429: busy"},
      {R"({"error":{"message":"odd","code":"x"}})", "500 llm_error p: odd"},
      {R"({"error":{}})", "500 llm_error p: the provider reports an error and does not say which"},
      {R"({"object":"error","message":"long","code":400})", "400 llm_bad_request p answered HTTP 400: long"},
  };
  for (const auto& [body, failure] : bodies) EXPECT_EQ(failure, read(body)) << body;
  EXPECT_EQ("500 llm_error p: the reply is longer than 1 MiB",
            read_message(R"({"content":")" + std::string(kReplyTextMax + 1, 'x') + R"("})"));
  EXPECT_EQ("500 llm_error p: the answer is longer than 8 MiB", read("{" + std::string(kReplyBodyMax, ' ')));
}

// ---- streams

std::string event(const std::string& data) {
  return "data: " + data + "\n\n";
}
std::string delta(const std::string& piece, const std::string& reason = "null") {
  return event(R"({"choices":[{"index":0,"delta":)" + piece + R"(,"finish_reason":)" + reason + "}]}");
}

struct Streamed {
  std::string outcome;
  std::string deltas;
};

// Feeds `bytes` in pieces that end at `cuts`.
Streamed stream(const std::string& bytes, const std::vector<std::size_t>& cuts = {}) {
  Streamed seen;
  ChatStream stream({"p", {"used"}, "made"}, [&seen](const ModelDelta& piece) {
    if (piece.kind == ModelDelta::Kind::tool_call) {
      seen.deltas += "[" + std::to_string(piece.call) +
                     (piece.call_id.empty() ? "" : " " + piece.call_id + " " + piece.call_name) + ":" +
                     piece.text + "]";
    } else {
      seen.deltas += (piece.kind == ModelDelta::Kind::text ? "<" : "{") + piece.text + ">";
    }
  });
  std::size_t from = 0;
  bool wanted = true;
  for (const std::size_t cut : cuts) {
    wanted = wanted && stream.feed(std::string_view(bytes).substr(from, cut - from));
    from = cut;
  }
  if (wanted) stream.feed(std::string_view(bytes).substr(from));
  EXPECT_EQ(!seen.deltas.empty(), stream.handed_out());
  seen.outcome = told(stream.finish());
  return seen;
}

// Everything at once: names and comments of events, CRLF, text, reasoning, two calls in turns, usage.
std::string rich_stream() {
  std::string bytes =
      ": hello\r\nevent: message\r\nid: 1\r\n" + delta(R"({"role":"assistant","content":""})");
  bytes += delta(R"({"reasoning_content":"hm"})") + delta(R"({"content":"Gr\u00fc\u00dfe "})");
  bytes += "data:{\"choices\":[{\"index\":0,\r\ndata: \"delta\":{\"content\":\"\xc3\xa4\"}}]}\r\n\r\n";
  bytes += delta(R"({"tool_calls":[{"index":0,"id":"c1","function":{"name":"f","arguments":""}}]})");
  bytes += delta(R"({"tool_calls":[{"index":1,"id":"used","function":{"name":"g","arguments":"{"}}]})");
  bytes += delta(R"({"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":"}}]})");
  bytes += delta(R"({"tool_calls":[{"index":1,"function":{"arguments":"}"}},)"
                 R"({"index":0,"function":{"arguments":"1}"}}]})");
  bytes += delta("{}", R"("tool_calls")");
  bytes += event(R"({"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":3}})");
  return bytes + event("[DONE]") + "data: after the end\n\n";
}

TEST(ChatStream, IsTheSameHoweverItIsCut) {
  const std::string bytes = rich_stream();
  const std::string outcome =
      "Gr\xc3\xbc\xc3\x9f"
      "e \xc3\xa4|hm|(c1 f {\"a\":1})(made-2 g {})|100+3|end_turn";
  const std::string deltas =
      "{hm><Gr\xc3\xbc\xc3\x9f"
      "e ><\xc3\xa4>[0 c1 f:][1 made-2 g:{][0:{\"a\":][1:}][0:1}]";
  EXPECT_EQ(outcome, stream(bytes).outcome);
  EXPECT_EQ(deltas, stream(bytes).deltas);
  std::vector<std::size_t> everywhere;
  for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
    everywhere.push_back(cut);
    const Streamed cut_once = stream(bytes, {cut});
    ASSERT_EQ(outcome, cut_once.outcome) << cut;
    ASSERT_EQ(deltas, cut_once.deltas) << cut;
  }
  EXPECT_EQ(outcome, stream(bytes, everywhere).outcome);
}

TEST(ChatStream, ThatIsCutOffIsNoReply) {
  const std::string bytes = rich_stream();
  // The last that must come is the reason to stop; the usage is a courtesy.
  const std::size_t reason = bytes.find(R"("finish_reason":"tool_calls"}]})") + 31;
  for (std::size_t length = 1; length < bytes.size(); ++length) {
    const std::string outcome = stream(bytes.substr(0, length)).outcome;
    if (length < reason) {
      ASSERT_EQ("500 llm_error p: ", outcome.substr(0, 17)) << length;
    } else {
      ASSERT_EQ("Gr\xc3\xbc\xc3\x9f", outcome.substr(0, 6)) << length << " " << outcome;
    }
  }
}

TEST(ChatStream, UnderstandsServersThatCountCallsInTheirOwnWay) {
  const auto two = [](const std::string& first, const std::string& second) {
    return stream(delta(R"({"tool_calls":[)" + first + "]}") + delta(R"({"tool_calls":[)" + second + "]}") +
                  event("[DONE]"))
        .outcome;
  };
  const std::string both = "||(a f {})(b g {})|0+0|end_turn";
  // Without an index, with one index for all, with the id in every piece, all at once.
  EXPECT_EQ(both, two(R"({"id":"a","function":{"name":"f","arguments":"{}"}})",
                      R"({"id":"b","function":{"name":"g","arguments":"{}"}})"));
  EXPECT_EQ(both, two(R"({"index":0,"id":"a","function":{"name":"f","arguments":"{}"}})",
                      R"({"index":0,"id":"b","function":{"name":"g","arguments":"{}"}})"));
  EXPECT_EQ(both, two(R"({"index":0,"id":"a","function":{"name":"f","arguments":"{"}},)"
                      R"({"index":1,"id":"b","function":{"name":"g","arguments":"{"}})",
                      R"({"index":0,"id":"a","function":{"name":"f","arguments":"}"}},)"
                      R"({"index":1,"id":"b","function":{"name":"g","arguments":"}"}})"));
  EXPECT_EQ(
      "||(made-1 f {})(made-2 g {})|0+0|end_turn",
      two(R"({"function":{"name":"f","arguments":"{}"}})", R"({"function":{"name":"g","arguments":"{}"}})"));
  EXPECT_EQ("||(a f {})|0+0|end_turn", two(R"({"id":"a","function":{"name":"f","arguments":"{"}})",
                                           R"({"function":{"arguments":"}"}})"));
  // The name comes late, and no arguments come at all.
  EXPECT_EQ("||(a f {})|0+0|end_turn",
            two(R"({"index":0,"id":"a"})", R"({"index":0,"function":{"name":"f"}})"));
  EXPECT_EQ(
      "[0 a f:][0:{}]",
      stream(delta(R"({"tool_calls":[{"index":0,"id":"a","function":{"name":"f"}}]})", R"("stop")")).deltas);
}

TEST(ChatStream, FailsWithASentence) {
  const std::string hi = delta(R"({"content":"hi"})");
  const std::vector<std::pair<std::string, std::string>> streams{
      {hi, "500 llm_error p: the stream ended before the reply was whole"},
      {": only a comment\n\n", "500 llm_error p: the stream ended before the reply was whole"},
      {event("[DONE]"), "500 llm_error p: the answer holds no reply"},
      {hi + event("{nonsense") + event("[DONE]"), "500 llm_error p: an event of the stream is not JSON"},
      {hi + event("7") + event("[DONE]"), "500 llm_error p: the answer is not a JSON object"},
      {hi + event(R"({"error":{"message":"overloaded","code":503}})") + event("[DONE]"),
       "500 llm_error p answered HTTP 503: overloaded"},
      {hi + "data: " + std::string(kStreamLineMax + 1, 'x'),
       "500 llm_error p: a line of the stream is longer than 2 MiB"},
      {hi + "data: " + std::string(kStreamLineMax - 100, ' ') + "\ndata: " + std::string(200, ' ') + "\n",
       "500 llm_error p: an event of the stream is longer than 2 MiB"},
      {delta(R"({"content":")" + std::string(kReplyTextMax, 'x') + R"("})") + hi,
       "500 llm_error p: the reply is longer than 1 MiB"},
  };
  for (const auto& [bytes, failure] : streams)
    EXPECT_EQ(failure, stream(bytes).outcome) << bytes.substr(0, 200);
  ChatStream endless({"p", {}, "made"}, nullptr);
  const std::string comments = ":" + std::string(1 << 20, ' ') + "\n";
  std::size_t fed = 0;
  while (endless.feed(comments)) fed += comments.size();
  EXPECT_LE(fed, kStreamBytesMax);
  EXPECT_EQ("500 llm_error p: the stream is longer than 256 MiB", told(endless.finish()));
}

TEST(ChatStream, TakesAWholeAnswerInsteadAndAStreamWithoutItsLastEmptyLine) {
  EXPECT_EQ("hi|||0+0|end_turn", stream(R"( {"choices":[{"message":{"content":"hi"}}]})").outcome);
  EXPECT_EQ("<hi>", stream(R"( {"choices":[{"message":{"content":"hi"}}]})").deltas);
  const std::string hi =
      R"(data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"length"}]})";
  EXPECT_EQ("hi|||0+0|max_tokens_exceeded", stream(hi).outcome);
  EXPECT_EQ("hi|||0+0|max_tokens_exceeded", stream(hi + "\ndata: [DONE]").outcome);
  EXPECT_EQ("hi|||0+0|max_tokens_exceeded", stream(hi + "\ndata: [DONE]\n").outcome);
}

}  // namespace
}  // namespace varve
