// The configuration: which source wins, what is refused and with which words, and that no secret is shown.
#include "cli/config.h"

#include <gtest/gtest.h>

#include <ostream>

#include "cli/suggest.h"

namespace varve {
namespace {

using Flags = std::map<std::string, std::vector<std::string>>;
using Variables = std::map<std::string, std::string>;

Result<Config> load(const std::string& toml, const Variables& environment = {}, const Flags& flags = {}) {
  ConfigInput input{flags, environment, {}};
  if (!toml.empty()) input.environment.emplace("VARVE_CONFIG", "v.toml");
  input.read_file = [&toml](const std::string& path) -> Result<std::string> {
    if (path == "v.toml") return toml;
    if (path == "secret.txt") return std::string("from a file\nsecond line\n");
    if (path == "windows.txt") return std::string("from windows\r\n");
    if (path == "empty.txt") return std::string("\nsecret\n");
    return Error{Errc::not_found, "cannot read " + path};
  };
  return load_config(input);
}

Config loaded(const std::string& toml, const Variables& environment = {}, const Flags& flags = {}) {
  auto config = load(toml, environment, flags);
  if (!config) ADD_FAILURE() << config.error().message;
  return config ? std::move(*config) : Config{};
}

std::string refusal(const std::string& toml, const Variables& environment = {}, const Flags& flags = {}) {
  const auto config = load(toml, environment, flags);
  return config ? "accepted" : config.error().message;
}

// "value <- source"
std::string shown(const Config& config, const std::string& key) {
  for (const Setting& setting : config.settings) {
    if (setting.key == key) return setting.value.dump() + " <- " + setting.source;
  }
  return "no such setting";
}

TEST(Config, HasDefaults) {
  const Config config = loaded("");
  EXPECT_EQ("", config.data_dir);
  EXPECT_EQ("127.0.0.1", config.host);
  EXPECT_EQ(8283, config.port);
  EXPECT_EQ(kPartitionsDefault, config.partitions);
  EXPECT_FALSE(config.insecure);
  EXPECT_TRUE(config.providers.empty());
  EXPECT_EQ("\"127.0.0.1:8283\" <- default", shown(config, "listen"));
  EXPECT_EQ("null <- default", shown(config, "password"));
}

TEST(Config, FlagsWinOverTheEnvironmentOverTheFile) {
  const std::string toml = "data_dir = \"/f\"\nlisten = \"127.0.0.1:1\"\npartitions = 2\n";
  const Config config =
      loaded(toml, {{"VARVE_LISTEN", "127.0.0.1:2"}, {"VARVE_PARTITIONS", "3"}}, {{"partitions", {"4"}}});
  EXPECT_EQ("/f", config.data_dir);
  EXPECT_EQ(2, config.port);
  EXPECT_EQ(4U, config.partitions);
  EXPECT_EQ("\"v.toml\" <- environment VARVE_CONFIG", shown(config, "config"));
  EXPECT_EQ("\"/f\" <- file v.toml:1", shown(config, "data_dir"));
  EXPECT_EQ("\"127.0.0.1:2\" <- environment VARVE_LISTEN", shown(config, "listen"));
  EXPECT_EQ("4 <- flag --partitions", shown(config, "partitions"));
}

TEST(Config, TheFileThatAFlagNamesIsTheOneThatIsRead) {
  const Config config =
      loaded("insecure = true\n", {{"VARVE_CONFIG", "other.toml"}}, {{"config", {"v.toml"}}});
  EXPECT_TRUE(config.insecure);
  EXPECT_EQ("environment VARVE_CONFIG: cannot read other.toml",
            refusal("x", {{"VARVE_CONFIG", "other.toml"}}));
}

TEST(Config, ListsAndSwitches) {
  const Config file = loaded("cors_origins = [\"https://a.example\", \"*\"]\ninsecure = true\n");
  EXPECT_EQ((std::vector<std::string>{"https://a.example", "*"}), file.cors_origins);
  EXPECT_TRUE(file.insecure);
  const Config environment = loaded(
      "", {{"VARVE_CORS_ORIGINS", "https://a.example, http://b.example:81"}, {"VARVE_INSECURE", "yes"}});
  EXPECT_EQ((std::vector<std::string>{"https://a.example", "http://b.example:81"}), environment.cors_origins);
  EXPECT_TRUE(environment.insecure);
  EXPECT_FALSE(loaded("insecure = true", {{"VARVE_INSECURE", "off"}}).insecure);
  const Config flags = loaded("", {}, {{"cors_origins", {"http://a.example", "http://b.example"}}});
  EXPECT_EQ((std::vector<std::string>{"http://a.example", "http://b.example"}), flags.cors_origins);
}

TEST(Config, LimitsOfTheViewsLag) {
  const Config usual = loaded("");
  EXPECT_FALSE(usual.open_metrics);
  EXPECT_EQ(10'000U, usual.ready_lag_records);
  EXPECT_EQ(std::chrono::seconds{30}, usual.ready_lag);
  EXPECT_EQ(50'000U, usual.ack_log_lag_records);
  const Config chosen = loaded("open_metrics = true\nready_lag_records = 7\n", {{"VARVE_READY_LAG", "5"}},
                               {{"ack_log_lag_records", {"0"}}});
  EXPECT_TRUE(chosen.open_metrics);
  EXPECT_EQ(7U, chosen.ready_lag_records);
  EXPECT_EQ(std::chrono::seconds{5}, chosen.ready_lag);
  EXPECT_EQ(0U, chosen.ack_log_lag_records);
  EXPECT_EQ("5 <- environment VARVE_READY_LAG", shown(chosen, "ready_lag"));
  EXPECT_NE(std::string::npos, refusal("ready_lag = 0").find("a whole number from 1 to 86400"));
}

TEST(Config, TheVerificationInTheBackground) {
  const Config usual = loaded("");
  EXPECT_FALSE(usual.verify_continuous);
  EXPECT_EQ(2'000U, usual.verify_rate);
  EXPECT_EQ(std::chrono::seconds{60}, usual.verify_pause);
  const Config chosen =
      loaded("verify_continuous = true\nverify_rate = 500\n", {{"VARVE_VERIFY_PAUSE", "0"}});
  EXPECT_TRUE(chosen.verify_continuous);
  EXPECT_EQ(500U, chosen.verify_rate);
  EXPECT_EQ(std::chrono::seconds{0}, chosen.verify_pause);
  EXPECT_EQ("true <- file v.toml:1", shown(chosen, "verify_continuous"));
  EXPECT_NE(std::string::npos, refusal("verify_rate = 0").find("a whole number from 1 to 10000000"));
}

TEST(Config, TakesAddressesOfBothKinds) {
  EXPECT_EQ("::1", loaded("", {}, {{"listen", {"[::1]:9000"}}}).host);
  EXPECT_EQ(0, loaded("", {}, {{"listen", {"localhost:0"}}}).port);
  EXPECT_EQ("http://[::1]:9000", url_of("::1", 9000));
  EXPECT_EQ("http://localhost:80", url_of("localhost", 80));
  for (const char* host : {"127.0.0.1", "127.9.9.9", "::1", "localhost"})
    EXPECT_TRUE(is_loopback(host)) << host;
  for (const char* host :
       {"0.0.0.0", "::", "10.0.0.1", "0", "127.evil.example", "::ffff:10.0.0.1", "example.org"})
    EXPECT_FALSE(is_loopback(host)) << host;
}

// ---- providers

TEST(Config, ProvidersKeepTheOrderOfTheFile) {
  const Config config = loaded(
      "[providers.zeta]\nbase_url = \"http://10.0.0.1:8000/v1/\"\napi_key = \"k\"\ntype = \"vllm\"\n"
      "models = [\"a\", \"b\"]\nmax_tokens_field = \"max_tokens\"\nca_file = \"/ca\"\ncontext_window = 4096\n"
      "[providers.ollama]\n");
  ASSERT_EQ(2U, config.providers.size());
  const ProviderConfig zeta{.name = "zeta",
                            .type = "vllm",
                            .base_url = "http://10.0.0.1:8000/v1",
                            .api_key = "k",
                            .models = {"a", "b"},
                            .max_tokens_field = "max_tokens",
                            .ca_file = "/ca",
                            .context_window = 4096};
  EXPECT_EQ(zeta, config.providers[0]);
  const ProviderConfig ollama{.name = "ollama",
                              .type = "ollama",
                              .base_url = "http://127.0.0.1:11434/v1",
                              .api_key = "",
                              .models = {}};
  EXPECT_EQ(ollama, config.providers[1]);
  EXPECT_EQ("\"(set)\" <- file v.toml:3", shown(config, "providers.zeta.api_key"));
  EXPECT_EQ("\"http://127.0.0.1:11434/v1\" <- default", shown(config, "providers.ollama.base_url"));
}

TEST(Config, TheEnvironmentCompletesProviders) {
  const Config config = loaded("[providers.my-vllm]\ntype = \"vllm\"\nbase_url = \"http://v/v1\"\n",
                               {{"VARVE_PROVIDERS_MY_VLLM_API_KEY", "k"},
                                {"VARVE_PROVIDERS_OTHER_ONE_BASE_URL", "https://o.example/v1"}});
  ASSERT_EQ(2U, config.providers.size());
  EXPECT_EQ("k", config.providers[0].api_key);
  EXPECT_EQ("other-one", config.providers[1].name);
  EXPECT_EQ("https://o.example/v1", config.providers[1].base_url);
}

struct Foreign {
  const char* name;
  Variables environment;
  const char* expected;  // "name type base_url api_key;" of each
  friend std::ostream& operator<<(std::ostream& out, const Foreign& row) { return out << row.name; }
};

class ForeignNames : public testing::TestWithParam<Foreign> {};

TEST_P(ForeignNames, MakeProviders) {
  std::string all;
  for (const ProviderConfig& one : loaded("", GetParam().environment).providers)
    all += one.name + " " + one.type + " " + one.base_url + " " + one.api_key + ";";
  EXPECT_EQ(GetParam().expected, all);
}

INSTANTIATE_TEST_SUITE_P(
    Table, ForeignNames,
    testing::Values(
        Foreign{"none", {{"PATH", "/bin"}}, ""},
        Foreign{"key_alone", {{"OPENAI_API_KEY", "k"}}, "openai openai https://api.openai.com/v1 k;"},
        Foreign{"key_and_base",
                {{"OPENAI_API_KEY", "k"}, {"OPENAI_BASE_URL", "http://m:1/v1"}},
                "openai-proxy openai http://m:1/v1 k;"},
        Foreign{"older_name", {{"OPENAI_API_BASE", "http://m:1/v1"}}, "openai-proxy openai http://m:1/v1 ;"},
        Foreign{"newer_name_wins",
                {{"OPENAI_API_BASE", "http://a/v1"}, {"OPENAI_BASE_URL", "http://b/v1"}},
                "openai-proxy openai http://b/v1 ;"},
        Foreign{"empty_is_none", {{"OPENAI_API_KEY", ""}, {"OLLAMA_BASE_URL", ""}}, ""},
        Foreign{"ollama", {{"OLLAMA_BASE_URL", "http://o:11434"}}, "ollama ollama http://o:11434/v1 ;"},
        Foreign{"ollama_slash", {{"OLLAMA_BASE_URL", "http://o:1/"}}, "ollama ollama http://o:1/v1 ;"},
        Foreign{"vllm", {{"VLLM_API_BASE", "http://o:1/v1"}}, "vllm vllm http://o:1/v1 ;"},
        Foreign{"lmstudio", {{"LMSTUDIO_BASE_URL", "http://o:1"}}, "lmstudio lmstudio http://o:1/v1 ;"},
        Foreign{"openrouter",
                {{"OPENROUTER_API_KEY", "k"}},
                "openrouter openrouter https://openrouter.ai/api/v1 k;"}),
    [](const auto& info) { return std::string{info.param.name}; });

TEST(Config, OtherForeignNames) {
  const Variables environment{{"LETTA_SERVER_PASS", "letta"}, {"LETTA_DEFAULT_LLM_HANDLE", "ollama/a"}};
  const Config config = loaded("password = \"in the file\"\n", environment);
  EXPECT_EQ("letta", config.password);
  EXPECT_EQ("ollama/a", config.default_model);
  EXPECT_EQ("\"(set)\" <- environment LETTA_SERVER_PASS", shown(config, "password"));
  Variables both = environment;
  both["VARVE_PASSWORD"] = "varve";
  EXPECT_EQ("varve", loaded("", both).password);
}

// ---- secrets

TEST(Config, PasswordsComeFromFilesToo) {
  const Config config = loaded("password = \"x\"\n", {}, {{"password_file", {"secret.txt"}}});
  EXPECT_EQ("from a file", config.password);
  EXPECT_EQ("\"(set)\" <- flag --password-file", shown(config, "password"));
  EXPECT_EQ("from windows", loaded("", {{"VARVE_PASSWORD_FILE", "windows.txt"}}).password);
  EXPECT_EQ("y", loaded("password_file = \"secret.txt\"\n", {{"VARVE_PASSWORD", "y"}}).password);
  const Config provider = loaded("[providers.openai]\napi_key_file = \"secret.txt\"\n");
  EXPECT_EQ("from a file", provider.providers[0].api_key);
}

TEST(Config, ShowsNoSecret) {
  const Config config = loaded("password = \"hunter2\"\n[providers.openai]\napi_key = \"hunter2\"\n");
  for (const bool json : {false, true}) {
    const std::string text = show_config(config, json);
    EXPECT_EQ(std::string::npos, text.find("hunter2")) << text;
    EXPECT_NE(std::string::npos, text.find("(set)")) << text;
  }
  const auto parsed = Json::parse(show_config(config, true));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(config.settings.size(), parsed->find("settings")->items().size());
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

class RefusedConfig : public testing::TestWithParam<Refused> {};

TEST_P(RefusedConfig, SaysWhatIsWrongWhere) {
  const Refused& row = GetParam();
  EXPECT_EQ(row.message, refusal(row.toml, row.environment, row.flags));
}

INSTANTIATE_TEST_SUITE_P(
    Names, RefusedConfig,
    testing::Values(
        Refused{"near", "\nlisen = \"x\"\n", {}, {}, "v.toml:2: unknown key 'lisen'; did you mean 'listen'?"},
        Refused{"dash",
                "log-level = \"x\"\n",
                {},
                {},
                "v.toml:1: unknown key 'log-level'; did you mean 'log_level'?"},
        Refused{"far", "frobnicate = 1\n", {}, {}, "v.toml:1: unknown key 'frobnicate'"},
        Refused{"table", "[server]\nlisten = \"x\"\n", {}, {}, "v.toml:1: unknown key 'server'"},
        Refused{"provider_singular",
                "[provider.x]\nlisten = \"x\"\n",
                {},
                {},
                "v.toml:1: unknown key 'provider'; did you mean 'providers'?"},
        Refused{"provider_key",
                "[providers.x]\nbaseurl = \"x\"\n",
                {},
                {},
                "v.toml:2: unknown key 'providers.x.baseurl'; did you mean 'base_url'?"},
        Refused{"variable",
                "",
                {{"VARVE_LISEN", "x"}},
                {},
                "unknown environment variable 'VARVE_LISEN'; did you mean 'VARVE_LISTEN'?"},
        Refused{"provider_variable",
                "",
                {{"VARVE_PROVIDERS_X_FOO", "x"}},
                {},
                "unknown environment variable 'VARVE_PROVIDERS_X_FOO'"}),
    [](const auto& info) { return std::string{info.param.name}; });

INSTANTIATE_TEST_SUITE_P(
    Values, RefusedConfig,
    testing::Values(
        Refused{"number_as_text",
                "partitions = \"four\"\n",
                {},
                {},
                "v.toml:1: partitions: expected a whole number from 1 to 1024, got 'four'"},
        Refused{"fraction",
                "partitions = 1.5\n",
                {},
                {},
                "v.toml:1: partitions: expected a whole number from 1 to 1024, got a value of another kind"},
        Refused{"too_many",
                "",
                {{"VARVE_PARTITIONS", "1025"}},
                {},
                "VARVE_PARTITIONS: partitions: expected a whole number from 1 to 1024, got '1025'"},
        Refused{"none",
                "",
                {},
                {{"partitions", {"0"}}},
                "--partitions: partitions: expected a whole number from 1 to 1024, got '0'"},
        Refused{"overridden_too",
                "partitions = 0\n",
                {},
                {{"partitions", {"1"}}},
                "v.toml:1: partitions: expected a whole number from 1 to 1024, got 0"},
        Refused{"switch_as_text",
                "insecure = \"yes\"\n",
                {},
                {},
                "v.toml:1: insecure: expected true or false, got 'yes'"},
        Refused{"listen",
                "listen = 8283\n",
                {},
                {},
                "v.toml:1: listen: expected HOST:PORT, as in 127.0.0.1:8283, got 8283"},
        Refused{"listen_port",
                "",
                {},
                {{"listen", {"127.0.0.1:65536"}}},
                "--listen: listen: expected HOST:PORT, as in 127.0.0.1:8283, got '127.0.0.1:65536'"},
        Refused{"choice",
                "",
                {{"VARVE_LOG_FORMAT", "xml"}},
                {},
                "VARVE_LOG_FORMAT: log_format: expected one of text, json, got 'xml'"},
        Refused{"origin_with_path",
                "cors_origins = [\"https://a.example/\"]\n",
                {},
                {},
                "v.toml:1: cors_origins: expected a list of origins, as in https://chat.example, or *, got a "
                "list"},
        Refused{
            "no_list",
            "cors_origins = \"*\"\n",
            {},
            {},
            "v.toml:1: cors_origins: expected a list of origins, as in https://chat.example, or *, got '*'"},
        Refused{"handle",
                "",
                {{"LETTA_DEFAULT_LLM_HANDLE", "gpt"}},
                {},
                "LETTA_DEFAULT_LLM_HANDLE: default_model: expected PROVIDER/MODEL, as in ollama/qwen3, got "
                "'gpt'"}),
    [](const auto& info) { return std::string{info.param.name}; });

INSTANTIATE_TEST_SUITE_P(
    Providers, RefusedConfig,
    testing::Values(
        Refused{"name",
                "[providers.Big]\n",
                {},
                {},
                "v.toml:1: providers.Big: expected a provider's name of small letters, digits, '-' and '_' "
                "that is "
                "not 'varve', got 'Big'"},
        Refused{"ours",
                "[providers.varve]\n",
                {},
                {},
                "v.toml:1: providers.varve: expected a provider's name of small letters, digits, '-' and '_' "
                "that "
                "is not 'varve', got 'varve'"},
        Refused{"no_table",
                "[providers]\nx = 1\n",
                {},
                {},
                "v.toml:2: providers.x: expected a table for each provider, as in [providers.ollama]"},
        Refused{"type",
                "[providers.x]\ntype = \"openal\"\n",
                {},
                {},
                "v.toml:2: providers.x.type: expected one of openai, vllm, ollama, lmstudio, llamacpp, "
                "openrouter, "
                "got 'openal'"},
        Refused{"address_with_user",
                "",
                {{"OPENAI_BASE_URL", "http://a:b@h/v1"}},
                {},
                "OPENAI_BASE_URL: providers.openai-proxy.base_url: expected an address, as in "
                "http://127.0.0.1:11434/v1, without user, query or fragment, got one with a user, which is "
                "not shown"}),
    [](const auto& info) { return std::string{info.param.name}; });

INSTANTIATE_TEST_SUITE_P(
    Secrets, RefusedConfig,
    testing::Values(Refused{"both",
                            "password = \"x\"\npassword_file = \"secret.txt\"\n",
                            {},
                            {},
                            "v.toml:1: password: give this or password_file (v.toml:2), not both"},
                    Refused{"no_file",
                            "",
                            {},
                            {{"password_file", {"gone.txt"}}},
                            "--password-file: password_file: cannot read gone.txt"},
                    Refused{"empty_file",
                            "",
                            {},
                            {{"password_file", {"empty.txt"}}},
                            "--password-file: password_file: the first line of that file is empty"},
                    Refused{"empty_variable",
                            "",
                            {{"VARVE_PASSWORD", ""}},
                            {},
                            "VARVE_PASSWORD: password: it is empty; unset it to have none"},
                    Refused{"not_shown",
                            "password = \"se\\tcret\"\n",
                            {},
                            {},
                            "v.toml:1: password: expected 1 to 1024 printable ASCII characters without "
                            "spaces at the ends, got "
                            "something else, which is not shown"}),
    [](const auto& info) { return std::string{info.param.name}; });

TEST(Config, RefusesWhatIsNotToml) {
  EXPECT_TRUE(refusal("a = [\n").starts_with("v.toml:1:7: this is not TOML: "));
  EXPECT_TRUE(refusal("listen = \"\xff\"\n").starts_with("v.toml:1:"));
  EXPECT_TRUE(refusal("insecure = true\ninsecure = true\n").starts_with("v.toml:2:"));
}

TEST(Suggest, CountsEdits) {
  EXPECT_EQ(0U, edit_distance("listen", "listen"));
  EXPECT_EQ(1U, edit_distance("lisen", "listen"));
  EXPECT_EQ(3U, edit_distance("kitten", "sitting"));
  EXPECT_EQ(4U, edit_distance("", "four"));
  EXPECT_EQ("; did you mean 'b'?", suggestion("b", {"a", "b"}));
  EXPECT_EQ("", suggestion(std::string(300, 'b'), {"b"}));
}

}  // namespace
}  // namespace varve
