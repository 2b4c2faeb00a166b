// Tagged<Tag, T>: a domain type of its own around a plain value; nothing converts into or out of it by
// accident.
//
//   using Offset = Tagged<struct OffsetTag, std::uint64_t>;
//
// value() is the only way out.
#pragma once

#include <compare>
#include <cstddef>
#include <functional>
#include <utility>

namespace varve {

template <class Tag, class T>
class Tagged {
 public:
  constexpr Tagged() = default;
  constexpr explicit Tagged(T value) : value_(std::move(value)) {}

  constexpr const T& value() const { return value_; }

  friend constexpr bool operator==(const Tagged&, const Tagged&) = default;
  friend constexpr auto operator<=>(const Tagged&, const Tagged&) = default;

 private:
  T value_{};
};

}  // namespace varve

template <class Tag, class T>
struct std::hash<varve::Tagged<Tag, T>> {
  std::size_t operator()(const varve::Tagged<Tag, T>& tagged) const { return std::hash<T>{}(tagged.value()); }
};
