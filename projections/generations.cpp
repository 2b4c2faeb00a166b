#include "projections/generations.h"

#include "projections/digest.h"

namespace varve {

Result<RowsSummed> together(const std::vector<Result<RowsSummed>>& parts) {
  RowsSummed sums;
  for (const Result<RowsSummed>& part : parts) {
    if (!part) return part.error();
    if (sums.rows.empty()) {
      sums = *part;
      continue;
    }
    if (part->checkpoints != sums.checkpoints)
      return Error{Errc::unavailable, "the generation has moved on meanwhile"};
    for (std::size_t number = 0; number < sums.rows.size(); ++number) {
      for (std::size_t view = 0; view < kViews; ++view) {
        sums.rows[number][view].rows += part->rows[number][view].rows;
        sums.rows[number][view].closings += part->rows[number][view].closings;
      }
    }
  }
  return sums;
}

Task<> Generations::settle() {
  co_return ok();
}

Task<RowsSummed> Generations::sum_rows(std::uint32_t partitions) {
  const auto sums = std::make_shared<RowsSummed>();
  std::function<Status(ViewReader&)> work = [sums, partitions](ViewReader& reader) -> Status {
    for (std::uint32_t number = 0; number < partitions; ++number) {
      auto checkpoint = reader.checkpoint(Partition{number});
      if (!checkpoint) return checkpoint.error();
      auto digests = digest_of_rows(reader, Partition{number});
      if (!digests) return digests.error();
      sums->checkpoints.push_back(*checkpoint);
      sums->rows.push_back(*digests);
    }
    return ok();
  };
  const std::shared_ptr<ViewStore> store = next();
  if (Status read = co_await store->read(std::move(work)); !read) co_return read.error();
  co_return std::move(*sums);
}

}  // namespace varve
