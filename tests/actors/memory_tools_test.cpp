#include "actors/memory_tools.h"

#include <gtest/gtest.h>

namespace varve {
namespace {

struct Edit {
  const char* name;
  std::string value;
  std::string tool;
  std::string arguments;
  std::string result;  // The new value, or "error: ..." with a part of the sentence.
};

class MemoryTool : public testing::TestWithParam<Edit> {};

TEST_P(MemoryTool, EditsABlock) {
  const Edit& edit = GetParam();
  BlockValue block;
  block.label = "human";
  block.value = edit.value;
  const auto call = parse_memory_tool_call({"call-1", edit.tool, edit.arguments});
  const Result<std::string> edited =
      call ? edit_block_text(block, call->edit) : Result<std::string>{call.error()};
  if (edit.result.starts_with("error: ")) {
    ASSERT_FALSE(edited.has_value()) << *edited;
    EXPECT_EQ(Errc::invalid_argument, edited.error().code);
    EXPECT_NE(std::string::npos, edited.error().message.find(edit.result.substr(7)))
        << edited.error().message;
  } else {
    ASSERT_TRUE(edited.has_value()) << edited.error().message;
    EXPECT_EQ(edit.result, *edited);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, MemoryTool,
    testing::Values(
        Edit{"AppendToNothing", "", "core_memory_append", R"({"label":"human","content":"a"})", "a"},
        Edit{"Append", "a", "core_memory_append", R"({"label":"human","content":"b"})", "a\nb"},
        Edit{"InsertAtTheEnd", "a", "memory_insert", R"({"label":"human","new_string":"b"})", "a\nb"},
        Edit{"InsertAtTheBeginning", "a", "memory_insert",
             R"({"label":"human","new_string":"b","insert_line":0})", "b\na"},
        Edit{"InsertAfterALine", "a\nc", "memory_insert",
             R"({"label":"human","new_string":"b","insert_line":1})", "a\nb\nc"},
        Edit{"InsertBeyondTheEnd", "a", "memory_insert",
             R"({"label":"human","new_string":"b","insert_line":9})", "a\nb"},
        Edit{"Replace", "tea and cake", "memory_replace",
             R"({"label":"human","old_string":"tea","new_string":"coffee"})", "coffee and cake"},
        Edit{"Delete", "tea and cake", "core_memory_replace",
             R"({"label":"human","old_content":" and cake","new_content":""})", "tea"},
        Edit{"ReplaceWhatIsNotThere", "tea", "memory_replace",
             R"({"label":"human","old_string":"x","new_string":"y"})", "error: was not found"},
        Edit{"ReplaceWhatIsThereTwice", "tea tea", "memory_replace",
             R"({"label":"human","old_string":"tea","new_string":"y"})", "error: more than once"},
        Edit{"ReplaceNothing", "tea", "memory_replace",
             R"({"label":"human","old_string":"","new_string":"y"})", "error: must not be empty"},
        Edit{"NoLabel", "", "memory_insert", R"({"new_string":"b"})", "error: 'label' is missing"},
        Edit{"WrongType", "", "memory_insert", R"({"label":"human","new_string":5})",
             "error: must be a string"},
        Edit{"LineIsText", "", "memory_insert", R"({"label":"human","new_string":"b","insert_line":"two"})",
             "error: must be an integer"},
        Edit{"NotJson", "", "memory_insert", "{", "error: must be a JSON object"},
        Edit{"LineNumbers", "", "memory_insert", R"({"label":"human","new_string":"Line 3: b"})",
             "error: line number prefix"},
        Edit{"TooLarge", std::string(kBlockBytesMax, 'x'), "core_memory_append",
             R"({"label":"human","content":"b"})", "error: the limit is"}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(MemoryTools, LeaveAReadOnlyBlockAlone) {
  BlockValue block;
  block.label = "rules";
  block.read_only = true;
  EditBlock edit;
  edit.new_text = "x";
  EXPECT_FALSE(edit_block_text(block, edit));
}

TEST(MemoryTools, HaveSchemasThatAreJson) {
  EXPECT_EQ(5U, builtin_tools().size());
  for (const ToolSchema& tool : builtin_tools()) {
    EXPECT_TRUE(Json::parse(tool.parameters).has_value()) << tool.name;
  }
  for (const std::string& name : base_tools()) EXPECT_NE(nullptr, find_builtin_tool(name));
  EXPECT_EQ(nullptr, find_builtin_tool("rm"));
}

}  // namespace
}  // namespace varve
