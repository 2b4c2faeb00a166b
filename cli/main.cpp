// varve: the command line. It takes the words apart; serve.cpp and the others do the work.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iostream>

#include "cli/commands.h"
#include "cli/fork_words.h"
#include "cli/inspect_commands.h"
#include "cli/migrate.h"
#include "cli/projection_commands.h"
#include "cli/projections.h"
#include "cli/suggest.h"
#include "cli/teleport_words.h"

namespace {

constexpr const char* kAbout =
    "Varve, an event-sourced server for stateful AI agents.\n\n"
    "  varve serve --data-dir ./varve-data       start a server on http://127.0.0.1:8283\n"
    "  varve config show                         what it would be told, and by whom\n"
    "  varve log tail -f --data-dir ./varve-data read its log as it grows\n"
    "  varve verify --data-dir ./varve-data      prove that its views equal its log\n";

using Flags = std::map<std::string, std::vector<std::string>>;

// A flag --some-key for the key some_key of the configuration.
CLI::Option* add_value(CLI::App& command, Flags& flags, const std::string& key, const std::string& about) {
  std::string name = "--" + key;
  std::replace(name.begin(), name.end(), '_', '-');
  const std::function<void(const std::string&)> keep = [&flags, key](const std::string& value) {
    flags[key] = {value};
  };
  return command.add_option_function<std::string>(name, keep, about);
}

void add_place_options(CLI::App& command, Flags& flags) {
  add_value(command, flags, "data_dir", "Where log and views live; the server makes it if it is missing");
  add_value(command, flags, "config", "A TOML file with any of the keys of `varve config show`");
}

// Values that are given again and again, as --key A --key B.
void add_list(CLI::App& command, Flags& flags, const std::string& name, const std::string& key,
              const std::string& about) {
  const std::function<void(const std::vector<std::string>&)> keep =
      [&flags, key](const std::vector<std::string>& values) { flags[key] = values; };
  command.add_option_function(name, keep, about)->allow_extra_args(false);
}

void add_switch(CLI::App& command, Flags& flags, const std::string& key, const std::string& about) {
  std::string name = "--" + key;
  std::replace(name.begin(), name.end(), '_', '-');
  const std::function<void()> keep = [&flags, key] { flags[key] = {"true"}; };
  command.add_flag_callback(name, keep, about);
}

void add_topic_options(CLI::App& command, Flags& flags) {
  add_value(command, flags, "kafka_brokers", "HOST:PORT of Kafka, several with commas between them");
  add_value(command, flags, "kafka_topic", "The topic that is the log (default varve.events)");
  add_list(command, flags, "--kafka", "kafka", "PROPERTY=VALUE of librdkafka, as sasl.mechanism=PLAIN");
}

void add_database_options(CLI::App& command, Flags& flags) {
  add_value(command, flags, "postgres_url", "postgresql://USER@HOST:PORT/DATABASE, without a password");
  add_value(command, flags, "postgres_password_file",
            "PostgreSQL's password is this file's first line (else VARVE_POSTGRES_PASSWORD)");
}

void add_cluster_options(CLI::App& command, Flags& flags) {
  add_value(command, flags, "log", "sqlite (a file of this process, the default) or kafka");
  add_value(command, flags, "store", "Where views are: sqlite (a file, the default) or postgres");
  add_topic_options(command, flags);
  add_value(command, flags, "kafka_replication_factor", "Replicas of a topic that is made (default 3)");
  add_value(command, flags, "kafka_session_timeout",
            "Seconds of silence until the others take a node's partitions (default 6)");
  add_value(command, flags, "kafka_static_member",
            "A name that is this process's after a restart, too: it keeps its partitions");
  add_database_options(command, flags);
  add_value(command, flags, "postgres_connections", "Connections to PostgreSQL at most (default 8)");
  add_switch(command, flags, "migrate", "Bring an old schema of PostgreSQL up to date at the start");
  add_value(command, flags, "roles", "What this process does: api, actors, projections (default all)");
  add_value(command, flags, "cluster", "Name of the cluster whose log it is (default varve)");
  add_value(command, flags, "cluster_secret_file",
            "What nodes prove to each other: this file's first line (else VARVE_CLUSTER_SECRET)");
  add_value(command, flags, "node_url", "Where other nodes reach this one, as http://node-1:8283");
  add_value(command, flags, "drain_timeout", "Seconds that a stop may take (default 30)");
  add_value(command, flags, "ready_lag_records",
            "/v1/ready/ says no while the views are further behind the log (default 10000)");
  add_value(command, flags, "ready_lag", "The same in seconds (default 30)");
  add_value(command, flags, "ack_log_lag_records",
            "Writes with ack=log get 429 while the views are further behind the log (default 50000)");
  add_switch(command, flags, "verify_continuous",
             "Compare the views with the log all the time, in the background");
  add_value(command, flags, "verify_rate", "Records and rows per second for that (default 2000)");
  add_value(command, flags, "verify_pause", "Seconds between two rounds of it (default 60)");
}

void add_server_options(CLI::App& command, Flags& flags) {
  add_place_options(command, flags);
  add_value(command, flags, "listen",
            "HOST:PORT to listen on (port 0 = any free one; default 127.0.0.1:8283)");
  add_value(command, flags, "partitions", "Partitions of a new log, 1 to 1024; fixed once it is made");
  add_value(command, flags, "model_script", "Answer from a script instead of a model (tests)")
      ->check(CLI::ExistingFile);
  add_value(command, flags, "password_file", "Ask clients for the password in this file's first line");
  add_switch(command, flags, "insecure", "Listen for other machines although there is no password or secret");
  add_switch(command, flags, "open_metrics", "Answer GET /metrics without the password");
  add_list(command, flags, "--cors-origins", "cors_origins",
           "Web pages that may ask, as https://chat.example, or *");
  add_value(command, flags, "log_format", "text or json (one object a line)");
  add_value(command, flags, "log_level", "debug, info, warning or error");
  add_value(command, flags, "default_model", "PROVIDER/MODEL of agents that name none");
  add_cluster_options(command, flags);
}

varve::Result<std::string> read_file(const std::string& path) {
  using varve::kConfigFileBytesMax;
  errno = 0;  // For the reason below: streams keep none.
  std::ifstream file(path, std::ios::binary);
  std::string text(kConfigFileBytesMax + 1, '\0');
  if (!file || (!file.read(text.data(), static_cast<std::streamsize>(text.size())) && !file.eof())) {
    const std::string reason = errno == 0 ? "it is no file" : std::strerror(errno);
    return varve::Error{varve::Errc::not_found, "cannot read '" + path + "': " + reason};
  }
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() <= kConfigFileBytesMax) return text;
  return varve::Error{varve::Errc::resource_exhausted,
                      "'" + path + "' has more than " + std::to_string(kConfigFileBytesMax) + " bytes"};
}

