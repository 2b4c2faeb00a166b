#include "cli/teleport.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "api/teleport_routes.h"
#include "cli/commands.h"
#include "cli/inspect_commands.h"
#include "cli/teleport_steps.h"
#include "inspect/teleport_export.h"

namespace varve {
namespace {

constexpr const char* kExport = "varve teleport export";
constexpr const char* kImport = "varve teleport import";
constexpr const char* kMove = "varve teleport move";
constexpr std::chrono::milliseconds kMovePause{500};
constexpr int kMoveTries = 20;
constexpr std::chrono::seconds kNewestWaitMax{5};

void tell_left_out(const ArchiveHeader& header) {
  for (const std::string& sentence : header.left_out) std::cerr << "left out: " << sentence << "\n";
}

std::string counted(std::int64_t number, const char* what) {
  return std::to_string(number) + " " + what + (number == 1 ? "" : "s");
}

void tell_what(const char* done, const ArchiveHeader& header) {
  std::cerr << done << " " << counted(header.agents, "agent") << ", " << counted(header.blocks, "block")
            << ", " << counted(header.tools, "tool") << ": " << counted(header.events, "event")
            << " of cluster " << header.source << " as of " << header.cut << std::endl;
}

Task<int> export_log(EventLog& log, ExportQuestion question, ArchiveFile& file) {
  auto archive = co_await TeleportExport::prepare(log, std::move(question));
  if (!archive) co_return archive.error();
  for (;;) {
    auto bytes = co_await (*archive)->next();
    if (!bytes) co_return bytes.error();
    if (!*bytes) break;
    if (Status written = file.write(**bytes); !written) co_return written.error();
  }
  if (Status whole = file.finish(); !whole) co_return whole.error();
  co_return kExitDone;
}

// From the server if one is named, else from the log itself.
int export_into(const Config& config, const TeleportExportCommand& options, ArchiveFile& file) {
  if (options.place.server.empty()) {
    const RealEnv clock;
    ExportQuestion question;
    question.all = options.all;
    question.wait_until = clock.now() + kNewestWaitMax;
    for (const std::string& agent : options.agents) question.agents.emplace_back(agent);
    return with_log(config, kExport,
                    [&](EventLog& log) { return export_log(log, std::move(question), file); });
  }
  Status done = download_archive(options.place, export_query(options.agents, options.all), file);
  if (done) done = file.finish();
  return done ? kExitDone : complain(kExport, done.error().message, kExitFailed);
}

std::string ids_of(const CheckedArchive& archive, bool json) {
  JsonWriter out;
  std::string lines;
  out.begin_object().key("agent_ids").begin_array();
  for (const ArchiveStream& one : archive.streams) {
    if (!one.stream.value().starts_with("agent-")) continue;
    out.string(one.stream.value());
    lines += one.stream.value() + "\n";
  }
  out.end_array().field("archive", archive.hash).end_object();
  return json ? out.take() + "\n" : lines;
}

// ---- move ----

struct Mover {
  RealEnv& env;
  const TeleportMoveCommand& options;
  TeleportServer source;
  TeleportServer target;
  std::string file;

