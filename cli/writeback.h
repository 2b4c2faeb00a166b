// begin_writeback: has the system begin to write a range of a file to the disk, and goes on at once. A hint
// and no more: it makes nothing durable (that is what a sync is for, which finds less to do), and what fails
// fails silently. sync_file_range(2): "this is an asynchronous flush-to-disk operation".
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace varve {

// For files that stay what they are while the function lives. One thread at a time.
std::function<void(const std::string& file, std::int64_t offset, std::int64_t bytes)> begin_writeback();

}  // namespace varve
