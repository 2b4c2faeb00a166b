#include "cli/teleport_steps.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "api/teleport_routes.h"

namespace varve {
namespace {

constexpr std::size_t kBarColumns = 40;
constexpr std::size_t kReadBytes = std::size_t{256} << 10U;
// Of the events of one request; one larger event goes alone.
constexpr std::size_t kPieceBytes = std::size_t{1} << 20U;
constexpr std::chrono::milliseconds kPauseFirst{200};
constexpr std::chrono::milliseconds kPauseMax{2000};

std::string import_path() {
  return std::string(kTeleportImportPath);
}

struct CloseFile {
  void operator()(std::FILE* file) const { ignore_result(std::fclose(file)); }
  static void ignore_result(int /*result*/) {}
};

// Where an equal tool has another id at the target, the agents name that one.
Status look_for_tools(TeleportServer& target, const std::vector<ToolValue>& tools, Renaming& renaming) {
  for (const ToolValue& tool : tools) {
    const auto json = target.send(import_path(), request_of_tool(tool, true));
    if (!json) return json.error();
    if (Status noted = note_equal_tool(tool, *json, renaming); !noted) return noted;
  }
  return ok();
}

Status send_all(TeleportServer& target, const std::vector<std::string>& bodies) {
  for (const std::string& body : bodies) {
    const auto sent = target.send(import_path(), body);
    if (!sent) return sent.error();
  }
  return ok();
}

}  // namespace

// ---- for people ----

TeleportBar::TeleportBar(std::string label)
    : label_(std::move(label)), shown_(::isatty(STDERR_FILENO) == 1) {}

TeleportBar::~TeleportBar() {
  if (shown_ && percent_ >= 0) std::cerr << "\n";
}

void TeleportBar::draw(std::int64_t done, std::int64_t all) {
  if (!shown_ || all <= 0) return;
  const std::int64_t now = std::min<std::int64_t>(100, done * 100 / all);
  if (now == percent_) return;
  percent_ = now;
  std::string bar(static_cast<std::size_t>(now) * kBarColumns / 100, '#');
  bar.resize(kBarColumns, '.');
  std::cerr << "\r" << label_ << " [" << bar << "] " << now << " %" << std::flush;
}

// ---- files ----

Result<std::unique_ptr<ArchiveFile>> ArchiveFile::create(const std::string& path) {
  std::unique_ptr<ArchiveFile> made(new ArchiveFile);  // NOLINT: its constructor is its own.
  made->path_ = path.empty() ? "standard output" : path;
  made->file_ = path.empty() ? stdout : std::fopen(path.c_str(), "wb");
  made->owned_ = !path.empty();
  if (made->file_ == nullptr) {
    return Error{Errc::unavailable, "cannot write " + path + ": " + std::strerror(errno)};
  }
  return made;
}

ArchiveFile::~ArchiveFile() {
  if (owned_ && file_ != nullptr) CloseFile{}(file_);
}

Status ArchiveFile::read() {
  for (;;) {
    auto frame = reader_.next();
    if (!frame) return frame.error();
    if (!*frame) return ok();
    if (auto* header = std::get_if<ArchiveHeader>(&**frame)) header_ = std::move(*header);
  }
}

Status ArchiveFile::write(std::string_view bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size()) {
    return Error{Errc::unavailable, "cannot write " + path_ + ": " + std::strerror(errno)};
  }
  reader_.feed(bytes);
  return read();
}

Status ArchiveFile::finish() {
  bool written = std::fflush(file_) == 0;
  if (owned_) {
    written = ::fsync(::fileno(file_)) == 0 && written;
    written = std::fclose(file_) == 0 && written;
    file_ = nullptr;
  }
  if (!written) return Error{Errc::unavailable, "cannot write " + path_ + ": " + std::strerror(errno)};
  return reader_.end();
}

