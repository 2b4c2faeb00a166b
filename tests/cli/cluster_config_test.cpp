// The configuration of a cluster: log, store, roles and secrets, which of them belong together, and that no
// secret is shown.
#include <gtest/gtest.h>

#include <ostream>

#include "cli/config.h"

namespace varve {
namespace {

using Flags = std::map<std::string, std::vector<std::string>>;
using Variables = std::map<std::string, std::string>;

Result<Config> load(const std::string& toml, const Variables& environment = {}, const Flags& flags = {}) {
  ConfigInput input{flags, environment, {}};
  if (!toml.empty()) input.environment.emplace("VARVE_CONFIG", "v.toml");
  input.read_file = [&toml](const std::string& path) -> Result<std::string> {
    if (path == "v.toml") return toml;
    if (path == "secret.txt") return std::string("from a file\n");
    return Error{Errc::not_found, "cannot read " + path};
  };
  return load_config(input);
}

Config loaded(const std::string& toml, const Variables& environment = {}, const Flags& flags = {}) {
  auto config = load(toml, environment, flags);
  if (!config) ADD_FAILURE() << config.error().message;
  return config ? std::move(*config) : Config{};
}

std::string shown(const Config& config, const std::string& key) {
  for (const Setting& setting : config.settings) {
    if (setting.key == key) return setting.value.dump() + " <- " + setting.source;
  }
  return "no such setting";
}

// Everything that a member of a cluster on one machine needs.
const std::string kCluster =
    "log = \"kafka\"\nstore = \"postgres\"\nkafka_brokers = [\"127.0.0.1:9092\"]\n"
    "postgres_url = \"postgresql://varve@127.0.0.1/varve\"\n";

TEST(ClusterConfig, DefaultsAreOneProcessOnFiles) {
  const Config config = loaded("");
  EXPECT_EQ("sqlite", config.log);
  EXPECT_EQ("sqlite", config.store);
  EXPECT_TRUE(config.roles.all());
  EXPECT_EQ("varve", config.cluster);
  EXPECT_EQ(std::chrono::seconds{30}, config.drain_timeout);
  EXPECT_EQ("\"varve.events\" <- default", shown(config, "kafka_topic"));
  EXPECT_EQ("[\"api\",\"actors\",\"projections\"] <- default", shown(config, "roles"));
  EXPECT_EQ("null <- default", shown(config, "cluster_secret"));
}

TEST(ClusterConfig, EveryKeyComesFromTheFileTheEnvironmentAndFlags) {
  const Config config = loaded(kCluster + "roles = [\"api\"]\nkafka_session_timeout = 10\n",
                               {{"VARVE_KAFKA_BROKERS", "a:1, b:2"},
                                {"VARVE_ROLES", "actors,projections"},
                                {"VARVE_CLUSTER", "two"},
                                {"VARVE_KAFKA_REPLICATION_FACTOR", "1"}},
                               {{"roles", {"projections"}},
                                {"drain_timeout", {"5"}},
                                {"node_url", {"http://node-1:8283"}},
                                {"migrate", {"true"}}});
  EXPECT_EQ((std::vector<std::string>{"a:1", "b:2"}), config.kafka.brokers);
  EXPECT_EQ(1U, config.kafka.replication_factor);
  EXPECT_EQ(std::chrono::seconds{10}, config.kafka.session_timeout);
  EXPECT_EQ((Roles{.api = false, .actors = false, .projections = true}), config.roles);
  EXPECT_EQ("two", config.cluster);
  EXPECT_EQ(std::chrono::seconds{5}, config.drain_timeout);
  EXPECT_EQ("http://node-1:8283", config.node_url);
  EXPECT_TRUE(config.postgres.migrate);
  EXPECT_EQ("[\"projections\"] <- flag --roles", shown(config, "roles"));
}

TEST(ClusterConfig, PropertiesOfLibrdkafkaPassThroughFromEverywhere) {
  const Config config = loaded(
      "[kafka]\nsasl.mechanism = \"PLAIN\"\n\"security.protocol\" = \"SASL_SSL\"\nsocket.keepalive.enable = "
      "true\n"
      "socket.max.fails = 3\n",
      {{"VARVE_KAFKA__SASL_USERNAME", "varve"}, {"VARVE_KAFKA__SASL_PASSWORD", "hunter2"}},
      {{"kafka", {"sasl.mechanism=SCRAM-SHA-256", "client.rack=b=c"}}});
  const std::map<std::string, std::string> wanted{
      {"client.rack", "b=c"},     {"sasl.mechanism", "SCRAM-SHA-256"}, {"sasl.password", "hunter2"},
      {"sasl.username", "varve"}, {"security.protocol", "SASL_SSL"},   {"socket.keepalive.enable", "true"},
      {"socket.max.fails", "3"}};
  EXPECT_EQ(wanted, config.kafka.properties);
  EXPECT_EQ("\"SCRAM-SHA-256\" <- flag --kafka", shown(config, "kafka.sasl.mechanism"));
  EXPECT_EQ("\"(set)\" <- environment VARVE_KAFKA__SASL_PASSWORD", shown(config, "kafka.sasl.password"));
  EXPECT_EQ("\"SASL_SSL\" <- file v.toml:3", shown(config, "kafka.security.protocol"));
}

TEST(ClusterConfig, SecretsComeFromFilesAndAreNotShown) {
  const Config config = loaded(
      "cluster_secret = \"hunter2\"\npostgres_password_file = \"secret.txt\"\n"
      "[kafka]\nsasl.password = \"hunter2\"\nssl.key.pem = \"hunter2\"\n");
  EXPECT_EQ("hunter2", config.cluster_secret);
  EXPECT_EQ("from a file", config.postgres.password);
  EXPECT_EQ("\"(set)\" <- file v.toml:2", shown(config, "postgres_password"));
  for (const bool json : {false, true}) {
    const std::string text = show_config(config, json);
    EXPECT_EQ(std::string::npos, text.find("hunter2")) << text;
    EXPECT_EQ(std::string::npos, text.find("from a file")) << text;
  }
}

// ---- what is refused

struct Refused {
  const char* name;
  std::string toml;
  Variables environment;
  Flags flags;
  const char* message;
  friend std::ostream& operator<<(std::ostream& out, const Refused& row) { return out << row.name; }
};

class RefusedClusterConfig : public testing::TestWithParam<Refused> {};

TEST_P(RefusedClusterConfig, SaysWhatIsWrongWhere) {
  const Refused& row = GetParam();
  const auto config = load(row.toml, row.environment, row.flags);
  EXPECT_EQ(row.message, config ? "accepted" : config.error().message);
}

INSTANTIATE_TEST_SUITE_P(
    Values, RefusedClusterConfig,
    testing::Values(
        Refused{"log",
                "log = \"pulsar\"\n",
                {},
                {},
                "v.toml:1: log: expected one of sqlite, kafka, got 'pulsar'"},
        Refused{"role",
                "",
                {{"VARVE_ROLES", "api,cook"}},
                {},
                "VARVE_ROLES: roles: expected a list of api, actors, projections, got 'api,cook'"},
        Refused{"no_role", "roles = []\n", {}, {}, "v.toml:1: roles: a process needs a role at least"},
        Refused{"broker",
                "",
                {{"VARVE_KAFKA_BROKERS", "kafka"}},
                {},
                "VARVE_KAFKA_BROKERS: kafka_brokers: expected a list of HOST:PORT, as in kafka-1:9092, got "
                "'kafka'"},
        Refused{"password_in_url",
                "",
                {{"VARVE_POSTGRES_URL", "postgresql://varve:hunter2@db/varve"}},
                {},
                "VARVE_POSTGRES_URL: postgres_url: expected postgresql://USER@HOST:PORT/DATABASE without the "
                "password, which is postgres_password's or postgres_password_file's, got one with a user, "
                "which is not shown"},
        Refused{"node_url_with_path",
                "",
                {},
                {{"node_url", {"http://node-1:8283/"}}},
                "--node-url: node_url: expected an address that other nodes reach, as in "
                "http://node-1:8283, got 'http://node-1:8283/'"},
        Refused{"typing_error",
                "",
                {{"VARVE_KAFKA_TOPIK", "x"}},
                {},
                "unknown environment variable 'VARVE_KAFKA_TOPIK'; did you mean 'VARVE_KAFKA_TOPIC'?"},
        Refused{"empty_secret",
                "",
                {{"VARVE_CLUSTER_SECRET", ""}},
                {},
                "VARVE_CLUSTER_SECRET: cluster_secret: it is empty; unset it to have none"}),
    [](const auto& info) { return std::string{info.param.name}; });

INSTANTIATE_TEST_SUITE_P(
    Properties, RefusedClusterConfig,
    testing::Values(
        Refused{"guarantee",
                "[kafka]\nacks = \"1\"\n",
                {},
                {},
                "v.toml:2: kafka.acks: the log's guarantees rest on it, so that it is not free to choose"},
        Refused{"brokers",
                "",
                {{"VARVE_KAFKA__BOOTSTRAP_SERVERS", "a:1"}},
                {},
                "VARVE_KAFKA__BOOTSTRAP_SERVERS: kafka.bootstrap.servers: kafka_brokers says it"},
        Refused{"no_value",
                "",
                {},
                {{"kafka", {"sasl.mechanism"}}},
                "--kafka: kafka: expected PROPERTY=VALUE, as in sasl.mechanism=PLAIN"},
        Refused{"no_table",
                "kafka = 1\n",
                {},
                {},
                "v.toml:1: kafka: expected a table of properties of librdkafka"},
        Refused{"strange",
                "[kafka]\n\"Sasl_Mechanism\" = \"x\"\n",
                {},
                {},
                "v.toml:2: kafka.Sasl_Mechanism: expected a property of librdkafka, as in sasl.mechanism"},
        Refused{"list",
                "[kafka]\nsasl.password = [\"hunter2\"]\n",
                {},
                {},
                "v.toml:2: kafka.sasl.password: expected text, a whole number, true or false, got something "
                "else, which is not shown"}),
    [](const auto& info) { return std::string{info.param.name}; });

// ---- what belongs together

struct Together {
  const char* name;
  std::string toml;
  const char* message;  // Its beginning.
  friend std::ostream& operator<<(std::ostream& out, const Together& row) { return out << row.name; }
};

class ServerConfig : public testing::TestWithParam<Together> {};

TEST_P(ServerConfig, IsCheckedAsAWhole) {
  const Status fits = check_server(loaded(GetParam().toml));
  const std::string said = fits ? "fits" : fits.error().message;
  EXPECT_TRUE(said.starts_with(GetParam().message)) << said;
}

INSTANTIATE_TEST_SUITE_P(
    Table, ServerConfig,
    testing::Values(
        Together{"files", "data_dir = \"x\"\n", "fits"}, Together{"cluster", kCluster, "fits"},
        Together{"own_log_shared_views",
                 "data_dir = \"x\"\nstore = \"postgres\"\npostgres_url = \"postgresql://db/varve\"\n",
                 "fits"},
        Together{"no_directory", "", "which data directory?"},
        Together{"no_directory_for_the_log",
                 "store = \"postgres\"\npostgres_url = \"postgresql://db/varve\"\n", "which data directory?"},
        Together{"no_brokers",
                 "log = \"kafka\"\nstore = \"postgres\"\npostgres_url = \"postgresql://db/v\"\n",
                 "log = kafka: give kafka_brokers"},
        Together{"views_in_a_file", "data_dir = \"x\"\nlog = \"kafka\"\nkafka_brokers = [\"a:1\"]\n",
                 "log = kafka needs store = postgres"},
        Together{"kafka_alone", "log = \"kafka\"\n", "log = kafka: give kafka_brokers"},
        Together{"views_nowhere", "log = \"kafka\"\nkafka_brokers = [\"a:1\"]\n",
                 "log = kafka needs store = postgres"},
        Together{"no_database", "data_dir = \"x\"\nstore = \"postgres\"\n",
                 "store = postgres: give postgres_url"},
        Together{"roles_of_a_file", "data_dir = \"x\"\nroles = [\"api\"]\n",
                 "roles: a log in a file has one process"},
        Together{"open_door", "data_dir = \"x\"\nlisten = \"0.0.0.0:8283\"\n",
                 "other machines can reach 0.0.0.0, and there is no password"},
        Together{
            "no_secret",
            kCluster + "listen = \"0.0.0.0:8283\"\npassword = \"p\"\nnode_url = \"http://node-1:8283\"\n",
            "other machines can reach 0.0.0.0, and the nodes have no secret"},
        Together{"unreachable",
                 kCluster + "listen = \"0.0.0.0:8283\"\npassword = \"p\"\ncluster_secret = \"s\"\n",
                 "other nodes cannot reach 0.0.0.0: say in node_url"},
        Together{"complete",
                 kCluster + "listen = \"0.0.0.0:8283\"\npassword = \"p\"\ncluster_secret = \"s\"\n"
                            "node_url = \"http://node-1:8283\"\n",
                 "fits"},
        Together{"open_on_purpose",
                 kCluster + "listen = \"0.0.0.0:8283\"\ninsecure = true\nnode_url = \"http://node-1:8283\"\n",
                 "fits"}),
    [](const auto& info) { return std::string{info.param.name}; });

}  // namespace
}  // namespace varve
