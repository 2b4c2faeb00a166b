#include "projections/view_progress.h"

#include <algorithm>

namespace varve {

// What one caller waits for, while it does.
class ViewProgress::Waiting {
 public:
  Waiting(ViewProgress& progress, const std::vector<LogPosition>& positions) : progress_(progress) {
    for (const LogPosition& position : positions) places_.push_back(progress_.awaited_.insert(position));
    progress_.wanted_.notify_all();
  }
  ~Waiting() {
    for (const auto& place : places_) progress_.awaited_.erase(place);
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  ViewProgress& progress_;
  std::vector<std::multiset<LogPosition>::iterator> places_;
};

void ViewProgress::advance(Partition partition, Offset next) {
  elsewhere_.erase(partition);
  move(partition, next);
}

bool ViewProgress::move(Partition partition, Offset next) {
  Offset& known = next_[partition];
  if (next <= known) return false;
  known = next;
  moved_.notify_all();
  return true;
}

void ViewProgress::hint(Partition partition) {
  if (!awaited_here(partition)) return;
  hinted_.insert(partition);
  if (looking_) return;
  looking_ = true;
  env_.spawn("look at hinted views", look_at_hinted());
}

void ViewProgress::hint_all() {
  std::set<Partition> partitions;
  for (const LogPosition& position : awaited_) partitions.insert(position.partition);
  for (const Partition partition : partitions) hint(partition);
}

Task<> ViewProgress::look_at_hinted() {
  while (!hinted_.empty()) {
    std::vector<LogPosition> positions;
    for (const Partition partition : hinted_) positions.push_back({partition, Offset{}});
    hinted_.clear();
    co_await look(std::move(positions));
  }
  looking_ = false;
  co_return ok();
}

bool ViewProgress::are_folded_elsewhere(const std::vector<LogPosition>& positions) const {
  return std::any_of(positions.begin(), positions.end(),
                     [this](const LogPosition& position) { return elsewhere_.contains(position.partition); });
}

void ViewProgress::set_parked(Partition partition, const std::vector<StreamId>& parked) {
  parked_[partition] = {parked.begin(), parked.end()};
}

bool ViewProgress::is_parked(const StreamId& stream) const {
  return std::any_of(parked_.begin(), parked_.end(),
                     [&](const auto& entry) { return entry.second.contains(stream); });
}

Offset ViewProgress::next(Partition partition) const {
  const auto found = next_.find(partition);
  return found == next_.end() ? Offset{} : found->second;
}

bool ViewProgress::has_passed(const std::vector<LogPosition>& positions) const {
  return std::all_of(positions.begin(), positions.end(), [this](const LogPosition& position) {
    return next(position.partition) > position.offset;
  });
}

std::optional<Offset> ViewProgress::awaited(Partition partition) const {
  if (const auto here = awaited_here(partition)) return here;
  const auto elsewhere = awaited_elsewhere_.find(partition);
  if (elsewhere == awaited_elsewhere_.end() || elsewhere->second < next(partition)) return std::nullopt;
  return elsewhere->second;
}

void ViewProgress::awaited_elsewhere(const std::vector<LogPosition>& positions) {
  for (const LogPosition& position : positions) {
    Offset& last = awaited_elsewhere_[position.partition];
    last = std::max(last, position.offset);
  }
  if (!has_passed(positions)) wanted_.notify_all();
}

std::optional<Offset> ViewProgress::awaited_here(Partition partition) const {
  const auto first = awaited_.lower_bound({partition, next(partition)});
  if (first == awaited_.end() || first->partition != partition) return std::nullopt;
  return first->offset;
}

boost::asio::awaitable<bool> ViewProgress::wait_for(std::vector<LogPosition> positions, MonoTime deadline) {
  if (has_passed(positions)) co_return true;
  const Waiting waiting(*this, positions);
  Duration pause = are_folded_elsewhere(positions) ? first_look_ : kLook;
  MonoTime due = env_.now() + pause;
  while (!has_passed(positions) && env_.now() < deadline) {
    co_await moved_.wait(env_, std::min(deadline, due));
    if (has_passed(positions)) break;
    if (env_.now() >= due) {
      co_await look(positions);
      pause = std::min(2 * pause, kLook);
      due = env_.now() + pause;
    } else if (first_look_ == kLook) {
      due = env_.now() + pause;  // Something moves: who folds here will tell.
    }
  }
  co_return has_passed(positions);
}

boost::asio::awaitable<void> ViewProgress::look(std::vector<LogPosition> positions) {
  auto seen = std::make_shared<std::vector<LogPosition>>();
  std::function<Status(ViewReader&)> work = [positions, seen](ViewReader& reader) -> Status {
    for (const LogPosition& position : positions) {
      auto checkpoint = reader.checkpoint(position.partition);
      if (!checkpoint) return checkpoint.error();
      seen->push_back({position.partition, checkpoint->next});
    }
    return ok();
  };
  const Status read = co_await store_.read(std::move(work));
  if (!read) co_return;  // The next poll tries again.
  for (const LogPosition& next : *seen) {
    if (move(next.partition, next.offset)) elsewhere_.insert(next.partition);
  }
}

}  // namespace varve
