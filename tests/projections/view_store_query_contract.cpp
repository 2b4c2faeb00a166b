// Queries, as every ViewStore must answer them: a part of the exam in view_store_contract.h.
#include "tests/projections/view_store_contract.h"

#include <algorithm>
#include <limits>

namespace varve::test {

TEST_P(ViewStoreContract, PagesThroughTheMessagesOfAnAgent) {
  std::vector<RowChange> changes;
  for (int i = 0; i < 10; ++i) {
    const std::string name = std::to_string(i);
    changes.emplace_back(message("m" + name, "a1", at(1 + static_cast<std::uint64_t>(i) / 3, i % 3)));
    changes.emplace_back(message("x" + name, "a2", at(1 + static_cast<std::uint64_t>(i) / 3, i % 3 + 5)));
  }
  ASSERT_EQ(commit(std::move(changes)), "committed");
  ASSERT_EQ(commit({close(View::messages, {text("m4")}, 9)}),
            "committed");  // It left the context, not the history.

  Query query{.view = View::messages,
              .where = {equal(messages::agent_id, text("a1"))},
              .open_only = false,
              .order_by = {kFromOffset, kFromOrdinal},
              .limit = 4};
  EXPECT_EQ(ids(query), "m0 m1 m2 m3");
  query.descending = true;
  EXPECT_EQ(ids(query), "m9 m8 m7 m6");
  query.below = std::vector<Value>{number(3), number(0)};  // m6 itself is not asked for again.
  EXPECT_EQ(ids(query), "m5 m4 m3 m2");
  query.above = std::vector<Value>{number(2), number(0)};
  EXPECT_EQ(ids(query), "m5 m4");
  query.descending = false;
  query.below.reset();
  EXPECT_EQ(ids(query), "m4 m5 m6 m7");
  query.limit = 0;
  EXPECT_EQ(ids(query), "");
  EXPECT_EQ(count(query), 10);
  query.open_only = true;
  EXPECT_EQ(count(query), 9);
}

TEST_P(ViewStoreContract, OrdersOpenAgentsByCreation) {
  ASSERT_EQ(commit({agent("a3", "c", 5, at(1)), agent("a1", "a", 9, at(2)), agent("a2", "b", 5, at(3)),
                    agent("a4", "gone", 1, at(4)), close(View::agents, {text("a4")}, 5)}),
            "committed");
  Query query{.view = View::agents,
              .order_by = {static_cast<int>(agents::created_at), static_cast<int>(agents::id)}};
  EXPECT_EQ(ids(query), "a2 a3 a1");
  query.above = std::vector<Value>{number(5), text("a2")};
  EXPECT_EQ(ids(query), "a3 a1");
  query.above.reset();
  query.below = std::vector<Value>{number(9), text("a1")};
  query.descending = true;
  EXPECT_EQ(ids(query), "a3 a2");
}

TEST_P(ViewStoreContract, TiesAreOrderedByPartitionAndPosition) {
  ASSERT_EQ(commit({agent("a1", "same", 1, at(5, 0, 1))}, 1), "committed");
  ASSERT_EQ(commit({agent("a2", "same", 1, at(9)), agent("a4", "same", 1, at(4, 2)),
                    agent("a3", "same", 1, at(4, 1))}),
            "committed");
  Query query{.view = View::agents, .order_by = {static_cast<int>(agents::name)}};
  EXPECT_EQ(ids(query), "a3 a4 a2 a1");
  query.descending = true;
  EXPECT_EQ(ids(query), "a1 a2 a4 a3");
  query.order_by.clear();
  EXPECT_EQ(ids(query), "a1 a2 a4 a3");
}

TEST_P(ViewStoreContract, OrdersTextByBytes) {
  std::vector<RowChange> changes;
  std::uint64_t offset = 0;
  for (const char* id : {"b", "a", "B", "ä", "a ", "😀", "_", "10", "9"})
    changes.emplace_back(agent(id, "", 0, at(++offset)));
  ASSERT_EQ(commit(std::move(changes)), "committed");
  EXPECT_EQ(ids({.view = View::agents, .order_by = {static_cast<int>(agents::id)}}), "10 9 B _ a a  b ä 😀");
}

TEST_P(ViewStoreContract, FiltersByEqualAndOneOf) {
  ASSERT_EQ(commit({agent("a1", "x", 1, at(1)), agent("a2", "y", 2, at(2)), agent("a3", "x", 3, at(3)),
                    agent("a4", "X", 4, at(4))}),
            "committed");
  const auto where = [](std::vector<Filter> filters) {
    return Query{.view = View::agents, .where = std::move(filters), .order_by = {0}};
  };
  const int id = static_cast<int>(agents::id);
  EXPECT_EQ(ids(where({equal(agents::name, text("x"))})), "a1 a3");
  EXPECT_EQ(ids(where({equal(agents::name, text("x")), equal(agents::created_at, number(3))})), "a3");
  EXPECT_EQ(ids(where({equal(kFromOffset, number(2))})), "a2");
  EXPECT_EQ(ids(where({equal(kFromSequence, number(2))})), "a1");
  EXPECT_EQ(ids(where({equal(kFromPartition, number(1))})), "");
  EXPECT_EQ(
      ids(where({{id, Filter::Op::one_of, {text("a4"), text("a2"), text("a9"), text("a2"), text("a4")}}})),
      "a2 a4");
  EXPECT_EQ(ids(where({{id, Filter::Op::one_of, {}}})), "");
  EXPECT_EQ(count(where({{id, Filter::Op::one_of, {text("a4")}}})), 1);
  EXPECT_EQ(ids(where({{static_cast<int>(agents::created_at), Filter::Op::at_most, {number(2)}}})), "a1 a2");
  EXPECT_EQ(ids(where({{kFromOffset, Filter::Op::at_most, {number(3)}}, equal(agents::name, text("x"))})),
            "a1 a3");
}

TEST_P(ViewStoreContract, ContainsFoldsAsciiOnly) {
  ASSERT_EQ(commit({agent("a1", "The Ägent", 1, at(1)), agent("a2", "the ägent", 1, at(2)),
                    agent("a3", "100%_sure", 1, at(3)), agent("a4", "", 1, at(4))}),
            "committed");
  const auto named = [this](const char* part) {
    Filter filter{static_cast<int>(agents::name), Filter::Op::contains, {text(part)}};
    return ids({.view = View::agents, .where = {filter}, .order_by = {0}});
  };
  EXPECT_EQ(named("THE"), "a1 a2");
  EXPECT_EQ(named("Äg"), "a1");
  EXPECT_EQ(named("äG"), "a2");
  EXPECT_EQ(named("%"), "a3");
  EXPECT_EQ(named("0_"), "");
  EXPECT_EQ(named("%_S"), "a3");
  EXPECT_EQ(named(""), "a1 a2 a3 a4");
}

TEST_P(ViewStoreContract, NullIsNothingButNull) {
  const auto with_run = [](const char* id, Value run, std::uint64_t offset) {
    RowInsert row = message(id, "a1", at(offset));
    row.row.values[messages::run_id] = std::move(run);
    return row;
  };
  ASSERT_EQ(commit({with_run("m1", {}, 1), with_run("m2", text(""), 2), with_run("m3", text("r"), 3),
                    with_run("m4", {}, 4)}),
            "committed");
  const int run = static_cast<int>(messages::run_id);
  const auto where = [](Filter filter) {
    return Query{.view = View::messages, .where = {std::move(filter)}, .order_by = {0}};
  };
  EXPECT_EQ(ids(where(equal(run, {}))), "m1 m4");
  EXPECT_EQ(ids(where(equal(run, text("")))), "m2");
  EXPECT_EQ(ids(where({run, Filter::Op::one_of, {Value{}, text("r")}})), "m1 m3 m4");
  EXPECT_EQ(ids(where({run, Filter::Op::one_of, {Value{}}})), "m1 m4");
  EXPECT_EQ(ids(where({run, Filter::Op::contains, {text("")}})), "m2 m3");
  EXPECT_EQ(ids(where(equal(messages::id, {}))), "");

  // Null comes first; a bound may be null too.
  Query query{.view = View::messages, .order_by = {run, 0}};
  EXPECT_EQ(ids(query), "m1 m4 m2 m3");
  query.above = std::vector<Value>{Value{}, text("m1")};
  EXPECT_EQ(ids(query), "m4 m2 m3");
  query.above = std::vector<Value>{Value{}, text("m4")};
  EXPECT_EQ(ids(query), "m2 m3");
  query.below = std::vector<Value>{text("r"), text("m3")};
  EXPECT_EQ(ids(query), "m2");
  query.above.reset();
  query.descending = true;
  EXPECT_EQ(ids(query), "m2 m4 m1");
  query.below = std::vector<Value>{Value{}, text("m4")};
  EXPECT_EQ(ids(query), "m1");
}

TEST_P(ViewStoreContract, NullIsNotAtMostAnything) {
  RowInsert done = {View::runs, blank(View::runs, at(1))};
  done.row.values[runs::id] = text("r1");
  RowInsert open = {View::runs, blank(View::runs, at(2))};
  open.row.values[runs::id] = text("r2");
  done.row.values[runs::completed_at] = number(5);
  ASSERT_EQ(commit({done, open}), "committed");
  const auto completed_by = [](std::int64_t time) {
    Filter filter{static_cast<int>(runs::completed_at), Filter::Op::at_most, {number(time)}};
    return Query{.view = View::runs, .where = {filter}};
  };
  EXPECT_EQ(ids(completed_by(5)), "r1");
  EXPECT_EQ(ids(completed_by(4)), "");
}

TEST_P(ViewStoreContract, RefusesQueriesThatMeanNothing) {
  const auto refusal = [this](Query query) { return ids(std::move(query)).substr(0, 16); };
  EXPECT_EQ(refusal({.view = View::tags, .where = {equal(2, text("x"))}}), "invalid_argument");
  EXPECT_EQ(refusal({.view = View::tags, .where = {equal(-5, number(1))}}), "invalid_argument");
  EXPECT_EQ(refusal({.view = View::tags, .where = {equal(0, number(1))}}), "invalid_argument");
  EXPECT_EQ(refusal({.view = View::tags, .where = {{0, Filter::Op::equal, {}}}}), "invalid_argument");
  EXPECT_EQ(refusal({.view = View::tags, .where = {{0, Filter::Op::at_most, {text("x")}}}}),
            "invalid_argument");
  EXPECT_EQ(refusal({.view = View::tags, .where = {{0, Filter::Op::contains, {Value{}}}}}),
            "invalid_argument");
  EXPECT_EQ(refusal({.view = View::tags, .order_by = {7}}), "invalid_argument");
  EXPECT_EQ(refusal({.view = View::tags, .order_by = {0}, .above = std::vector<Value>{}}),
            "invalid_argument");
  EXPECT_EQ(refusal({.view = View::tags, .order_by = {0}, .below = std::vector<Value>{number(1)}}),
            "invalid_argument");
  EXPECT_EQ(refusal({.view = View::tags, .limit = kRowsPerQueryMax + 1}), "invalid_argument");
}

TEST_P(ViewStoreContract, KeepsAnyText) {
  std::string large(std::size_t{1} << 20U, 'x');
  large += "\xf0\x9f\x98\x80";
  const std::vector<std::string> texts{"it's \"quoted\" \\ ; DROP TABLE messages; --",
                                       "😀 e\u0301 \u200b",
                                       "\n\t\r\x01",
                                       "",
                                       " ",
                                       "0123",
                                       "1e5",
                                       "null",
                                       large};
  std::vector<RowChange> changes;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    RowInsert row = message("m" + std::to_string(i), "a1", at(i));
    row.row.values[messages::content] = text(texts[i]);
    changes.emplace_back(std::move(row));
  }
  ASSERT_EQ(commit(std::move(changes)), "committed");
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto rows = select({.view = View::messages, .where = {equal(messages::content, text(texts[i]))}});
    ASSERT_TRUE(rows);
    ASSERT_EQ(rows->size(), 1U) << i;
    EXPECT_EQ(rows->front().text(messages::id), "m" + std::to_string(i));
    EXPECT_TRUE(rows->front().text(messages::content) == texts[i]) << i;
  }
}

}  // namespace varve::test
