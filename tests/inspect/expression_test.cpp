// The expression language: what it accepts and refuses (and at which character), and what it means.
#include "inspect/expression.h"

#include <gtest/gtest.h>

#include <map>

namespace varve {
namespace {

// A small world: two blocks, three messages (one has left the context), one agent, and an event.
class World final : public Facts {
 public:
  Result<std::int64_t> count(const Selector& selector) override {
    return static_cast<std::int64_t>(rows(selector).size());
  }
  Result<bool> any(const Selector& selector, const std::function<bool(const RowNow&)>& fits) override {
    ++asked;
    for (const auto& [row, open] : rows(selector)) {
      if (fits(RowNow{row, open})) return true;
    }
    return false;
  }
  Value event(EventField field) override {
    const auto found = fields.find(field);
    return found == fields.end() ? Value{} : found->second;
  }

  std::map<EventField, Value> fields;
  int asked = 0;

 private:
  using Rows = std::vector<std::pair<Row, bool>>;
  static Row block(const std::string& label, const std::string& value, Value description) {
    Row row;
    row.values = {Value{"block-" + label},
                  Value{label},
                  Value{value},
                  Value{std::int64_t{5000}},
                  std::move(description),
                  Value{std::int64_t{1}},
                  Value{std::string("[]")},
                  Value{std::string("{}")},
                  Value{std::string("{}")},
                  Value{std::int64_t{1'795'416'233'000'000}},
                  Value{std::int64_t{9}}};
    return row;
  }
  static Row message(const std::string& id, const std::string& role) {
    Row row;
    row.values.resize(schema_of(View::messages).columns.size());
    row.values[messages::id] = id;
    row.values[messages::role] = role;
    return row;
  }
  static Rows rows(const Selector& selector) {
    Rows all;
    if (selector.view == View::blocks) {
      all = {{block("human", "Name: Ann\xC3\xA4.", Value{}), true},
             {block("persona", "Kind \"and\" patient", Value{std::string("who")}), true}};
    } else if (selector.view == View::messages) {
      all = {{message("message-1", "user"), false},
             {message("message-2", "assistant"), true},
             {message("message-3", "user"), true}};
    }
    Rows found;
    for (auto& [row, open] : all) {
      if (selector.context && !open) continue;
      const bool named = !selector.key || row.text(0) == *selector.key ||
                         row.text(name_column(selector.view)) == *selector.key;
      if (named) found.emplace_back(row, open);
    }
    return found;
  }
};

bool holds(const std::string& text, World& world) {
  const auto parsed = Expression::parse(text, Expression::Asks::states_and_event);
  if (!parsed) {
    ADD_FAILURE() << text << ": " << parsed.error().message;
    return false;
  }
  const auto held = parsed->holds(world);
  EXPECT_TRUE(held.has_value());
  return held && *held;
}

TEST(ExpressionTest, MeansWhatItSays) {
  World world;
  world.fields = {{EventField::type, Value{std::string("BlockUpdated")}},
                  {EventField::offset, Value{std::int64_t{17}}},
                  {EventField::time, Value{std::int64_t{1'795'416'233'000'000}}}};
  const std::vector<std::string> true_ones = {
      R"(block("human").value contains "ann")",  // Case is folded, in ASCII.
      R"(block("block-human").value contains "Ann)"
      "\xC3\xA4\"",
      R"(blocks.value = "Kind \"and\" patient")",
      R"(block("persona").value contains '"and"')",
      R"(block("human") exists)",
      R"(not block("cat") exists)",
      R"(not agent exists)",
      R"(messages.count = 3)",
      R"(message.count >= 3 and messages.count <= 3 and messages.count != 4)",
      R"(context.count < 3)",
      R"(messages("user").count = 2)",
      R"(context("user").count > 0 and not context("user").count > 1)",
      R"(message("message-1").in_context = false)",
      R"(message("message-2").in_context != false)",
      R"(block("human").description = null)",
      R"(block("persona").description != null)",
      R"(block("human").description != "who")",  // Null is unequal to every text.
      R"(block.read_only = true)",
      R"(block("human").limit > 4999)",
      R"(block("human").created_at < "2026-11-26")",
      R"(block("human").updated_at = 9)",
      R"(event.type = "BlockUpdated")",
      R"(event.type contains "block")",
      R"(event.offset > -1)",
      R"(event.time >= "2026-11-23T06:43" and event.time < "2026-11-23T06:44")",
      R"(event.run = null)",
      R"(tools.count = 0)",
      "agent exists or\n\t messages.count = 3",
      // `and` binds closer than `or`, `not` closer than both.
      R"(messages.count = 3 or agent exists and agent exists)",
      R"(not (messages.count = 3 and agent exists))",
      R"(not agent exists and messages.count = 3)",
      R"(not not messages.count = 3)",
      R"(((messages.count = 3)))",
      // A condition holds if it holds for one row; so do both of these.
      R"(block.value contains "Ann" and block.value != "Ann")",
  };
  for (const std::string& text : true_ones) {
    EXPECT_TRUE(holds(text, world)) << text;
    EXPECT_FALSE(holds("not (" + text + ")", world)) << text;
  }
}

TEST(ExpressionTest, NothingIsAskedThatDoesNotMatterAnyMore) {
  World world;
  EXPECT_TRUE(holds(R"(block exists or agent exists or tool exists)", world));
  EXPECT_EQ(1, world.asked);
  EXPECT_FALSE(holds(R"(agent exists and block exists)", world));
  EXPECT_EQ(2, world.asked);
}

// `^` in the second line marks the character that the error must point at.
struct Refused {
  std::string text;
  std::string caret;
  std::string expected;  // In the message.
};

TEST(ExpressionTest, PointsAtWhatIsWrong) {
  const std::vector<Refused> table = {
      {"", "^", "expected a condition"},
      {"agent", "     ^", "'exists'"},
      {"agents exist", "       ^", "expected '.' and a column, 'exists'"},
      {"agnt exists", "^", "expected one of event, agent, block"},
      {"agent exists and", "                ^", "expected a condition"},
      {"agent exists agent exists", "             ^", "expected 'and', 'or' or the end"},
      {"agent exists AND tool exists", "             ^", "expected 'and', 'or'"},
      {"(agent exists", "^", "never closed"},
      {"(agent exists block exists)", "              ^", "')'"},
      {"agent exists)", "            ^", "the end"},
      {R"(block("human").valu = "x")", "               ^", "expected a column: count, id, label, value"},
      {R"(block("human") = "x")", "               ^", "'exists'"},
      {R"(block(human).value = "x")", "      ^", "expected an id or a label in quotes"},
      {R"(block("human".value = "x")", "             ^", "expected ')'"},
      {R"(block("human).value = 1)", "      ^", "has no end"},
      {R"(block.value = 1)", "              ^", "expected a text in quotes after '='"},
      {R"(block.value < "x")", "            ^", "is a text"},
      {R"(block.value == "x")", "            ^", "written with one ="},
      {R"(block.value containz "x")", "            ^", "expected = != < <= > >= or contains"},
      {R"(block.value contains null)", "                     ^", "'value' is never null"},
      {R"(block.description contains null)", "                           ^", "null is compared with"},
      {R"(block.value = null)", "              ^", "never null"},
      {R"(messages.count < "three")", "                 ^", "expected a number after '<'"},
      {R"(messages.count contains 3)", "               ^", "is no text"},
      {R"(messages.count = 3.5)", "                  ^", "numbers are whole"},
      {R"(messages.count = 99999999999999999999)", "                 ^", "64 bits"},
      {R"(block.read_only = 1)", "                  ^", "true or false"},
      {R"(block.read_only > true)", "                ^", "is true or false"},
      {R"(block.created_at > "soon")", "                   ^", "expected a time"},
      {R"(event.kind = "x")", "      ^", "expected a field of the event: type, stream"},
      {R"(event exists)", "      ^", "expected '.' after 'event'"},
      {R"(block.value = "a\tb")", "                ^", "no other"},
      {R"(block.value ~ "a")", "            ^", "nothing begins with this character"},
      {"not", "   ^", "expected a condition"},
      // The caret counts characters, not bytes.
      {"block.value = \"\xC3\xA4\xC3\xB6\" x", "                   ^", "the end"},
      {"agent exists\nand x", "                 ^", "expected one of"},
  };
  for (const Refused& refused : table) {
    const auto parsed = Expression::parse(refused.text, Expression::Asks::states_and_event);
    ASSERT_FALSE(parsed.has_value()) << refused.text;
    const std::string& message = parsed.error().message;
    EXPECT_EQ(Errc::invalid_argument, parsed.error().code);
    const std::size_t line = message.rfind("\n  ");
    ASSERT_NE(std::string::npos, line) << message;
    EXPECT_EQ(refused.caret, message.substr(line + 3)) << message;
    EXPECT_NE(std::string::npos, message.find(refused.expected)) << message;
  }
}

TEST(ExpressionTest, AStateHasNoEvent) {
  const auto parsed =
      Expression::parse(R"(agent exists and event.type = "X")", Expression::Asks::states_only);
  ASSERT_FALSE(parsed.has_value());
  EXPECT_EQ(
      "'event' is what a replay stands at; here a state is asked, so name rows\n"
      "  agent exists and event.type = \"X\"\n"
      "                   ^",
      parsed.error().message);
}

TEST(ExpressionTest, IsBoundedInLengthDepthAndConditions) {
  const auto parse = [](const std::string& text) {
    return Expression::parse(text, Expression::Asks::states_only);
  };
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '(') + "agent exists" + std::string(depth, ')');
  };
  EXPECT_TRUE(parse(nested(kExpressionDepthMax - 1)));
  const auto deep = parse(nested(kExpressionDepthMax));
  ASSERT_FALSE(deep.has_value());
  EXPECT_NE(std::string::npos, deep.error().message.find("32 levels")) << deep.error().message;
  std::string nots;
  for (std::size_t i = 0; i < kExpressionBytesMax / 4 - 8; ++i) nots += "not ";
  EXPECT_FALSE(parse(nots + "agent exists"));

  std::string many = "agent exists";
  for (std::size_t i = 1; i < kExpressionConditionsMax; ++i) many += " or agent exists";
  EXPECT_TRUE(parse(many));
  EXPECT_FALSE(parse(many + " or agent exists"));

  const std::string start = "agent.name = \"";
  const std::string longest = start + std::string(kExpressionBytesMax - start.size() - 1, 'x') + "\"";
  EXPECT_TRUE(parse(longest));
  const auto longer = parse(longest + " ");
  ASSERT_FALSE(longer.has_value());
  EXPECT_EQ("an expression has 4096 bytes at most", longer.error().message);
}

// Whatever the bytes are: an answer, no crash.
TEST(ExpressionTest, EveryTextIsAcceptedOrRefused) {
  const std::vector<std::string> words = {"block", "(",    ")",    "\"human\"", ".",     "value",  "contains",
                                          "and",   "or",   "not",  "=",         "count", "exists", "3",
                                          "event", "type", "null", "\xff",      "<=",    "'"};
  std::uint64_t state = 1;
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    const std::uint64_t length = static_cast<std::uint64_t>(round) % 9;
    for (std::uint64_t i = 0; i < length; ++i) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      text += words[(state >> 33U) % words.size()] + " ";
    }
    const auto parsed = Expression::parse(text, Expression::Asks::states_and_event);
    if (!parsed) continue;
    ++accepted;
    World world;
    EXPECT_TRUE(parsed->holds(world).has_value()) << text;
  }
  EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace varve
