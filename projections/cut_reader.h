// CutReader: a read of the views as of a cut. Everything that is asked through it, by however many queries,
// is answered as if the fold had stopped there: what the functions of api/queries.h join is of one moment.
//
// checkpoint(), quarantine() and batch_at() are about the store itself, and about now. Pure but for the
// reader.
#pragma once

#include "projections/view_store.h"

namespace varve {

class CutReader final : public ViewReader {
 public:
  // The views have passed the cut; `reader` outlives this one.
  CutReader(ViewReader& reader, Cut cut) : reader_(reader), cut_(std::move(cut)) {}

  Result<std::vector<Row>> select(const Query& query) override;
  Result<std::int64_t> count(const Query& query) override;
  Result<std::vector<SearchHit>> search_messages(const SearchQuery& search) override;
  Result<Checkpoint> checkpoint(Partition partition) override { return reader_.checkpoint(partition); }
  Result<std::vector<QuarantineRow>> quarantine() override { return reader_.quarantine(); }
  Result<std::optional<TimesRow>> batch_at(Partition partition, Offset offset) override {
    return reader_.batch_at(partition, offset);
  }
  bool is_past() const override { return true; }

 private:
  ViewReader& reader_;
  Cut cut_;
};

}  // namespace varve
