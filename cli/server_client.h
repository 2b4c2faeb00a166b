// One request to a server that runs, for commands that act through it. No retries: the command knows which
// of its requests may be sent again. Blocks.
#pragma once

#include <chrono>
#include <map>
#include <string>

#include "runtime/json.h"
#include "runtime/result.h"

namespace varve {

struct ServerPlace {
  std::string server = "http://127.0.0.1:8283";
  std::string password;  // Empty: none is sent.
};

struct ServerQuestion {
  std::string method = "GET";
  std::string path;  // "/v1/varve/quarantine?x=y", percent-encoded.
  std::string body;  // JSON; empty = none.
  std::map<std::string, std::string> headers;
  std::chrono::seconds time{90};
};

struct ServerAnswer {
  long status = 0;
  std::map<std::string, std::string> headers;  // Names in lower case.
  std::string body;
};

// Errc::unavailable with a sentence: no answer came.
Result<ServerAnswer> ask_server(const ServerPlace& place, const ServerQuestion& question);

// The sentence in the body of a refusal, with the status.
std::string said_by(const ServerAnswer& answer);
// The body as a JSON object if the status is 200; else what was said.
Result<Json> body_of(const Result<ServerAnswer>& answer);

// A text as one segment of a path.
std::string path_segment(const std::string& text);

}  // namespace varve
