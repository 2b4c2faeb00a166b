#include "projections/cut_reader.h"

namespace varve {

Result<std::vector<Row>> CutReader::select(const Query& query) {
  Query asked = query;
  asked.cut = cut_;
  return reader_.select(asked);
}

Result<std::int64_t> CutReader::count(const Query& query) {
  Query asked = query;
  asked.cut = cut_;
  return reader_.count(asked);
}

Result<std::vector<SearchHit>> CutReader::search_messages(const SearchQuery& search) {
  SearchQuery asked = search;
  asked.cut = cut_;
  return reader_.search_messages(asked);
}

}  // namespace varve
