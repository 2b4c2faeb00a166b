// The steps of varve teleport: an archive is written to a file, is checked, is sent. Each ends in a sentence
// when it fails. They block.
#pragma once

#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/server_client.h"
#include "inspect/teleport_plan.h"
#include "runtime/real_env.h"

namespace varve {

// A bar on standard error, if that is a terminal.
class TeleportBar {
 public:
  explicit TeleportBar(std::string label);
  TeleportBar(const TeleportBar&) = delete;
  TeleportBar& operator=(const TeleportBar&) = delete;
  ~TeleportBar();
  void draw(std::int64_t done, std::int64_t all);

 private:
  std::string label_;
  bool shown_ = false;
  std::int64_t percent_ = -1;
};

// Writes an archive's bytes to a file as they come, and reads them: only a whole archive ends well.
class ArchiveFile {
 public:
  // `path` empty: standard output.
  static Result<std::unique_ptr<ArchiveFile>> create(const std::string& path);
  ArchiveFile(const ArchiveFile&) = delete;
  ArchiveFile& operator=(const ArchiveFile&) = delete;
  ~ArchiveFile();
  Status write(std::string_view bytes);
  // Errc::corrupt if the seal has not come, or the error that came in its place.
  Status finish();
  const ArchiveHeader& header() const { return header_; }

 private:
  ArchiveFile() = default;
  Status read();

  std::FILE* file_ = nullptr;
  bool owned_ = false;
  std::string path_;
  ArchiveReader reader_;
  ArchiveHeader header_;
};

// GET /v1/varve/teleport/export. Errc::resource_exhausted: it may be asked again, nothing has come.
Status download_archive(const ServerPlace& place, const std::string& query, ArchiveFile& into);
// "agents=..", "all=true"
std::string export_query(const std::vector<std::string>& agents, bool all);

// A server, and how long to try again what may pass there.
class TeleportServer {
 public:
  TeleportServer(RealEnv& env, ServerPlace place, std::int64_t retry_seconds)
      : env_(env), place_(std::move(place)), retry_seconds_(retry_seconds) {}
  // The answer, whatever its status.
  Result<ServerAnswer> post(const std::string& path, const std::string& body);
  // The body of an answer that is 200; else what was said.
  Result<Json> send(const std::string& path, const std::string& body);

 private:
  RealEnv& env_;
  ServerPlace place_;
  std::int64_t retry_seconds_;
};

// An archive that may be sent: whole, undamaged, and of nothing that the target has otherwise.
struct CheckedArchive : ImportPlan {
  std::string file;
};
// Reads an archive's frames. An Error of `take` is told with the frame's number.
Status read_archive(const std::string& file, TeleportBar& bar,
                    const std::function<Status(const ArchiveFrame&)>& take, std::string& hash);
// `fork_key`: null = under its own ids. `left`: the agents have left their source already, so that a block
// that was carried before and has lived on at both places since is not in their way.
Result<CheckedArchive> check_archive(TeleportServer& target, const std::string& file,
                                     const std::string* fork_key, bool left);
// Sends what is not there yet; nothing of it is seen before seal_archive().
Status send_archive(TeleportServer& target, const CheckedArchive& archive);
Status seal_archive(TeleportServer& target, const CheckedArchive& archive);

}  // namespace varve
