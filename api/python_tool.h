// What a tool's Python source says about it: its name, description and parameters, from the last top-level
// function, its annotations and its docstring. It reads, it never runs anything, and it understands only what
// tools are written in; what it cannot read is an error with a line. Pure.
#pragma once

#include <string>
#include <string_view>

#include "runtime/json.h"

namespace varve {

// {"name","description","parameters":{"type":"object","properties":{..},"required":[..]}}.
// Errc::invalid_argument with a sentence.
Result<Json> schema_of_python(std::string_view source);

}  // namespace varve
