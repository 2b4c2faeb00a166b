// What both verifications share (verify.h, verify_continuous.h): how stored rows and a stored checkpoint are
// compared with those that the log says, and the sentences about what differs. Pure.
#pragma once

#include <string>
#include <vector>

#include "projections/verify.h"

namespace varve {

// Sentences of one partition; more tell nothing new.
inline constexpr std::size_t kDifferencesMax = 20;

// "messages id=message-1 from 0:17: content is 'a', the log says 'b' (last touched at offset 17)"
std::string sentence_of(View view, const Row& row, const std::string& what);

// Compares the rows of one view and one partition; both sides in the order of place_before().
class RowComparison {
 public:
  // `differences` must outlive this.
  RowComparison(View view, Partition partition, std::vector<Row> expected,
                std::vector<Difference>& differences)
      : view_(view), partition_(partition), expected_(std::move(expected)), differences_(differences) {}

  void take(const Row& stored);
  void end();

 private:
  void report(const Row& row, const std::string& what);

  View view_;
  Partition partition_;
  std::vector<Row> expected_;
  std::size_t at_ = 0;
  std::vector<Difference>& differences_;
};

// What a checkpoint says of the log besides its digests.
void compare_checkpoint(Partition partition, const Checkpoint& stored, const Checkpoint& replayed,
                        std::vector<Difference>& differences);

// The two sentences about digests.
Difference rows_do_not_add_up(Partition partition, View view);
Difference digest_is_not_the_logs(Partition partition, View view);
// A checkpoint that no fold of the log could have left: what the log would have to hold.
std::string log_ends_before(Offset next);
std::string lies_between_records(Offset next);

}  // namespace varve