varve::Result<varve::Config> load(const Flags& flags) {
  varve::ConfigInput input{flags, {}, read_file};
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    const std::string text = *variable;
    const std::size_t equals = text.find('=');
    if (equals != std::string::npos)
      input.environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return varve::load_config(input);
}

// A word that no command knows may be one that it does, mistyped.
void suggest_flag(const CLI::App& app) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  std::vector<std::string> known;
  for (const CLI::Option* option : command->get_options()) known.push_back(option->get_name());
  for (const std::string& word : app.remaining(true)) {
    if (!word.starts_with("--")) continue;
    const std::string name = word.substr(0, word.find('='));
    if (const std::string near = varve::suggestion(name, known); !near.empty()) {
      std::cerr << "unknown option '" << name << "'" << near << "\n";
      return;
    }
  }
}

struct Commands {
  Flags flags;
  CLI::App* serve = nullptr;
  CLI::App* show = nullptr;
  CLI::App* dump = nullptr;
  CLI::App* tail = nullptr;
  CLI::App* copy = nullptr;
  CLI::App* verify = nullptr;
  CLI::App* import_files = nullptr;
  CLI::App* migrate = nullptr;
  varve::MigrateCommand migrate_options;
  CLI::App* cluster_status = nullptr;
  varve::ClusterStatusCommand cluster_options;
  varve::ImportCommand import_options;
  varve::QuarantineWords quarantine;
  varve::ProjectionWords projections;
  varve::VerifyCommand verify_options;
  varve::ForkWords fork;
  varve::TeleportWords teleport;
  varve::DumpOptions dump_options;
  varve::TailOptions tail_options;
  varve::InspectCommands inspect;
  bool show_json = false;
};

// Where a command finds the log that it looks at.
void add_log_place(CLI::App& command, Flags& flags) {
  add_place_options(command, flags);
  add_value(command, flags, "log", "sqlite (in the data directory, the default) or kafka");
  add_topic_options(command, flags);
  add_value(command, flags, "partitions", "Partitions of the topic (default 4)");
}

// And the views.
void add_views_place(CLI::App& command, Flags& flags) {
  add_value(command, flags, "store", "sqlite (in the data directory, the default) or postgres");
  add_database_options(command, flags);
}

