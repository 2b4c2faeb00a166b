// Tail: the newest records of a partition in memory, without holes: what lies at begin() or behind it and
// before end() is here. Offsets may have gaps. Pure.
#pragma once

#include <deque>

#include "eventlog/event_log.h"

namespace varve::kafka {

class Tail {
 public:
  Tail(std::size_t records_max, std::size_t bytes_max) : records_max_(records_max), bytes_max_(bytes_max) {}

  // Empty, at a place of the log.
  void restart(Offset at);
  // record.offset >= end().
  void add(LogRecord record);
  // Nothing lies before `at`, which is not before end().
  void advance(Offset at) { end_ = at; }

  Offset begin() const { return begin_; }
  Offset end() const { return end_; }
  bool holds(Offset from) const { return begin_ <= from && from <= end_; }
  // The newest record; null if there is none.
  const LogRecord* newest() const { return records_.empty() ? nullptr : &records_.back(); }
  // holds(from). Empty if nothing lies at `from` or behind it; `next` is then end().
  ReadBatch read(Offset from, const ReadOptions& options) const;

 private:
  // The newest ones stay decoded: more than any reader is behind in steady state.
  static constexpr std::size_t kDecodedMax = 256;

  std::size_t records_max_;
  std::size_t bytes_max_;
  std::deque<LogRecord> records_;
  std::size_t bytes_ = 0;
  Offset begin_;
  Offset end_;
};

}  // namespace varve::kafka
