// The questions of the exam that every EventLog takes.
#include "tests/eventlog/event_log_contract.h"

namespace varve::test {

TEST_P(EventLogContract, ANewLogIsEmpty) {
  EXPECT_EQ(4U, log_->partitions());
  EXPECT_EQ(Offset{}, end(kHere));
  EXPECT_EQ("", read(kHere, Offset{}));
}

TEST_P(EventLogContract, ReadsBackWhatWasAppendedInOrder) {
  const Offset a = write(kHere, "a");
  const Offset b = write(kHere, "b");
  const Offset c = write(kHere, "c");
  EXPECT_LT(a, b);
  EXPECT_LT(b, c);
  EXPECT_LT(c, end(kHere));
  EXPECT_EQ("a b c", read_all(kHere));
}

TEST_P(EventLogContract, EveryRecordLiesAtTheOffsetThatWasReported) {
  std::vector<Offset> reported;
  for (int i = 0; i < 20; ++i) reported.push_back(write(kHere, std::to_string(i)));
  const auto records = run(*env_, read_to_end(log_.get(), kHere, Offset{}));
  ASSERT_TRUE(records);
  std::vector<Offset> found;
  for (const LogRecord& record : *records) found.push_back(record.offset);
  EXPECT_EQ(reported, found);
}

TEST_P(EventLogContract, BytesComeBackAsTheyWere) {
  std::string bytes("\0\xff\n{}", 5);
  bytes += std::string(100'000, 'x');
  write(kHere, bytes);
  write(kHere, "");
  const auto records = run(*env_, read_to_end(log_.get(), kHere, Offset{}));
  ASSERT_TRUE(records);
  ASSERT_EQ(2U, records->size());
  EXPECT_TRUE(bytes == *(*records)[0].bytes);
  EXPECT_EQ("", *(*records)[1].bytes);
}

TEST_P(EventLogContract, PartitionsKnowNothingOfEachOther) {
  write(kHere, "a");
  write(kThere, "x");
  write(kHere, "b");
  EXPECT_EQ("a b", read_all(kHere));
  EXPECT_EQ("x", read_all(kThere));
  EXPECT_EQ("", read_all(Partition{0}));
  EXPECT_EQ(Offset{}, end(Partition{3}));
}

TEST_P(EventLogContract, RefusesAPartitionThatItDoesNotHave) {
  const auto delivery = log_->append(Partition{4}, "", "a");
  ASSERT_FALSE(delivery);
  EXPECT_EQ(Errc::invalid_argument, delivery.error().code);
  EXPECT_EQ("invalid_argument", read(Partition{4}, Offset{}));
}

TEST_P(EventLogContract, ReadsFromTheMiddleAndSaysWhereToGoOn) {
  write(kHere, "a");
  const Offset b = write(kHere, "b");
  const Offset c = write(kHere, "c");
  EXPECT_EQ("b c", read(kHere, b));
  const auto batch = run(*env_, read_once(log_.get(), kHere, b, ReadOptions{.records_max = 1}));
  ASSERT_TRUE(batch);
  EXPECT_EQ("b", text_of(batch->records));
  EXPECT_LT(b, batch->next);
  EXPECT_LE(batch->next, c);
  EXPECT_EQ("c", read(kHere, batch->next));
}

TEST_P(EventLogContract, AReadStopsAtItsLimitsButGivesOneRecord) {
  for (const char* bytes : {"aaaa", "bbbb", "cccc", "dddd"}) write(kHere, bytes);
  EXPECT_EQ("aaaa bbbb", read(kHere, Offset{}, {.records_max = 2}));
  EXPECT_EQ("aaaa", read(kHere, Offset{}, {.bytes_max = 4}));
  EXPECT_EQ("aaaa bbbb", read(kHere, Offset{}, {.bytes_max = 5}));
  EXPECT_EQ("aaaa", read(kHere, Offset{}, {.bytes_max = 1}));
}

TEST_P(EventLogContract, TheEndIsAPlaceToReadAndBeyondItIsNot) {
  write(kHere, "a");
  const Offset at_end = end(kHere);
  EXPECT_EQ("", read(kHere, at_end));
  EXPECT_EQ("corrupt", read(kHere, next(at_end)));
  EXPECT_EQ("corrupt", read(kThere, Offset{1}));
}

TEST_P(EventLogContract, AReaderAtTheEndIsWokenByTheNextRecord) {
  write(kHere, "a");
  const ReadOptions patient{.wait_until = env_->now() + std::chrono::seconds(20)};
  Task<ReadBatch> waiting = read_once(log_.get(), kHere, end(kHere), patient);
  // The append is made by a step that runs after the read has begun to wait.
  env_->post([this] { hand_over(kHere, "b"); });
  const MonoTime before = env_->now();
  const auto batch = run(*env_, std::move(waiting));
  ASSERT_TRUE(batch);
  EXPECT_EQ("b", text_of(batch->records));
  EXPECT_LT(env_->now(), before + std::chrono::seconds(10));
}

TEST_P(EventLogContract, AReaderAtTheEndComesBackEmptyHandedAtItsDeadline) {
  write(kThere, "not for this reader");
  const MonoTime deadline = env_->now() + std::chrono::milliseconds(30);
  EXPECT_EQ("", read(kHere, Offset{}, {.wait_until = deadline}));
  EXPECT_GE(env_->now(), deadline);
}

TEST_P(EventLogContract, AnOversizedRecordIsRefusedAndNothingIsWritten) {
  const auto delivery = log_->append(kHere, "agent-1", std::string(kRecordBytesMax + 1, 'x'));
  ASSERT_FALSE(delivery);
  EXPECT_EQ(Errc::resource_exhausted, delivery.error().code);
  write(kHere, std::string(kRecordBytesMax, 'x'));
  const auto records = run(*env_, read_to_end(log_.get(), kHere, Offset{}));
  ASSERT_TRUE(records);
  ASSERT_EQ(1U, records->size());
  EXPECT_EQ(kRecordBytesMax, records->front().bytes->size());
}

TEST_P(EventLogContract, ManyAppendsInFlightKeepTheirOrder) {
  std::vector<Delivery> deliveries;
  std::vector<std::string> expected(4);
  for (std::uint32_t i = 0; i < 2000; ++i) {
    const Partition partition{i * 7 % 4};
    std::string& text = expected[partition.value()];
    text += (text.empty() ? "" : " ") + std::to_string(i);
    deliveries.push_back(hand_over(partition, std::to_string(i)));
  }
  for (const Delivery& delivery : deliveries) ASSERT_TRUE(run(*env_, outcome_of(env_.get(), delivery)));
  for (std::uint32_t p = 0; p < 4; ++p) EXPECT_EQ(expected[p], read_all(Partition{p}));
}

TEST_P(EventLogContract, TooMuchInFlightIsRefusedAndEverythingAcceptedIsWritten) {
  const std::string bytes(std::size_t{8} << 20U, 'x');
  std::vector<Delivery> deliveries;
  while (deliveries.size() < 1000) {
    auto delivery = log_->append(kHere, "agent-1", bytes);
    if (!delivery) {
      EXPECT_EQ(Errc::resource_exhausted, delivery.error().code);
      break;
    }
    deliveries.push_back(std::move(*delivery));
  }
  ASSERT_LT(deliveries.size(), 1000U);
  for (const Delivery& delivery : deliveries) ASSERT_TRUE(run(*env_, outcome_of(env_.get(), delivery)));
  const auto records = run(*env_, read_to_end(log_.get(), kHere, Offset{}));
  ASSERT_TRUE(records);
  EXPECT_EQ(deliveries.size(), records->size());
  write(kHere, "and the log takes records again");
}

TEST_P(EventLogContract, EndLiesBehindEverythingThatAReaderHasSeen) {
  std::vector<Delivery> deliveries;
  for (int i = 0; i < 50; ++i) deliveries.push_back(hand_over(kHere, std::to_string(i)));
  Offset from{};
  std::size_t seen = 0;
  while (seen < 50) {
    const ReadOptions patient{.records_max = 7, .wait_until = env_->now() + std::chrono::seconds(20)};
    const auto batch = run(*env_, read_once(log_.get(), kHere, from, patient));
    ASSERT_TRUE(batch);
    ASSERT_FALSE(batch->records.empty());
    EXPECT_LT(batch->records.back().offset, end(kHere));
    EXPECT_LE(batch->next, end(kHere));
    seen += batch->records.size();
    from = batch->next;
  }
}

TEST_P(EventLogContract, AMarkIsFoundAgain) {
  write(kHere, "a");
  write(kHere, "b");
  const auto records = run(*env_, read_to_end(log_.get(), kHere, Offset{}));
  ASSERT_TRUE(records);
  for (const LogRecord& record : *records) EXPECT_EQ("ok", check(kHere, mark_of(record)));
  EXPECT_EQ("ok", check(kHere, Mark{})) << "nothing has been read yet";
}

TEST_P(EventLogContract, AMarkOfAnotherLogIsRefused) {
  const Offset a = write(kHere, "a");
  const auto other = std::make_shared<const std::string>("b");
  EXPECT_EQ("corrupt: the record 1:" + std::to_string(a.value()) +
                " that was read before is another one now: the log was truncated or exchanged",
            check(kHere, mark_of({a, other})));
  const std::string at_end = std::to_string(end(kHere).value());
  EXPECT_EQ("corrupt: the record 1:" + at_end +
                " that was read before is not there: the log was truncated or exchanged",
            check(kHere, mark_of({end(kHere), other})));
  EXPECT_EQ("corrupt: ", check(kHere, mark_of({Offset{1000}, other})).substr(0, 9));
}

TEST_P(EventLogContract, OpenedAgainItHoldsEverythingAndGoesOnBehindIt) {
  write(kHere, "a");
  const Offset b = write(kHere, "b");
  write(kThere, "x");
  const Offset at_end = end(kHere);
  reopen();
  EXPECT_EQ(at_end, end(kHere));
  EXPECT_EQ("a b", read_all(kHere));
  EXPECT_EQ("b", read_all(kHere, b));
  EXPECT_LE(at_end, write(kHere, "c"));
  EXPECT_EQ("a b c", read_all(kHere));
  EXPECT_EQ("x", read_all(kThere));
}

TEST_P(EventLogContract, ItMayBeDestroyedWhileReadersWaitAndAppendsAreInFlight) {
  write(kHere, "a");
  const ReadOptions for_ever{.wait_until = kNever};
  auto ended = std::make_shared<bool>(false);
  env_->spawn("reader",
              [](EventLog* log, Offset from, ReadOptions options, std::shared_ptr<bool> end) -> Task<> {
                const auto batch = co_await log->read(kHere, from, options);
                *end = true;
                co_return ok();
              }(log_.get(), end(kHere), for_ever, ended));
  EXPECT_EQ("", read(kThere, Offset{}));  // The reader waits now.
  EXPECT_FALSE(*ended);
  hand_over(kHere, "b");
  close();
  open();
  const std::string all = read_all(kHere);
  EXPECT_TRUE(all == "a" || all == "a b") << all;
}

}  // namespace varve::test
