#include "inspect/replay_page.h"

#include <algorithm>

#include "inspect/replay_text.h"

namespace varve {
namespace {

class PageReader final : public LogVisitor {
 public:
  PageReader(EventLog& log, const ReplayQuestion& question, Causes causes)
      : question_(question), replay_(log, question.partition, std::move(causes)) {
    style_.stream = question.stream;
  }

  Task<> begin(Offset end) { return replay_.begin(end); }
  ReplayPage take_page() {
    page_.known = !question_.stream || !page_.records.empty() || !replay_.state_of(*question_.stream).empty();
    return std::move(page_);
  }

  Task<bool> take(LogRecord record) override {
    const Offset behind = next(record.offset);
    if (record.offset < question_.from) {
      if (Status passed = co_await replay_.pass(std::move(record)); !passed) co_return passed.error();
      co_return true;
    }
    auto replayed = co_await replay_.take(std::move(record));
    if (!replayed) co_return replayed.error();
    if (question_.until != nullptr) {
      const auto held = replay_.first_held(*question_.until, question_.stream, *replayed);
      if (!held) co_return held.error();
      page_.held = held->has_value();
    }
    if (page_.held || !question_.stream || replayed->concerns(*question_.stream)) {
      add(replay_json(*replayed, style_));
    }
    if (page_.held) co_return false;
    co_return goes_on(behind);
  }
  Task<bool> damaged(Offset offset, std::string why) override {
    if (offset < question_.from) co_return true;
    add(damaged_json(why));
    co_return goes_on(next(offset));
  }

 private:
  void add(std::string record) {
    bytes_ += record.size();
    page_.records.push_back(std::move(record));
  }
  bool goes_on(Offset behind) {
    if (page_.records.size() < question_.records_max && bytes_ < kReplayBytesMax) return true;
    page_.next = behind;
    return false;
  }

  const ReplayQuestion& question_;
  PartitionReplay replay_;
  ReplayStyle style_;
  ReplayPage page_;
  std::size_t bytes_ = 0;
};

}  // namespace

Task<ReplayPage> replay_page(EventLog& log, ReplayQuestion question) {
  Causes causes;
  // What edits a block may have been called by an agent of another partition.
  if (question.stream && question.stream->value().starts_with("block-")) {
    auto all = co_await read_causes(log);
    if (!all) co_return all.error();
    causes = std::move(*all);
  }
  auto end = co_await log.end(question.partition);
  if (!end) co_return end.error();
  PageReader reader(log, question, std::move(causes));
  if (Status begun = co_await reader.begin(*end); !begun) co_return begun.error();
  Offset stop = *end;
  if (question.to) stop = std::min(stop, next(*question.to));
  const Offset start;
  if (Status read = co_await visit_log(log, question.partition, start, stop, reader); !read)
    co_return read.error();
  ReplayPage page = reader.take_page();
  if (page.next && *page.next >= stop) page.next.reset();
  co_return page;
}

std::string replay_page_json(const ReplayPage& page, const ReplayQuestion& question) {
  JsonWriter out;
  out.begin_object().key("records").begin_array();
  for (const std::string& record : page.records) out.raw(record);
  out.end_array();
  if (page.next) {
    out.field_integer("next", static_cast<std::int64_t>(page.next->value()));
  } else {
    out.field_null("next");
  }
  if (question.until != nullptr) {
    out.field_boolean("held", page.held);
  } else {
    out.field_null("held");
  }
  return out.end_object().take();
}

}  // namespace varve
