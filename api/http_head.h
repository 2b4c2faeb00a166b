// The head of an HTTP/1.1 answer as bytes, for http_server.cpp. Pure.
//
// It promises that nothing in a Response can break the framing: lengths and the connection header are the
// server's own, and a line break in a header's value is printed as a space.
#pragma once

#include <string>
#include <string_view>

#include "api/http.h"
#include "runtime/time.h"

namespace varve {

struct HttpFraming {
  bool http_1_0 = false;
  bool keep_alive = true;
  bool chunked = false;   // The body's length is not known: transfer-encoding chunked, or until the end.
  bool with_body = true;  // False for the answer to a HEAD request.
};

// Compares without regard to case.
bool http_names_equal(std::string_view a, std::string_view b);

// False for statuses that never carry a body: 1xx, 204, 304.
bool http_may_have_body(int status);

// Appends status line and headers, empty line included. `date` is the value of the date header.
void append_http_head(std::string& out, const Response& response, const HttpFraming& framing,
                      std::string_view date);

// "Mon, 23 Nov 2026 06:43:53 GMT", made once a second.
class HttpDate {
 public:
  std::string_view text(WallTime now);

 private:
  std::int64_t second_ = -1;
  std::string text_;
};

}  // namespace varve