void add_log_commands(CLI::App& app, Commands& commands) {
  auto* log = app.add_subcommand("log", "Look at the log");
  log->require_subcommand(1);
  auto* dump = log->add_subcommand(
      "dump", "Print every record with its admission verdict; works while the server runs");
  add_log_place(*dump, commands.flags);
  dump->add_option("--partition", commands.dump_options.partition, "Only this partition");
  dump->add_option("--from", commands.dump_options.from, "Only records at this offset or behind it");
  dump->add_flag("--json", commands.dump_options.json, "One JSON object a line instead of text");

  auto* tail = log->add_subcommand("tail", "Print the newest records; works while the server runs");
  add_log_place(*tail, commands.flags);
  tail->add_flag("-f,--follow", commands.tail_options.follow, "Go on with new ones as they come");
  tail->add_option("--partition", commands.tail_options.partition, "Only this partition");
  tail->add_option("-n,--records", commands.tail_options.records, "How many of the newest")
      ->check(CLI::Range(std::size_t{0}, varve::kTailRecordsMax))
      ->capture_default_str();
  tail->add_flag("--json", commands.tail_options.json, "One JSON object a line instead of text");

  auto* copy =
      log->add_subcommand("copy", "Copy the log of a data directory into a topic of Kafka, offsets kept");
  add_place_options(*copy, commands.flags);
  add_topic_options(*copy, commands.flags);
  add_value(*copy, commands.flags, "kafka_replication_factor",
            "Replicas of a topic that is made (default 3)");
  commands.dump = dump;
  commands.tail = tail;
  commands.copy = copy;
}

void add_import(CLI::App& app, Commands& commands) {
  auto* command = app.add_subcommand("import", "Send agent files (.af) to a server that runs");
  varve::ImportCommand& options = commands.import_options;
  command->add_option("files", options.files, "Agent files")->required()->check(CLI::ExistingFile);
  command->add_option("--server", options.server, "Where the server is")->capture_default_str();
  command->add_option("--key", options.key, "Go on with the import that printed this key");
  command->add_option("--model", options.model, "PROVIDER/MODEL instead of what the files say");
  add_value(*command, commands.flags, "config", "A TOML file that may hold the password");
  add_value(*command, commands.flags, "password_file",
            "The server's password is this file's first line (else VARVE_PASSWORD or LETTA_SERVER_PASS)");
  command->add_flag("--copy-suffix", options.append_copy_suffix, "Append _copy to the agents' names");
  command->add_option("--retry-seconds", options.retry_seconds, "How long to try again what may pass")
      ->check(CLI::Range(0, 3600))
      ->capture_default_str();
  commands.import_files = command;
}

void add_cluster_commands(CLI::App& app, Commands& commands) {
  auto* cluster = app.add_subcommand("cluster", "Look at the nodes that share a log");
  cluster->require_subcommand(1);
  auto* status = cluster->add_subcommand(
      "status", "Print nodes, partitions, their owners and epochs, and how far the views are behind");
  varve::ClusterStatusCommand& options = commands.cluster_options;
  status->add_option("--server", options.server, "Any node of the cluster")->capture_default_str();
  status->add_flag("--json", options.json, "JSON instead of tables");
  add_value(*status, commands.flags, "config", "A TOML file that may hold the password");
  add_value(*status, commands.flags, "password_file",
            "The server's password is this file's first line (else VARVE_PASSWORD or LETTA_SERVER_PASS)");
  commands.cluster_status = status;
}

void add_migrate(CLI::App& app, Commands& commands) {
  auto* command = app.add_subcommand("migrate", "Bring the schema of a PostgreSQL database up to date");
  add_value(*command, commands.flags, "postgres_url",
            "postgresql://USER@HOST:PORT/DATABASE, without a password");
  add_value(*command, commands.flags, "postgres_password_file",
            "PostgreSQL's password is this file's first line (else VARVE_POSTGRES_PASSWORD)");
  add_value(*command, commands.flags, "config", "A TOML file that may hold both");
  command->add_flag("--check", commands.migrate_options.check,
                    "Change nothing: say what is missing, with exit code 1 if something is");
  commands.migrate = command;
}

