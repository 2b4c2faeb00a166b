// The questions about message search that every ViewStore answers.
#include "tests/projections/view_store_search_contract.h"

#include <algorithm>

#include "projections/search_terms.h"

namespace varve::test {
TEST_P(MessageSearchContract, FindsMessagesThatHoldAllWords) {
  say({{"m1", "The quick brown fox"},
       {"m2", "a QUICK reply"},
       {"m3", "brown, quick; done"},
       {"m4", "quickly"}});
  EXPECT_EQ(found("quick"), "m3 m2 m1");
  EXPECT_EQ(found("Quick BROWN"), "m3 m1");
  EXPECT_EQ(found("brown quick the"), "m1");
  EXPECT_EQ(found("qui"), "");
  EXPECT_EQ(found("quick nowhere"), "");
}

TEST_P(MessageSearchContract, APhraseIsWordsInSequence) {
  say({{"m1", "quick brown fox"},
       {"m2", "brown quick fox"},
       {"m3", "quick, brown"},
       {"m4", "quick big brown"}});
  EXPECT_EQ(found("\"quick brown\""), "m3 m1");
  EXPECT_EQ(found("\"quick brown\" fox"), "m1");
  EXPECT_EQ(found("\"quick brown\" \"brown fox\""), "m1");
  EXPECT_EQ(found("\"uick brown\""), "");
  EXPECT_EQ(found("\"quick brown"), "m4 m3 m2 m1");
  EXPECT_EQ(found("quick\" brown"), "m4 m3 m2 m1");
}

TEST_P(MessageSearchContract, WithoutWordsNothingIsFound) {
  say({{"m1", "hello"}, {"m2", ""}});
  for (const char* query : {"", " ", "\"", "\"\"", "*", "-", "?!", "\u2014"})
    EXPECT_EQ(found(query), "") << query;
}

TEST_P(MessageSearchContract, NothingInAQueryIsAnOperator) {
  say({{"m1", "salt and pepper"},
       {"m2", "salt"},
       {"m3", "near the sea, not far or wide"},
       {"m4", "words agent"}});
  EXPECT_EQ(found("salt AND pepper"), "m1");
  EXPECT_EQ(found("salt OR pepper"), "");
  EXPECT_EQ(found("salt NOT pepper"), "");
  EXPECT_EQ(found("NEAR(the sea, 10)"), "");
  EXPECT_EQ(found("NEAR(the sea)"), "m3");
  EXPECT_EQ(found("sal*"), "");
  EXPECT_EQ(found("salt*"), "m2 m1");
  EXPECT_EQ(found("^pepper"), "m1");
  EXPECT_EQ(found("salt -pepper"), "m1");
  EXPECT_EQ(found("{words agent} : words"), "m4");
  EXPECT_EQ(found("agent:a1"), "");
  EXPECT_EQ(found("a1"), "");
  EXPECT_EQ(found("salt'); DROP TABLE messages; --"), "");
  EXPECT_EQ(found("sa\\lt"), "");
  EXPECT_EQ(found("%"), "");
}

TEST_P(MessageSearchContract, BeyondAsciiBytesAreCompared) {
  say({{"m1", "Größe über alles"},
       {"m2", "Grosse ober"},
       {"m3", "GRÖSSE"},
       {"m4", "caf\xc3\xa9"},
       {"m5", "cafe\xcc\x81 cafe"},
       {"m6", "привет мир"},
       {"m7", "😀 fine"},
       {"m8", "日本語"},
       {"m9", "memory\u2014like \u201cthis\u201d"}});
  EXPECT_EQ(found("größe"), "m1");
  EXPECT_EQ(found("GRößE"), "m1");
  EXPECT_EQ(found("grÖße"), "");
  EXPECT_EQ(found("grosse"), "m2");
  EXPECT_EQ(found("caf\xc3\xa9"), "m4");
  EXPECT_EQ(found("cafe\xcc\x81"), "m5");
  EXPECT_EQ(found("cafe"), "m5");
  EXPECT_EQ(found("\"привет мир\""), "m6");
  EXPECT_EQ(found("Привет"), "");
  EXPECT_EQ(found("😀"), "m7");
  EXPECT_EQ(found("日本語"), "m8");
  EXPECT_EQ(found("日本"), "");
  EXPECT_EQ(found("memory"), "m9");
  EXPECT_EQ(found("\"like this\""), "m9");
}

TEST_P(MessageSearchContract, LongWordsAreFoundByTheirBeginning) {
  const std::string limit(kSearchWordBytesMax, 'x');
  say({{"m1", limit + "yes"}, {"m2", limit}, {"m3", limit.substr(1)}});
  EXPECT_EQ(found(limit + "no"), "m2 m1");
  EXPECT_EQ(found(limit.substr(1)), "m3");
}

TEST_P(MessageSearchContract, WordsBeyondTheLimitOfAMessageAreNotFound) {
  std::string long_text;
  for (std::size_t i = 1; i < kSearchWordsPerMessageMax; ++i) long_text += "w ";
  say({{"m1", long_text + "inside"}, {"m2", long_text + "w outside"}});
  EXPECT_EQ(found("inside"), "m1");
  EXPECT_EQ(found("outside"), "");
}

TEST_P(MessageSearchContract, FindsTheTextPartsOfAContent) {
  RowInsert parts = said({"m1", ""}, at(1));
  parts.row.values[messages::content] = text(
      R"([{"type":"text","text":"look at "},{"type":"image","source":{"url":"secret"}},{"type":"text","text":"this"}])");
  RowInsert neither = said({"m2", ""}, at(2));
  neither.row.values[messages::content] = text("look");
  ASSERT_EQ(commit({parts, neither}), "committed");
  EXPECT_EQ(found("\"look at this\""), "m1");
  EXPECT_EQ(found("secret"), "");
  EXPECT_EQ(found("look"), "m1");
}

TEST_P(MessageSearchContract, FiltersByAgentAndRole) {
  say({{"m1", "tea", "user"},
       {"m2", "tea", "assistant"},
       {"m3", "tea", "tool"},
       {"m4", "tea", "system"},
       {"m5", "tea", "summary"},
       {"m6", "tea", "approval"},
       {"m7", "tea", "user", "a2"}});
  EXPECT_EQ(found("tea"), "m7 m3 m2 m1");
  EXPECT_EQ(found({.query = "tea", .agent_id = "a1"}), "m3 m2 m1");
  EXPECT_EQ(found({.query = "tea", .agent_id = "a2"}), "m7");
  EXPECT_EQ(found({.query = "tea", .agent_id = "A1"}), "");
  EXPECT_EQ(found({.query = "tea", .agent_id = "a-1"}), "");
  EXPECT_EQ(found({.query = "tea", .agent_id = "a"}), "");
  EXPECT_EQ(found({.query = "tea", .agent_id = ""}), "");
  EXPECT_EQ(found({.query = "tea", .agent_id = "\" OR \""}), "");
  EXPECT_EQ(found({.query = "tea", .roles = {"user"}}), "m7 m1");
  EXPECT_EQ(found({.query = "tea", .agent_id = "a1", .roles = {"tool", "assistant"}}), "m3 m2");
  EXPECT_EQ(found({.query = "tea", .roles = {"system", "nobody"}}), "");
}

TEST_P(MessageSearchContract, AgentsWhoseIdsLookAlikeAreToldApart) {
  std::vector<RowChange> changes;
  std::uint64_t offset = 0;
  for (const char* id : {"agent-1", "Agent-1", "agent1", "agent-1-2", "-", "--"}) {
    changes.emplace_back(agent(id, "", 1, at(++offset)));
    changes.emplace_back(said({"m" + std::to_string(offset), "tea", "user", id}, at(offset, 1)));
  }
  ASSERT_EQ(commit(std::move(changes)), "committed");
  EXPECT_EQ(found("tea"), "m6 m5 m4 m3 m2 m1");
  EXPECT_EQ(found({.query = "tea", .agent_id = "agent-1"}), "m1");
  EXPECT_EQ(found({.query = "tea", .agent_id = "Agent-1"}), "m2");
  EXPECT_EQ(found({.query = "tea", .agent_id = "agent1"}), "m3");
  EXPECT_EQ(found({.query = "tea", .agent_id = "agent-1-2"}), "m4");
  EXPECT_EQ(found({.query = "tea", .agent_id = "--"}), "m6");
}

TEST_P(MessageSearchContract, OnlyAgentsThatAreThereAndWholeAreSearched) {
  say({{"m1", "tea"}, {"m2", "tea", "user", "a2"}, {"m3", "tea", "user", "never"}});
  EXPECT_EQ(found("tea"), "m2 m1");
  ASSERT_EQ(commit({close(View::agents, {text("a2")}, 5)}), "committed");
  EXPECT_EQ(found("tea"), "m1");
  EXPECT_EQ(found({.query = "tea", .agent_id = "a2"}), "");

  RowInsert importing = agent("a2", "again", 1, at(6));
  importing.row.values[agents::importing] = number(1);
  ASSERT_EQ(commit({importing}), "committed");
  EXPECT_EQ(found("tea"), "m1");
  ASSERT_EQ(commit({close(View::agents, {text("a2")}, 7), agent("a2", "again", 1, at(7))}), "committed");
  EXPECT_EQ(found("tea"), "m2 m1");
}

TEST_P(MessageSearchContract, FiltersByTimeOfCreationBothEndsIncluded) {
  say({{"m1", "tea"}, {"m2", "tea"}, {"m3", "tea"}});  // At 1, 2 and 3 seconds.
  EXPECT_EQ(found({.query = "tea", .start_at = 2'000'000}), "m3 m2");
  EXPECT_EQ(found({.query = "tea", .start_at = 2'000'001}), "m3");
  EXPECT_EQ(found({.query = "tea", .end_at = 2'000'000}), "m2 m1");
  EXPECT_EQ(found({.query = "tea", .end_at = 1'999'999}), "m1");
  EXPECT_EQ(found({.query = "tea", .start_at = 2'000'000, .end_at = 2'000'000}), "m2");
  EXPECT_EQ(found({.query = "tea", .start_at = 3'000'000, .end_at = 1'000'000}), "");
  EXPECT_EQ(found({.query = "tea", .start_at = -1}), "m3 m2 m1");

  RowInsert imported = said({"m4", "tea"}, at(4));  // Sent long before it came.
  imported.row.values[messages::created_at] = number(-5);
  ASSERT_EQ(commit({imported}), "committed");
  EXPECT_EQ(found({.query = "tea", .end_at = 1'000'000}), "m4 m1");
}

TEST_P(MessageSearchContract, NewestFirstWhateverTheOrderOfTheInserts) {
  RowInsert late = said({"m1", "tea"}, at(1));
  late.row.from.at = WallTime{99};
  RowInsert early = said({"m2", "tea"}, at(7));
  early.row.from.at = WallTime{5};
  ASSERT_EQ(commit({early, said({"m4", "tea"}, at(8, 3)), said({"m3", "tea"}, at(8, 2)), late}), "committed");
  RowInsert same_place = said({"m6", "tea"}, at(8, 3, 1));
  ASSERT_EQ(commit({said({"m5", "tea"}, at(9, 0, 1)), same_place}, 1), "committed");
  EXPECT_EQ(found("tea"), "m5 m6 m4 m3 m1 m2");
  EXPECT_EQ(found({.query = "tea", .limit = 4}), "m5 m6 m4 m3");
}

TEST_P(MessageSearchContract, LimitsWhatIsFoundAndAsked) {
  std::vector<Said> all;
  for (std::size_t i = 0; i <= kSearchHitsMax; ++i) all.push_back({"m" + std::to_string(i), "tea"});
  say(all);
  EXPECT_EQ(found({.query = "tea", .limit = 0}), "");
  EXPECT_EQ(found({.query = "tea", .limit = 3}), "m100 m99 m98");
  const std::string most = found({.query = "tea", .limit = kSearchHitsMax});
  EXPECT_EQ(std::count(most.begin(), most.end(), ' '), static_cast<std::ptrdiff_t>(kSearchHitsMax) - 1);
  EXPECT_EQ(found({.query = "tea", .limit = kSearchHitsMax + 1}),
            "invalid_argument: a search finds at most 100 messages at once");
  const std::vector<std::string> roles(kSearchRolesMax + 1, "user");
  EXPECT_EQ(found({.query = "tea", .roles = roles}), "invalid_argument: a search names at most 8 roles");
  const std::vector<std::string> most_roles(kSearchRolesMax, "user");
  EXPECT_EQ(found({.query = "tea", .roles = most_roles, .limit = 1}), "m100");
}

TEST_P(MessageSearchContract, OnlyTheFirstWordsOfAQueryAreAsked) {
  say({{"m1", "tea"}});
  std::string query;
  for (std::size_t i = 0; i < kSearchWordsPerQueryMax; ++i) query += "tea ";
  EXPECT_EQ(found(query + "nowhere"), "m1");
  EXPECT_EQ(found(query.substr(4) + "nowhere"), "");
  EXPECT_EQ(found("\"" + query + "\""), "");
}

TEST_P(MessageSearchContract, AMessageThatLeftTheContextIsFoundAndOfVersionsTheNewest) {
  say({{"m1", "green tea"}, {"m2", "green tea"}});
  ASSERT_EQ(commit({close(View::messages, {text("m1")}, 5)}), "committed");
  EXPECT_EQ(found("tea"), "m2 m1");
  ASSERT_EQ(commit({close(View::messages, {text("m2")}, 6), said({"m2", "green coffee"}, at(6))}),
            "committed");
  EXPECT_EQ(found("tea"), "m1");
  EXPECT_EQ(found("green"), "m2 m1");
  ASSERT_EQ(commit({close(View::messages, {text("m2")}, 7)}), "committed");
  EXPECT_EQ(found("coffee"), "m2");
}

TEST_P(MessageSearchContract, AHitIsTheWholeRow) {
  RowInsert row = said({"m1", "tea"}, at(1, 2));
  row.row.values[messages::run_id] = text("run-1");
  ASSERT_EQ(commit({row}), "committed");
  auto hits = std::make_shared<std::vector<SearchHit>>();
  ASSERT_TRUE(read([hits](ViewReader& reader) -> Status {
    *hits = *reader.search_messages({.query = "tea"});
    return ok();
  }));
  ASSERT_EQ(hits->size(), 1U);
  EXPECT_EQ(hits->front().row, row.row);
}

// A batch that fails, alone or beside others, leaves no words behind.
TEST_P(MessageSearchContract, WhatWasNotCommittedIsNotFound) {
  EXPECT_EQ(
      commit({said({"m1", "tea"}, at(1)), close(View::tags, {text("no"), text("such")}, 1)}).substr(0, 7),
      "corrupt");
  EXPECT_EQ(found("tea"), "");
  ASSERT_EQ(commit({said({"m1", "coffee"}, at(1))}), "committed");
  EXPECT_EQ(found("tea"), "");
  EXPECT_EQ(found("coffee"), "m1");

  std::vector<Batch> batches;
  for (std::uint32_t partition = 1; partition < 9; ++partition) {
    const std::string id = "p" + std::to_string(partition);
    batches.push_back(batch_of(partition, 0, {said({id, "tea " + id}, at(partition, 0, partition))}));
    if (partition % 3 == 0) batches.back().expected_version = 7;
    if (partition % 3 == 0) batches.back().checkpoint.version = 8;
    if (partition % 4 == 0)
      batches.back().changes.emplace_back(close(View::tags, {text("no"), text("such")}, 9));
  }
  ASSERT_TRUE(run(*env_, commit_together(env_.get(), store_.get(), std::move(batches))));
  EXPECT_EQ(found("tea"), "p7 p5 p2 p1");
  EXPECT_EQ(found("p2"), "p2");
  EXPECT_EQ(found("p4"), "");
}

TEST_P(MessageSearchContract, ReopeningKeepsTheWords) {
  say({{"m1", "green tea"}});
  restart();
  EXPECT_EQ(found("\"green tea\""), "m1");
  ASSERT_EQ(commit({said({"m2", "black tea"}, at(2))}), "committed");
  EXPECT_EQ(found({.query = "tea", .agent_id = "a1"}), "m2 m1");
}

}  // namespace varve::test
