// JsonFields: reads the members of an object into typed values and remembers the first thing that did not
// fit, so that a decoder is a list of fields and one check at its end. Pure.
//
//   JsonFields fields(json, "claim");
//   claim.node = fields.text("node");
//   if (auto fault = fields.fault()) return *fault;
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/json.h"

namespace varve {

class JsonFields {
 public:
  // `what` names the object in messages; `code` is that of the fault.
  JsonFields(const Json& json, std::string_view what, Errc code = Errc::corrupt);

  std::string text(std::string_view key);
  std::optional<std::string> optional_text(std::string_view key);  // Absent or null = nothing.
  std::int64_t integer(std::string_view key);
  std::int64_t integer_or(std::string_view key, std::int64_t absent);
  std::uint64_t unsigned_integer(std::string_view key);
  bool boolean_or(std::string_view key, bool absent);
  std::vector<std::string> texts(std::string_view key);  // Absent = empty.
  // The member printed again, or `absent`.
  std::string json_or(std::string_view key, std::string_view absent);
  // The member; a fault and an empty object if it is absent or no object / no list.
  const Json& object(std::string_view key);
  const std::vector<Json>& list(std::string_view key);

  // The first thing that did not fit; nothing if all is well.
  const std::optional<Error>& fault() const { return fault_; }
  void set_fault(std::string message);

 private:
  const Json* member(std::string_view key, const char* expected);

  const Json& json_;
  std::string what_;
  Errc code_;
  std::optional<Error> fault_;
};

}  // namespace varve
