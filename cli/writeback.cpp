#include "cli/writeback.h"

#include <fcntl.h>
#include <unistd.h>

#include <memory>

namespace varve {
namespace {

// The file that it was last asked about, open.
class OpenFile {
 public:
  OpenFile() = default;
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile() { close(); }

  int descriptor(const std::string& file) {
    if (file == file_ && descriptor_ >= 0) return descriptor_;
    close();
    file_ = file;
    descriptor_ = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    return descriptor_;
  }

 private:
  void close() {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = -1;
  }

  std::string file_;
  int descriptor_ = -1;
};

}  // namespace

std::function<void(const std::string&, std::int64_t, std::int64_t)> begin_writeback() {
  return [open = std::make_shared<OpenFile>()](const std::string& file, std::int64_t offset,
                                               std::int64_t bytes) {
    const int descriptor = open->descriptor(file);
    if (descriptor < 0) return;
    static_cast<void>(::sync_file_range(descriptor, offset, bytes, SYNC_FILE_RANGE_WRITE));
  };
}

}  // namespace varve
