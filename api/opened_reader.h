// OpenedReader: rows of the views with the texts of erasable agents and blocks opened
// (eventlog/sealed_text.h). Everything that the API shows of rows is read through it, as of now or of any
// cut.
//
// Promises: a row that holds sealed texts of its own stream is shown opened, or not at all: without a key it
// is left out. Filters, orders, counts and the search see what the store has: sealed texts are not found by
// what they say. A text that merely looks sealed is shown as it is: whether a stream is erasable tells the
// first version of its own row, which whoever made it has written. Pure but for the reader.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>

#include "eventlog/key_store.h"
#include "projections/view_store.h"

namespace varve {

// What is known of keys: without a seal there is none.
using StreamSeals = std::map<StreamId, std::optional<TextSeal>>;

class OpenedReader final : public ViewReader {
 public:
  // Rows of streams that are in neither are shown sealed, and the streams added to `unknown`: ask for their
  // keys and read again. All outlive this.
  OpenedReader(ViewReader& reader, const StreamSeals& seals, std::set<StreamId>& unknown)
      : reader_(reader), seals_(seals), unknown_(unknown) {}

  Result<std::vector<Row>> select(const Query& query) override;
  Result<std::int64_t> count(const Query& query) override { return reader_.count(query); }
  Result<std::vector<SearchHit>> search_messages(const SearchQuery& search) override {
    return reader_.search_messages(search);  // No sealed text is found.
  }
  Result<Checkpoint> checkpoint(Partition partition) override { return reader_.checkpoint(partition); }
  Result<std::vector<QuarantineRow>> quarantine() override { return reader_.quarantine(); }
  Result<std::optional<TimesRow>> batch_at(Partition partition, Offset offset) override {
    return reader_.batch_at(partition, offset);
  }
  bool is_past() const override { return reader_.is_past(); }

 private:
  // False: it is not to be shown.
  Result<bool> open(const Query& query, Row& row);
  Result<bool> is_erasable(const StreamId& stream, const std::optional<Cut>& cut);

  ViewReader& reader_;
  const StreamSeals& seals_;
  std::set<StreamId>& unknown_;
  std::map<StreamId, bool> erasable_;  // Of streams without a key.
};

using ViewWork = std::function<Status(ViewReader&)>;
using ReadViews = std::function<Task<>(ViewWork)>;

// Runs `work` with an OpenedReader on what `read` gives it, again and again until all keys that it needs are
// known: each time as if it had not run before. A null `keys`: nothing is opened.
Task<> read_opened(KeyStore* keys, ReadViews read, ViewWork work);
Task<> read_opened(KeyStore* keys, ViewStore& views, ViewWork work);

}  // namespace varve
