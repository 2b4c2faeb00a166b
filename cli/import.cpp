// varve import: sends agent files to a server that runs. Each file has a key, printed before anything is
// sent; with it the same import is asked for again, by hand or here, and goes on where it stopped. Only
// what may pass (no connection, 429, 503) is tried again, and only for a while.
#include <curl/curl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>

#include "api/agent_file.h"
#include "cli/commands.h"
#include "runtime/real_env.h"

namespace varve {
namespace {

constexpr long kAttemptSeconds = 720;  // The server gives an import ten minutes.
constexpr long kConnectSeconds = 10;
constexpr std::size_t kAnswerBytesMax = std::size_t{1} << 20U;
constexpr std::chrono::milliseconds kPauseFirst{200};
constexpr std::chrono::milliseconds kPauseMax{2000};
constexpr std::int64_t kBarColumns = 40;

struct FreeEasy {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
struct FreeMime {
  void operator()(curl_mime* mime) const { curl_mime_free(mime); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

struct Attempt {
  long status = 0;    // 0: no answer.
  std::string error;  // Why there is none.
  std::string body;
  bool may_retry = true;
};

// Drawn on a terminal only, on standard error.
struct Progress {
  std::string label;
  bool shown = false;
  std::int64_t percent = -1;

  void draw(curl_off_t total, curl_off_t sent) {
    if (!shown || total <= 0) return;
    const auto now = static_cast<std::int64_t>(sent * 100 / total);
    if (now == percent) return;
    percent = now;
    const auto full = static_cast<std::size_t>(now * kBarColumns / 100);
    std::string bar(full, '#');
    bar.resize(static_cast<std::size_t>(kBarColumns), '.');
    std::cerr << "\r" << label << " [" << bar << "] " << now << " %"
              << (now == 100 ? ", the server imports " : "") << std::flush;
  }
  void end() {
    if (shown && percent >= 0) std::cerr << "\n";
    percent = -1;
  }
};

int on_progress(void* progress, curl_off_t /*to_get*/, curl_off_t /*got*/, curl_off_t to_send,
                curl_off_t sent) {
  static_cast<Progress*>(progress)->draw(to_send, sent);
  return 0;
}

std::size_t on_body(char* bytes, std::size_t size, std::size_t count, void* into) {
  auto& attempt = *static_cast<Attempt*>(into);
  if (attempt.body.size() + size * count > kAnswerBytesMax) return 0;
  attempt.body.append(bytes, size * count);
  return size * count;
}

std::size_t on_header(char* bytes, std::size_t size, std::size_t count, void* into) {
  std::string line(bytes, size * count);
  std::transform(line.begin(), line.end(), line.begin(),
                 [](unsigned char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (line.starts_with("x-should-retry: false")) static_cast<Attempt*>(into)->may_retry = false;
  return size * count;
}

std::string url_of(const ImportCommand& options) {
  std::string server = options.server;
  while (server.ends_with('/')) server.pop_back();
  return server + "/v1/agents/import";
}

void add_field(curl_mime* form, const char* name, const std::string& value) {
  curl_mimepart* part = curl_mime_addpart(form);
  curl_mime_name(part, name);
  curl_mime_data(part, value.data(), value.size());
}

Attempt send_file(const ImportCommand& options, const std::string& path, const std::string& key,
                  Progress& progress) {
  Attempt attempt;
  const std::unique_ptr<CURL, FreeEasy> curl(curl_easy_init());
  if (!curl) {
    attempt.error = "libcurl cannot be used";
    attempt.may_retry = false;
    return attempt;
  }
  const std::unique_ptr<curl_mime, FreeMime> form(curl_mime_init(curl.get()));
  curl_mimepart* file = curl_mime_addpart(form.get());
  curl_mime_name(file, "file");
  curl_mime_filedata(file, path.c_str());
  curl_mime_type(file, "application/json");
  add_field(form.get(), "append_copy_suffix", options.append_copy_suffix ? "true" : "false");
  if (!options.model.empty()) add_field(form.get(), "model", options.model);

  std::unique_ptr<curl_slist, FreeList> headers(
      curl_slist_append(nullptr, ("Idempotency-Key: " + key).c_str()));
  // No round trip to ask whether the body may come.
  headers.reset(curl_slist_append(headers.release(), "Expect:"));
  if (!options.password.empty()) {
    headers.reset(
        curl_slist_append(headers.release(), ("Authorization: Bearer " + options.password).c_str()));
  }
  const std::string url = url_of(options);
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_MIMEPOST, form.get());
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &attempt);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERDATA, &attempt);
  curl_easy_setopt(curl.get(), CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFODATA, &progress);
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, kAttemptSeconds);
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  const CURLcode code = curl_easy_perform(curl.get());
  if (code == CURLE_OK) {
    curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &attempt.status);
  } else {
    attempt.error = curl_easy_strerror(code);
    attempt.may_retry = code != CURLE_URL_MALFORMAT && code != CURLE_UNSUPPORTED_PROTOCOL;
  }
  progress.end();
  return attempt;
}

// What the server says is wrong.
std::string detail_of(const Attempt& attempt) {
  if (attempt.status == 0) return attempt.error;
  const auto body = Json::parse(attempt.body);
  const Json* detail = body ? body->find("detail") : nullptr;
  const std::string said = detail != nullptr && detail->is_string() ? detail->as_string() : attempt.body;
  return "the server answered " + std::to_string(attempt.status) + ": " + said.substr(0, 2000);
}

int report_done(const std::string& path, const std::string& body) {
  const auto json = Json::parse(body);
  const Json* ids = json ? json->find("agent_ids") : nullptr;
  if (ids == nullptr) {
    std::cerr << "varve import: " << path << ": the server's answer is not that of an import\n";
    return kExitFailed;
  }
  for (const Json& id : ids->items()) std::cout << (id.is_string() ? id.as_string() : id.dump()) << "\n";
  const Json* replaced = json->find("replaced_models");
  for (const Json& one : replaced != nullptr ? replaced->items() : std::vector<Json>{}) {
    const auto text = [&one](std::string_view name) {
      const Json* found = one.find(name);
      return found != nullptr && found->is_string() ? found->as_string() : std::string();
    };
    std::cerr << "varve import: " << text("agent") << " uses " << text("used") << ": the server has no "
              << text("model") << "\n";
  }
  std::cout << std::flush;
  return kExitDone;
}

int import_one(RealEnv& env, const ImportCommand& options, const std::string& path, const std::string& key) {
  std::error_code failed;
  const auto size = std::filesystem::file_size(path, failed);
  if (failed || !std::ifstream(path, std::ios::binary)) {
    std::cerr << "varve import: cannot read " << path << "\n";
    return kExitFailed;
  }
  if (size > kAgentFileBytesMax - (std::size_t{1} << 16U)) {
    std::cerr << "varve import: " << path << " has " << size << " bytes; a server takes about "
              << kAgentFileBytesMax << "\n";
    return kExitFailed;
  }
  std::cerr << "key: " << key << std::endl;
  Progress progress{path, ::isatty(STDERR_FILENO) == 1, -1};
  const MonoTime give_up = env.now() + std::chrono::seconds{options.retry_seconds};
  std::chrono::milliseconds pause = kPauseFirst;
  for (;;) {
    const Attempt attempt = send_file(options, path, key, progress);
    if (attempt.status == 200) return report_done(path, attempt.body);
    const bool may_pass = attempt.status == 0 || attempt.status == 429 || attempt.status == 503;
    if (!may_pass || !attempt.may_retry || env.now() >= give_up) {
      std::cerr << "varve import: " << path << ": " << detail_of(attempt) << "\n";
      if (may_pass) std::cerr << "varve import: go on later with --key " << key << "\n";
      return kExitFailed;
    }
    ::poll(nullptr, 0, static_cast<int>(pause.count()));
    pause = std::min(pause * 2, kPauseMax);
  }
}

}  // namespace

int run_import(const ImportCommand& options) {
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    std::cerr << "varve import: libcurl cannot be used\n";
    return kExitFailed;
  }
  RealEnv env;
  const std::string drawn = options.key.empty() ? uuid4(env.rng()) : options.key;
  int exit_code = kExitDone;
  for (std::size_t i = 0; i < options.files.size(); ++i) {
    // Each file is a request of its own; the first one's key leads to the others'.
    const std::string key = i == 0 ? drawn : drawn + "-" + std::to_string(i);
    exit_code = std::max(exit_code, import_one(env, options, options.files[i], key));
  }
  curl_global_cleanup();
  return exit_code;
}

}  // namespace varve
