// Result<T>: a value or an Error. Every expected failure travels as one; exceptions end at the adapters.
//
// A default-constructed Result is an error ("never ran"), never an invented success: Asio hands a
// default-constructed value to a handler whose coroutine ended by an exception.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

#include "runtime/check.h"

namespace varve {

// A code exists only if some caller reacts to it differently. api/http_status.h maps each to HTTP.
enum class Errc : unsigned char {
  invalid_argument,    // The request can never succeed. Do not retry.
  not_found,           // The thing named does not exist.
  conflict,            // Someone else was first. Reload, decide again.
  unavailable,         // A dependency is down or slow; nothing happened. Retry with backoff.
  outcome_unknown,     // It may or may not have happened. Ask before repeating.
  corrupt,             // Stored bytes fail their checks. Stop and call a human.
  resource_exhausted,  // A declared limit was reached. Shed load.
  cancelled,           // We are shutting down, or the caller has gone.
};

const char* to_string(Errc code);

struct Error {
  Errc code = Errc::cancelled;
  std::string message;

  friend bool operator==(const Error&, const Error&) = default;
};

// "corrupt: record 3:17 fails its checksum"
std::string to_string(const Error& error);

struct Unit {
  friend bool operator==(Unit, Unit) = default;
};

template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  Result() : value_(tl::unexpect, Error{Errc::cancelled, "never ran"}) {}
  Result(T value) : value_(std::move(value)) {}                    // NOLINT(google-explicit-constructor)
  Result(Error error) : value_(tl::unexpect, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool has_value() const { return value_.has_value(); }
  explicit operator bool() const { return has_value(); }

  const T& operator*() const& { return checked(); }
  T& operator*() & { return checked(); }
  // By value: a reference into a temporary would dangle in a range-for.
  T operator*() && { return std::move(checked()); }
  const T* operator->() const { return &checked(); }
  T* operator->() { return &checked(); }

  const Error& error() const& {
    CHECK(!has_value());
    return value_.error();
  }
  Error error() && {
    CHECK(!has_value());
    return std::move(value_).error();
  }

 private:
  const T& checked() const {
    CHECK(value_.has_value());
    return *value_;
  }
  T& checked() {
    CHECK(value_.has_value());
    return *value_;
  }

  tl::expected<T, Error> value_;
};

using Status = Result<Unit>;

inline Status ok() {
  return Unit{};
}

// Says that an error is dropped on purpose, and why; the only way to do so, so that it can be searched for.
template <class T>
void ignore_error(const Result<T>&, const char* /*why*/) {}

}  // namespace varve
