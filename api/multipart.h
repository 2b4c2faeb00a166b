// A multipart/form-data body taken apart (RFC 7578), for files that clients upload. Bounded: a body has at
// most kPartsMax parts, each with at most kPartHeaderBytesMax of headers. Pure.
//
// The parts' texts are views into the body: it must live as long as they do. What does not fit is an
// Errc::invalid_argument with a sentence that says what was expected.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/result.h"

namespace varve {

inline constexpr std::size_t kPartsMax = 16;
inline constexpr std::size_t kPartHeaderBytesMax = std::size_t{8} << 10U;
inline constexpr std::size_t kBoundaryBytesMax = 70;

struct FormPart {
  std::string name;
  std::string filename;      // Empty for a plain field.
  std::string content_type;  // As sent; empty if it was not.
  std::string_view text;
};

Result<std::vector<FormPart>> parse_multipart(std::string_view content_type, std::string_view body);

// The last part with this name; null if there is none.
const FormPart* find_part(const std::vector<FormPart>& parts, std::string_view name);

}  // namespace varve