void add_continuous(CLI::App& verify, varve::VerifyCommand& options) {
  auto* continuous = verify.add_flag("--continuous", options.continuous,
                                     "Again and again, until it is stopped or finds a difference");
  continuous->excludes("--view")->excludes("--sample");
  verify.add_option("--rate", options.rate, "With --continuous: records and rows per second")
      ->check(CLI::Range(1, 1'000'000'000))
      ->needs(continuous)
      ->capture_default_str();
  verify.add_option("--rounds", options.rounds, "With --continuous: end after so many rounds")
      ->check(CLI::Range(1, 1'000'000'000))
      ->needs(continuous);
}

void add_commands(CLI::App& app, Commands& commands) {
  commands.serve = app.add_subcommand("serve", "Serve the Letta V1 API from a data directory");
  add_server_options(*commands.serve, commands.flags);
  auto* config = app.add_subcommand("config", "Look at the configuration");
  config->require_subcommand(1);
  commands.show = config->add_subcommand("show", "Print every value and where it came from");
  add_server_options(*commands.show, commands.flags);
  commands.show->add_flag("--json", commands.show_json, "JSON instead of a table");
  add_log_commands(app, commands);
  add_import(app, commands);
  add_migrate(app, commands);
  add_cluster_commands(app, commands);
  varve::add_projection_words(varve::projections_group(app), commands.flags, commands.projections);
  varve::add_quarantine(varve::projections_group(app), commands.flags, commands.quarantine);
  varve::add_fork(app, commands.flags, commands.fork);
  varve::add_teleport(app, commands.flags, commands.teleport,
                      [&commands](CLI::App& command) { add_log_place(command, commands.flags); });
  varve::add_inspect_commands(app, commands.inspect,
                              [&commands](CLI::App& command) { add_log_place(command, commands.flags); });
  add_views_place(*commands.inspect.bisect, commands.flags);
  commands.verify =
      app.add_subcommand("verify", "Fold the log anew and compare: digests, rows and log must agree");
  add_log_place(*commands.verify, commands.flags);
  add_views_place(*commands.verify, commands.flags);
  commands.verify->add_option("--view", commands.verify_options.view, "Only this one");
  commands.verify
      ->add_option("--sample", commands.verify_options.sample, "Compare the rows of so many of 100 entities")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  add_continuous(*commands.verify, commands.verify_options);
}

int refuse(const std::string& what) {
  std::cerr << "varve: " << what << "\n";
  return varve::kExitUsage;
}

int run(const Commands& commands) {
  const auto config = load(commands.flags);
  if (!config) return refuse(config.error().message);
  if (*commands.show) {
    std::cout << varve::show_config(*config, commands.show_json);
    return varve::kExitDone;
  }
  if (*commands.import_files) {
    varve::ImportCommand options = commands.import_options;
    options.password = config->password;
    return varve::run_import(options);
  }
  if (*commands.cluster_status) {
    varve::ClusterStatusCommand options = commands.cluster_options;
    options.password = config->password;
    return varve::run_cluster_status(options);
  }
  if (commands.projections.chosen()) return varve::run(commands.projections, *config);
  if (commands.quarantine.chosen()) return varve::run(commands.quarantine, *config);
  if (commands.fork.chosen()) return varve::run(commands.fork, *config);
  if (commands.teleport.chosen() && !commands.teleport.reads_log()) {
    return varve::run(commands.teleport, *config);
  }
  if (*commands.migrate) return varve::run_migrate(*config, commands.migrate_options);
  if (*commands.serve) return varve::run_serve(*config);
  const bool looks_into_directory =
      config->log != "kafka" || *commands.copy || (*commands.verify && config->store != "postgres");
  if (looks_into_directory && config->data_dir.empty()) {
    return refuse(
        "which data directory? Give --data-dir DIR, VARVE_DATA_DIR, or data_dir in the file of --config");
  }
  if ((*commands.copy || config->log == "kafka") && config->kafka.brokers.empty()) {
    return refuse(
        "which Kafka? Give --kafka-brokers HOST:PORT, VARVE_KAFKA_BROKERS, or kafka_brokers in the file of "
        "--config");
  }
  if (commands.teleport.chosen()) return varve::run(commands.teleport, *config);
  if (*commands.copy) return varve::run_log_copy(*config);
  if (*commands.dump) return varve::run_dump(*config, commands.dump_options);
  if (*commands.tail) return varve::run_tail(*config, commands.tail_options);
  if (const auto code = varve::run_inspect_command(commands.inspect, *config)) return *code;
  return varve::run_verify(*config, commands.verify_options);
}

}  // namespace

int main(int argc, char** argv) {
  // A full disk or a file size limit must come back as an error of the write, not end the process.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);

  CLI::App app{kAbout};
  app.name("varve");
  app.set_version_flag("--version", std::string("varve ") + varve::kVersion);
  app.require_subcommand(1);
  app.footer("Exit codes: 0 done, 1 it failed or differs, 2 wrong usage, 3 the data directory is in use.");
  Commands commands;
  add_commands(app, commands);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // The library only says that a command is missing.
    const auto words = app.remaining(true);
    if (app.get_subcommands().empty() && !words.empty() && !words.front().starts_with("-")) {
      return refuse("there is no command '" + words.front() + "'; varve --help lists them");
    }
    const int code = app.exit(error);
    if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) suggest_flag(app);
    return code == 0 ? 0 : varve::kExitUsage;
  }
  return run(commands);
}
