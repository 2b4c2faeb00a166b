// One of everything: events and records for tests of formats, and a generator of random ones.
#pragma once

#include <string>
#include <vector>

#include "eventlog/record.h"
#include "runtime/rng.h"

namespace varve::test {

inline Message sample_message(const std::string& id, Role role, const std::string& text) {
  Message message;
  message.id = id;
  message.role = role;
  append_json_string(message.content = "", text);
  return message;
}

inline AgentSettings sample_settings() {
  AgentSettings settings;
  settings.name = "ann";
  settings.description = "first";
  settings.system = "Be kind.";
  settings.agent_type = "letta_v1_agent";
  settings.model = "varve/echo";
  settings.embedding = "openai/text-embedding-3-small";
  settings.context_window = 128000;
  settings.timezone = "UTC";
  settings.tools = {"memory_insert"};
  settings.tags = {"red", "blue"};
  settings.metadata = R"({"k":1,"nested":{"a":[1,2.50]}})";
  settings.extra = R"({"hidden":true})";
  return settings;
}

inline BlockValue sample_block() {
  BlockValue block;
  block.label = "human";
  block.value = "Name: Ann.\nLikes \U0001f375.";
  block.limit = 5000;
  block.description = "about";
  block.read_only = true;
  block.tags = {"t"};
  block.metadata = R"({"m":1})";
  block.extra = R"({"is_template":false})";
  return block;
}

inline ToolValue sample_tool() {
  ToolValue tool;
  tool.id = "tool-1";
  tool.name = "add";
  tool.description = "Adds.";
  tool.source_code = "def add(a: int): ...";
  tool.json_schema = R"({"name":"add","parameters":{"type":"object","properties":{}}})";
  tool.tags = {"t"};
  tool.return_char_limit = 1000;
  tool.extra = R"({"pip_requirements":null})";
  return tool;
}

inline EventTeleported sample_teleported() {
  EventTeleported carried;
  carried.at = WallTime{7};
  carried.command = to_hex(command_id_from_text("carried"));
  carried.command_hash = to_hex(CommandHash{1});
  carried.client = true;
  carried.request_id = "request-1";
  carried.type = "TurnHandedOver";
  carried.version = 1;
  carried.data = R"({"run_id":"run-1"})";
  carried.source = "varve";
  carried.origin = StreamId{"agent-0"};
  return carried;
}

// One of each type, with every field set.
inline std::vector<Event> sample_events() {
  Message reply = sample_message("message-2", Role::assistant, "Hm.");
  reply.tool_calls = {{"call-1", "memory_insert", R"({"label":"human"})"}};
  reply.reasoning = "think";
  reply.step_id = "step-1";
  Message returned = sample_message("message-3", Role::tool, "done");
  returned.name = "memory_insert";
  returned.tool_call_id = "call-1";
  returned.is_error = true;
  Message user = sample_message("message-1", Role::user, "hi \"there\"");
  user.name = "carol";
  user.sender_id = "whoever";
  user.group_id = "group-1";
  user.otid = "11111111-1111-4111-8111-111111111111";
  user.content = R"([{"type":"text","text":"hi"}])";
  Message imported = sample_message("message-5", Role::assistant, "old");
  imported.sent_at = WallTime{1'700'000'000'000'000};
  imported.is_approval_request = true;
  returned.stdout_lines = R"(["out"])";
  returned.stderr_lines = R"(["err"])";
  const Usage usage{100, 3, 1};
  return {
      AgentCreated{sample_settings(),
                   {{StreamId{"block-1"}, "human"}},
                   {sample_message("message-0", Role::system, "S")}},
      AgentUpdated{sample_settings(), {"blue"}, {"green"}, WallTime{1}},
      AgentDeleted{},
      BlockAttached{{StreamId{"block-2"}, "notes"}},
      BlockDetached{StreamId{"block-2"}},
      ContextTrimmed{{"message-1", "message-2"}},
      UserMessageReceived{"run-1", {user}, 50, WallTime{600}, R"({"override_model":"varve/echo"})"},
      AssistantReplied{
          "run-1", reply, usage, "varve/echo", "0123456789abcdef", {{StreamId{"block-1"}, Sequence{7}}}},
      ToolReturned{"run-1", returned},
      TurnResumed{"run-1", 2},
      TurnHandedOver{"run-1"},
      TurnFinished{"run-1", "end_turn", usage, WallTime{5}, "{}"},
      TurnFailed{"run-1", "llm_api_error", "llm_error", "no", usage, WallTime{5}, "{}"},
      TurnCancelled{"run-1", usage, WallTime{5}, "{}"},
      ImportBegun{3, "abc"},
      ImportSealed{},
      BlockCreated{sample_block()},
      BlockUpdated{sample_block(), WallTime{9}},
      BlockDeleted{},
      ContextSummarized{sample_message("message-4", Role::summary, "So far: tea."),
                        {"message-1", "message-2"}},
      MessagesImported{{imported}, {"message-5"}},
      ToolCreated{sample_tool()},
      ToolUpdated{sample_tool(), WallTime{9}},
      ToolDeleted{"tool-1"},
      AgentForked{StreamId{"agent-0"}, "0:17,1:88"},
      sample_teleported(),
      TeleportSealed{sample_settings(), sample_block(), WallTime{5}, WallTime{9}},
      AgentMoved{"http://there:8283"},
      AgentErased{true, {StreamId{"block-1"}}},
  };
}

inline CommandRef sample_command() {
  return {command_id_from_text("sample"), CommandHash{0x0123456789abcdefULL}, true};
}

inline Commit sample_commit() {
  const auto events = sample_events();
  return {
      Epoch{3},
      Index{17},
      "node-1",
      WallTime{1'795'416'233'020'081},
      sample_command(),
      {{StreamId{"agent-a"}, Sequence{1}, {events[0]}}, {StreamId{"block-1"}, Sequence{1}, {events[16]}}}};
}

inline Claim sample_claim() {
  return {Epoch{4},    command_id_from_text("claim"), "varve", "node-1", "http://127.0.0.1:8283", 4,
          WallTime{77}};
}

inline Ruling sample_ruling() {
  return {Epoch{4}, Index{2}, "node-1", WallTime{78}, StreamId{"agent-a"}, Offset{12}, 1};
}

}  // namespace varve::test