  Status download(ArchiveFile& into) {
    const MonoTime give_up = env.now() + std::chrono::seconds{options.retry_seconds};
    for (;;) {
      Status done = download_archive(options.place, export_query(options.agents, false), into);
      if (done) return into.finish();
      if (done.error().code != Errc::resource_exhausted || env.now() >= give_up) return done;
      ::poll(nullptr, 0, static_cast<int>(kMovePause.count()));
    }
  }
  // What is at the source now is at the target, and hidden.
  Result<CheckedArchive> carry(bool left) {
    auto into = ArchiveFile::create(file);
    if (!into) return into.error();
    if (Status done = download(**into); !done) return done.error();
    auto archive = check_archive(target, file, nullptr, left);
    if (!archive) return archive.error();
    if (Status sent = send_archive(target, *archive); !sent) return sent.error();
    return archive;
  }
  // Errc::conflict: it has changed, or works; ask again.
  Status leave(const ArchiveStream& agent) {
    JsonWriter body;
    body.begin_object().field("agent", agent.stream.value()).field("place", options.to.server);
    body.field_integer("events", static_cast<std::int64_t>(agent.events)).end_object();
    const auto answer = source.post(std::string(kTeleportMovePath), body.text());
    if (!answer) return answer.error();
    if (answer->status == 200) return ok();
    return Error{answer->status == 409 ? Errc::conflict : Errc::unavailable, said_by(*answer)};
  }
  Status leave_all(const CheckedArchive& archive) {
    for (const ArchiveStream& one : archive.streams) {
      if (!one.stream.value().starts_with("agent-")) continue;
      if (Status left = leave(one); !left) return left;
    }
    return ok();
  }
  // Whether this is a move that goes on: nobody has no events, so that only who has left already may leave.
  bool have_left() {
    for (const std::string& agent : options.agents) {
      if (leave({StreamId{agent}, 0, ""})) return true;
    }
    return false;
  }
  Status run() {
    for (int tries = 0;; ++tries) {
      auto archive = carry(have_left());
      if (!archive) return archive.error();
      const Status left = leave_all(*archive);
      if (left) break;
      if (left.error().code != Errc::conflict || tries + 1 >= kMoveTries) return left;
      ::poll(nullptr, 0, static_cast<int>(kMovePause.count()));
    }
    // Nobody talks to it at the source any more; what came to its blocks until then comes along.
    auto archive = carry(true);
    if (!archive) return archive.error();
    if (Status sealed = seal_archive(target, *archive); !sealed) return sealed;
    tell_what("moved", archive->header);
    std::cout << ids_of(*archive, false) << std::flush;
    return ok();
  }
};

std::string without_slash(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url;
}

}  // namespace

int run_teleport_export(const Config& config, const TeleportExportCommand& options) {
  if (options.agents.empty() != options.all) {
    return complain(kExport, "which agents? Give their ids, or --all", kExitUsage);
  }
  if (options.output.empty() && ::isatty(STDOUT_FILENO) == 1) {
    return complain(kExport,
                    "an archive is not for a terminal: send it into a file, as > FILE, or give --output FILE",
                    kExitUsage);
  }
  auto file = ArchiveFile::create(options.output);
  if (!file) return complain(kExport, file.error().message, kExitFailed);
  const int code = export_into(config, options, **file);
  if (code != kExitDone) {
    std::error_code ignored;
    if (!options.output.empty()) std::filesystem::remove(options.output, ignored);
    return code;
  }
  tell_left_out((*file)->header());
  tell_what("exported", (*file)->header());
  return kExitDone;
}

int run_teleport_import(const TeleportImportCommand& options) {
  RealEnv env;
  TeleportServer target(env, options.place, options.retry_seconds);
  const auto archive = check_archive(target, options.file, options.fork ? &options.fork_key : nullptr, false);
  if (!archive) return complain(kImport, archive.error().message, kExitFailed);
  if (!archive->nothing_to_do()) {
    Status done = send_archive(target, *archive);
    if (done) done = seal_archive(target, *archive);
    if (!done) {
      complain(kImport, done.error().message, kExitFailed);
      std::cerr << "the same command goes on where this one has stopped\n";
      return kExitFailed;
    }
    tell_what("imported", archive->header);
  } else {
    std::cerr << "everything was there already\n";
  }
  std::cout << ids_of(*archive, options.json) << std::flush;
  return kExitDone;
}

int run_teleport_move(const TeleportMoveCommand& options) {
  TeleportMoveCommand plain = options;
  plain.to.server = without_slash(plain.to.server);
  RealEnv env;
  const std::string file =
      plain.archive.empty() ? "teleport-" + plain.agents.front() + ".zst" : plain.archive;
  Mover mover{
      env, plain, {env, plain.place, plain.retry_seconds}, {env, plain.to, plain.retry_seconds}, file};
  if (Status moved = mover.run(); !moved) {
    complain(kMove, moved.error().message, kExitFailed);
    std::cerr << "the same command goes on where this one has stopped\n";
    return kExitFailed;
  }
  std::error_code ignored;
  std::filesystem::remove(file, ignored);
  return kExitDone;
}

}  // namespace varve