Status read_archive(const std::string& file, TeleportBar& bar,
                    const std::function<Status(const ArchiveFrame&)>& take, std::string& hash) {
  const std::unique_ptr<std::FILE, CloseFile> opened(std::fopen(file.c_str(), "rb"));
  std::error_code fault;
  const auto size = static_cast<std::int64_t>(std::filesystem::file_size(file, fault));
  if (!opened || fault) {
    return Error{Errc::not_found, "cannot read " + file + (fault ? ": " + fault.message() : "")};
  }
  ArchiveReader reader;
  std::string bytes(kReadBytes, '\0');
  std::int64_t done = 0;
  for (;;) {
    const std::size_t got = std::fread(bytes.data(), 1, bytes.size(), opened.get());
    if (got == 0 && std::ferror(opened.get()) != 0) return Error{Errc::unavailable, "cannot read " + file};
    reader.feed(std::string_view(bytes).substr(0, got));
    for (;;) {
      const auto frame = reader.next();
      if (!frame) return frame.error();
      if (!*frame) break;
      const Status taken = take(**frame);
      if (!taken && taken.error().code == Errc::corrupt) {
        return Error{Errc::corrupt, "the archive is damaged at its frame " + std::to_string(reader.frames()) +
                                        ", " + describe(**frame) + ": " + taken.error().message};
      }
      if (!taken) return taken;
    }
    done += static_cast<std::int64_t>(got);
    bar.draw(done, size);
    if (got == 0) break;
  }
  hash = reader.hash();
  return reader.end();
}

// ---- the target ----

Result<ServerAnswer> TeleportServer::post(const std::string& path, const std::string& body) {
  ServerQuestion question;
  question.method = "POST";
  question.path = path;
  question.body = body;
  const MonoTime give_up = env_.now() + std::chrono::seconds{retry_seconds_};
  std::chrono::milliseconds pause = kPauseFirst;
  for (;;) {
    auto answer = ask_server(place_, question);
    const bool may_pass = !answer || answer->status == 429 || answer->status == 503;
    if (!may_pass || env_.now() >= give_up) return answer;
    ::poll(nullptr, 0, static_cast<int>(pause.count()));
    pause = std::min(pause * 2, kPauseMax);
  }
}

Result<Json> TeleportServer::send(const std::string& path, const std::string& body) {
  return body_of(post(path, body));
}

Result<CheckedArchive> check_archive(TeleportServer& target, const std::string& file,
                                     const std::string* fork_key, bool left) {
  TeleportBar bar("checking " + file);
  CheckedArchive archive;
  archive.file = file;
  const auto check = [&](ArchiveCheck& with) {
    const auto take = [&with](const ArchiveFrame& frame) { return with.take(frame); };
    Status read = read_archive(file, bar, take, archive.hash);
    archive.header = with.header();
    archive.tools = with.tools();
    archive.streams = with.streams();
    return read;
  };
  ArchiveCheck whole{Renaming{}};
  if (Status read = check(whole); !read) return read.error();
  if (fork_key != nullptr) archive.renaming = Renaming::fork(archive.hash + " " + *fork_key);
  if (Status looked = look_for_tools(target, archive.tools, archive.renaming); !looked) return looked.error();
  if (!archive.renaming.changes_nothing()) {
    ArchiveCheck renamed{archive.renaming};
    if (Status read = check(renamed); !read) return read.error();
  }
  for (const ArchiveStream& one : archive.streams) {
    const auto json = target.send(import_path(), question_about(one.stream));
    if (!json) return json.error();
    auto there = answer_about(one.stream, *json);
    if (!there) return there.error();
    archive.there[one.stream] = std::move(*there);
  }
  if (!archive.has_begun()) return archive;
  ArchiveCheck compared{archive.renaming};
  compared.compare_with(archive.there);
  if (Status read = check(compared); !read) return read.error();
  if (Status settled = archive.settle(left); !settled) return settled.error();
  return archive;
}

Status send_archive(TeleportServer& target, const CheckedArchive& archive) {
  std::vector<std::string> tools;
  for (const ToolValue& tool : archive.tools) tools.push_back(request_of_tool(tool, false));
  if (Status sent = send_all(target, tools); !sent) return sent;
  TeleportBar bar("sending " + archive.file);
  ImportPieces pieces(archive, kPieceBytes, [&target](std::string body) -> Status {
    const auto sent = target.send(import_path(), body);
    return sent ? ok() : Status{sent.error()};
  });
  const auto take = [&pieces](const ArchiveFrame& frame) {
    const auto* record = std::get_if<ArchiveRecord>(&frame);
    return record != nullptr ? pieces.take(*record) : ok();
  };
  std::string hash;
  if (Status read = read_archive(archive.file, bar, take, hash); !read) return read;
  if (hash != archive.hash) return Error{Errc::conflict, "the archive was changed since it was checked"};
  return pieces.flush();
}

Status seal_archive(TeleportServer& target, const CheckedArchive& archive) {
  return send_all(target, archive.seals());
}

}  // namespace varve
