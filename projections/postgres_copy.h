// Lines of COPY's text format: values with tabs between them, \\N for null, and \\ before what would end a
// value. The fastest way into PostgreSQL and out of it, for rebuilds. Pure.
#pragma once

#include <string>
#include <string_view>

#include "projections/packed_batch.h"
#include "projections/schema.h"
#include "runtime/result.h"

namespace varve {

inline constexpr const char* kCopyNull = "\\N";

// The first value of a line is neither null nor empty: an empty line is one without values.
void add_value(std::string& line, const Value& value);

// The next of `values`.
void add_value(std::string& line, PackedReader& values);

// A row from a line with the columns of postgres_columns(view). Errc::corrupt: it has others.
Result<Row> row_of_line(View view, std::string_view line);

}  // namespace varve
