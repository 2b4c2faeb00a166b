// PackedBatch: a batch on its way into a file that is loaded: its rows as they are at its end, one behind the
// other in one piece of memory. A hundred thousand rows as they come from the fold are millions of small
// texts, made by one thread and freed by another; these are some pieces. Pure.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "projections/view_store.h"

namespace varve {

struct PackedBatch {
  struct Insert {
    std::size_t begin = 0;  // In `bytes`.
    std::size_t key_bytes = 0;
    std::optional<RowTo> to;  // Closed by the same batch, too.
  };
  struct Close {  // Of a row that an earlier batch has opened.
    std::size_t begin = 0;
    std::size_t key_bytes = 0;
    RowTo to;
  };

  Batch batch;  // But for its changes.
  std::size_t changes = 0;
  std::string bytes;
  std::array<std::vector<Insert>, kViews> inserts;
  std::array<std::vector<Close>, kViews> closes;

  // Equal if and only if they are keys of the same entity.
  template <class Entry>
  std::string_view key_of(const Entry& entry) const {
    return std::string_view{bytes}.substr(entry.begin, entry.key_bytes);
  }
};

// Errc::corrupt: an entity is opened while it is open.
Result<PackedBatch> packed(Batch batch);

// Reads values one behind the other: of an insert the columns and the five of its position, of a close its
// key.
class PackedReader {
 public:
  PackedReader(const std::string& bytes, std::size_t begin) : at_(bytes.data() + begin) {}

  enum class Kind : char { null, integer, text };
  Kind next();
  std::int64_t integer() const { return integer_; }
  std::string_view text() const { return text_; }  // Valid as long as the batch.

 private:
  std::int64_t take_integer();

  const char* at_;
  std::int64_t integer_ = 0;
  std::string_view text_;
};

}  // namespace varve
