// Transport: one request to another node, and its answer. No connection is promised, no order, and a request
// may arrive twice: whoever answers must not mind (commands have ids).
//
// Implementations: sim's network, HTTP between real nodes. Thread: the one of the Env it was made with.
#pragma once

#include <functional>
#include <string>

#include "runtime/task.h"
#include "runtime/time.h"

namespace varve {

class Transport {
 public:
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;

  // Errc::unavailable: certainly not delivered. Errc::outcome_unknown: no answer; it may have been delivered,
  // and may be yet.
  virtual Task<std::string> call(std::string url, std::string request, MonoTime deadline) = 0;

  // Answers the requests of others from now on, each in a task of its own on the Env. Once.
  using Handler = std::function<Task<std::string>(std::string request)>;
  virtual void serve(Handler handler) = 0;
};

}  // namespace varve
