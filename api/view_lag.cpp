#include "api/view_lag.h"

#include <algorithm>

namespace varve {
namespace {

constexpr Duration kBetweenLooks = std::chrono::milliseconds{200};

}  // namespace

void ViewLag::saw_end(Partition partition, Offset end) {
  Seen& seen = seen_[partition];
  const Offset passed = progress_.next(partition);
  while (!seen.samples.empty() && seen.samples.front().end <= passed) seen.samples.pop_front();
  if (seen.samples.empty()) seen.spacing = kSpacing;
  if (end <= seen.newest.end) return;
  const MonoTime now = env_.now();
  seen.newest = {end, now};
  if (end <= passed) return;
  if (!seen.samples.empty() && now - seen.samples.back().at < seen.spacing) return;
  seen.samples.push_back(seen.newest);
  if (seen.samples.size() < kSamplesMax) return;
  // Every second one goes, never the oldest.
  std::deque<Sample> kept;
  for (std::size_t i = 0; i < seen.samples.size(); i += 2) kept.push_back(seen.samples[i]);
  seen.samples = std::move(kept);
  seen.spacing *= 2;
}

ViewLag::Behind ViewLag::behind(Partition partition) const {
  const auto found = seen_.find(partition);
  const Offset passed = progress_.next(partition);
  if (found == seen_.end() || found->second.newest.end <= passed) return {};
  const Seen& seen = found->second;
  const auto waiting = std::find_if(seen.samples.begin(), seen.samples.end(),
                                    [passed](const Sample& sample) { return sample.end > passed; });
  const MonoTime since = waiting == seen.samples.end() ? seen.newest.at : waiting->at;
  return {seen.newest.end.value() - passed.value(), env_.now() - since};
}

Task<> ViewLag::check(Partition partition, std::uint64_t records_max) {
  if (behind(partition).records <= records_max) co_return ok();
  Seen& seen = seen_[partition];
  if (!seen.looked || env_.now() - *seen.looked >= kBetweenLooks) {
    seen.looked = env_.now();
    if (Status looked = co_await look(partition); !looked) co_return looked;
  }
  const std::uint64_t records = behind(partition).records;
  if (records <= records_max) co_return ok();
  env_.count("ack_log_refusals");
  co_return Error{Errc::resource_exhausted,
                  "the views of partition " + std::to_string(partition.value()) + " are " +
                      std::to_string(records) + " records behind the log, more than the " +
                      std::to_string(records_max) +
                      " up to which this server takes writes with ack=log; nothing was written, try again "
                      "later"};
}

Task<> ViewLag::look(Partition partition) {
  auto next = std::make_shared<Offset>();
  std::function<Status(ViewReader&)> work = [partition, next](ViewReader& reader) -> Status {
    auto checkpoint = reader.checkpoint(partition);
    if (!checkpoint) return checkpoint.error();
    *next = checkpoint->next;
    return ok();
  };
  if (Status read = co_await views_.read(std::move(work)); !read) co_return read.error();
  progress_.advance(partition, *next);
  co_return ok();
}

}  // namespace varve
