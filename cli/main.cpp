// varve: the command line. It takes the words apart; serve.cpp and the others do the work.
#include <CLI/CLI.hpp>
#include <csignal>
#include <iostream>

#include "cli/commands.h"

namespace {

constexpr const char* kVersion = "varve 0.1.0";

constexpr const char* kAbout =
    "Varve, an event-sourced server for stateful AI agents.\n\n"
    "  varve serve --data-dir ./varve-data       start a server on http://127.0.0.1:8283\n"
    "  varve log dump --data-dir ./varve-data    read its log, also while it runs\n"
    "  varve verify --data-dir ./varve-data      prove that its views equal its log\n";

// --listen HOST:PORT
bool split_listen(const std::string& listen, varve::ServeOptions& options) {
  const std::size_t colon = listen.rfind(':');
  if (colon == std::string::npos || colon == 0) return false;
  int port = 0;
  try {
    std::size_t used = 0;
    port = std::stoi(listen.substr(colon + 1), &used);
    if (used != listen.size() - colon - 1) return false;
  } catch (const std::exception&) {
    return false;
  }
  if (port < 0 || port > 65535) return false;
  options.host = listen.substr(0, colon);
  options.port = static_cast<std::uint16_t>(port);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  // A full disk or a file size limit must come back as an error of the write, not end the process.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);

  CLI::App app{kAbout};
  app.name("varve");
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  app.footer("Exit codes: 0 done, 1 it failed or differs, 2 wrong usage, 3 the data directory is in use.");

  varve::ServeOptions serve;
  std::string listen = "127.0.0.1:8283";
  auto* serve_command = app.add_subcommand("serve", "Serve the Letta V1 API from a data directory");
  serve_command->add_option("--data-dir", serve.data_dir, "Where log and views live; made if it is missing")
      ->required();
  serve_command->add_option("--listen", listen, "HOST:PORT to listen on (port 0 = any free one)")
      ->capture_default_str();
  serve_command
      ->add_option("--partitions", serve.partitions, "Partitions of a new log; fixed once it is made")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  serve_command
      ->add_option("--model-script", serve.model_script, "Answer from a script instead of echoing (tests)")
      ->check(CLI::ExistingFile);

  varve::DumpOptions dump;
  auto* log_command = app.add_subcommand("log", "Look at the log");
  log_command->require_subcommand(1);
  auto* dump_command = log_command->add_subcommand(
      "dump", "Print every record with its admission verdict; works while the server runs");
  dump_command->add_option("--data-dir", dump.data_dir, "The server's data directory")->required();
  dump_command->add_option("--partition", dump.partition, "Only this partition");
  dump_command->add_option("--from", dump.from, "Only records at this offset or behind it");
  dump_command->add_flag("--json", dump.json, "One JSON object a line instead of text");

  varve::VerifyOptions verify;
  auto* verify_command =
      app.add_subcommand("verify", "Fold the log anew and compare: digests, rows and log must agree");
  verify_command->add_option("--data-dir", verify.data_dir, "The server's data directory")->required();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : varve::kExitUsage;
  }
  if (*serve_command) {
    if (!split_listen(listen, serve)) {
      std::cerr << "varve serve: --listen is written HOST:PORT, as in 127.0.0.1:8283; got '" << listen
                << "'\n";
      return varve::kExitUsage;
    }
    return varve::run_serve(serve);
  }
  if (*dump_command) return varve::run_dump(dump);
  return varve::run_verify(verify);
}
