#include "projections/packed_batch.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <span>
#include <unordered_map>
#include <utility>

namespace varve {

namespace {

// An entity, by values that outlive it.
struct EntityRef {
  std::span<const Value> key;

  bool operator==(const EntityRef& other) const { return std::ranges::equal(key, other.key); }
};
struct EntityHash {
  std::size_t operator()(const EntityRef& entity) const {
    std::size_t sum = 0;
    for (const Value& value : entity.key) sum = sum * 31 + std::hash<Value>{}(value);
    return sum;
  }
};

class Packer {
 public:
  explicit Packer(PackedBatch& out) : out_(out) {}

  Status insert(const RowInsert& insert) {
    auto& inserts = out_.inserts[static_cast<std::size_t>(insert.view)];
    const std::size_t keys = schema_of(insert.view).key_columns;
    if (!insert.row.to) {
      const EntityRef entity{{insert.row.values.data(), keys}};
      if (!open_[static_cast<std::size_t>(insert.view)].emplace(entity, inserts.size()).second) {
        return Error{Errc::corrupt, "insert of " + describe(insert.view, insert.row) +
                                        ": the entity has an open version already"};
      }
    }
    const std::size_t begin = out_.bytes.size();
    put_values({insert.row.values.data(), keys});
    const std::size_t key_bytes = out_.bytes.size() - begin;
    put_values(std::span{insert.row.values}.subspan(keys));
    const RowFrom& from = insert.row.from;
    put_integer(from.partition.value());
    put_integer(static_cast<std::int64_t>(from.offset.value()));
    put_integer(from.ordinal);
    put_integer(from.at.value());
    put_integer(static_cast<std::int64_t>(from.sequence.value()));
    inserts.push_back({begin, key_bytes, insert.row.to});
    return ok();
  }

  void close(const RowClose& close) {
    const auto view = static_cast<std::size_t>(close.view);
    const auto found = open_[view].find(EntityRef{close.key});
    if (found != open_[view].end()) {
      out_.inserts[view][found->second].to = close.to;
      open_[view].erase(found);
      return;
    }
    const std::size_t begin = out_.bytes.size();
    put_values(close.key);
    out_.closes[view].push_back({begin, out_.bytes.size() - begin, close.to});
  }

 private:
  void put_kind(PackedReader::Kind kind) { out_.bytes.push_back(static_cast<char>(kind)); }
  void put_number(std::int64_t value) {
    std::array<char, sizeof(value)> bytes{};
    std::memcpy(bytes.data(), &value, sizeof(value));
    out_.bytes.append(bytes.data(), bytes.size());
  }
  void put_integer(std::int64_t value) {
    put_kind(PackedReader::Kind::integer);
    put_number(value);
  }
  void put_values(std::span<const Value> values) {
    for (const Value& value : values) {
      if (const auto* number = std::get_if<std::int64_t>(&value)) {
        put_integer(*number);
      } else if (const auto* text = std::get_if<std::string>(&value)) {
        put_kind(PackedReader::Kind::text);
        put_number(static_cast<std::int64_t>(text->size()));
        out_.bytes += *text;
      } else {
        put_kind(PackedReader::Kind::null);
      }
    }
  }

  PackedBatch& out_;
  std::array<std::unordered_map<EntityRef, std::size_t, EntityHash>, kViews> open_;
};

}  // namespace

Result<PackedBatch> packed(Batch batch) {
  constexpr std::size_t kBytesOfMost = 300;
  PackedBatch out;
  out.changes = batch.changes.size();
  out.bytes.reserve(out.changes * kBytesOfMost);
  Packer packer{out};
  for (const RowChange& change : batch.changes) {
    if (const auto* insert = std::get_if<RowInsert>(&change)) {
      if (Status done = packer.insert(*insert); !done) return done.error();
    } else {
      packer.close(std::get<RowClose>(change));
    }
  }
  batch.changes = {};
  out.batch = std::move(batch);
  return out;
}

std::int64_t PackedReader::take_integer() {
  std::int64_t value = 0;
  std::memcpy(&value, at_, sizeof(value));
  at_ += sizeof(value);
  return value;
}

PackedReader::Kind PackedReader::next() {
  const auto kind = static_cast<Kind>(*at_++);
  if (kind == Kind::integer) {
    integer_ = take_integer();
  } else if (kind == Kind::text) {
    const auto size = static_cast<std::size_t>(take_integer());
    text_ = {at_, size};
    at_ += size;
  }
  return kind;
}

}  // namespace varve
