// The words of `varve projections list | status | rebuild`, taken apart.
#include <CLI/CLI.hpp>
#include <iostream>

#include "cli/projection_commands.h"
#include "cli/projections.h"

namespace varve {
namespace {

// Where log and views are.
void add_stores(CLI::App& command, ConfigFlags& flags) {
  add_key(command, flags, "--data-dir", "data_dir", "Where log and views live");
  add_key(command, flags, "--config", "config", "A TOML file with any of the keys of `varve config show`");
  add_key(command, flags, "--log", "log", "sqlite (in the data directory, the default) or kafka");
  add_key(command, flags, "--kafka-brokers", "kafka_brokers",
          "HOST:PORT of Kafka, several with commas between them");
  add_key(command, flags, "--kafka-topic", "kafka_topic", "The topic that is the log (default varve.events)");
  const std::function<void(const std::vector<std::string>&)> keep =
      [&flags](const std::vector<std::string>& values) { flags["kafka"] = values; };
  command.add_option_function("--kafka", keep, "PROPERTY=VALUE of librdkafka, as sasl.mechanism=PLAIN")
      ->allow_extra_args(false);
  add_key(command, flags, "--partitions", "partitions", "Partitions of the topic (default 4)");
  add_key(command, flags, "--store", "store", "sqlite (in the data directory, the default) or postgres");
  add_key(command, flags, "--postgres-url", "postgres_url",
          "postgresql://USER@HOST:PORT/DATABASE, without a password");
  add_key(command, flags, "--postgres-password-file", "postgres_password_file",
          "PostgreSQL's password is this file's first line (else VARVE_POSTGRES_PASSWORD)");
  add_key(command, flags, "--password-file", "password_file",
          "The server's password is this file's first line (else VARVE_PASSWORD or LETTA_SERVER_PASS)");
}

// Whether log and views are named.
bool names_stores(const Config& config) {
  const char* missing = nullptr;
  if (config.data_dir.empty() && (config.log != "kafka" || config.store != "postgres")) {
    missing =
        "which data directory? Give --data-dir DIR, VARVE_DATA_DIR, or data_dir in the file of --config";
  } else if (config.log == "kafka" && config.kafka.brokers.empty()) {
    missing =
        "which Kafka? Give --kafka-brokers HOST:PORT, VARVE_KAFKA_BROKERS, or kafka_brokers in the file "
        "of --config";
  } else if (config.store == "postgres" && config.postgres.url.empty()) {
    missing =
        "which database? Give --postgres-url, VARVE_POSTGRES_URL, or postgres_url in the file of --config";
  }
  if (missing != nullptr) std::cerr << "varve: " << missing << "\n";
  return missing == nullptr;
}

}  // namespace

bool ProjectionWords::chosen() const {
  return is_chosen(list) || is_chosen(status) || is_chosen(rebuild);
}

void add_projection_words(CLI::App& projections, ConfigFlags& flags, ProjectionWords& words) {
  words.list = projections.add_subcommand("list", "Print the views, their generation and how far they are");
  words.status = projections.add_subcommand(
      "status", "Print how far every partition is folded, its digests, and the streams in quarantine");
  words.rebuild = projections.add_subcommand(
      "rebuild", "Make the views anew from the log, beside those that are read, and put them in their place");
  for (CLI::App* command : {words.list, words.status}) {
    add_stores(*command, flags);
    command->add_option("--server", words.status_options.server,
                        "Ask this server, as http://127.0.0.1:8283, instead of log and views");
    command->add_flag("--json", words.status_options.json, "JSON instead of tables");
  }
  words.status->add_flag("--watch", words.status_options.watch, "Print it again every second");
  RebuildCommand& rebuild = words.rebuild_options;
  add_stores(*words.rebuild, flags);
  words.rebuild
      ->add_option("--server", rebuild.server,
                   "The server that uses the data directory: it rebuilds its views itself")
      ->capture_default_str();
  words.rebuild->add_option("--jobs", rebuild.jobs, "Partitions at a time")
      ->check(CLI::Range(std::size_t{1}, kRebuildJobsMax))
      ->capture_default_str();
  words.rebuild
      ->add_option("--grace", rebuild.grace_seconds,
                   "Seconds that the old views stay for reads that are under way")
      ->check(CLI::Range(0, 86'400))
      ->capture_default_str();
  words.rebuild->add_flag("--abort", rebuild.abort, "Remove what an interrupted rebuild has left");
}

int run(const ProjectionWords& words, const Config& config) {
  if (is_chosen(words.rebuild)) {
    return names_stores(config) ? run_rebuild(config, words.rebuild_options) : kExitUsage;
  }
  StatusCommand options = words.status_options;
  options.list = is_chosen(words.list);
  if (options.server.empty() && !names_stores(config)) return kExitUsage;
  return run_projections_status(config, options);
}

}  // namespace varve
