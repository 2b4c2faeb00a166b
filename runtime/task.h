// Task<T>: a coroutine that ends with a Result<T>. It runs on the executor of the Env that spawned it, on one
// thread; it starts when it is awaited or spawned. Parameters are taken by value: a reference may not outlive
// a suspension.
//
// All suspension goes through runtime/suspend.h; a Task never awaits an Asio operation directly.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "runtime/result.h"

namespace varve {

template <class T = Unit>
using Task = boost::asio::awaitable<Result<T>>;

}  // namespace varve
