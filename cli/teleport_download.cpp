// GET /v1/varve/teleport/export into a file, as it comes: an archive may be larger than what is kept in
// memory.
#include <curl/curl.h>

#include <algorithm>
#include <memory>

#include "api/teleport_routes.h"
#include "cli/teleport_steps.h"

namespace varve {
namespace {

constexpr long kConnectSeconds = 5;
constexpr long kStallSeconds = 120;  // Without a byte: the server reads its log before the first one.
constexpr std::size_t kRefusalBytesMax = std::size_t{64} << 10U;

struct FreeEasy {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

struct Download {
  CURL* curl = nullptr;
  ArchiveFile& into;
  std::string refusal;
  Status written = ok();
};

std::size_t on_body(char* bytes, std::size_t size, std::size_t count, void* to) {
  auto& download = *static_cast<Download*>(to);
  const std::size_t got = size * count;
  long status = 0;
  curl_easy_getinfo(download.curl, CURLINFO_RESPONSE_CODE, &status);
  if (status != 200) {
    download.refusal.append(bytes, std::min(got, kRefusalBytesMax - download.refusal.size()));
    return got;
  }
  download.written = download.into.write({bytes, got});
  return download.written ? got : 0;
}

}  // namespace

std::string export_query(const std::vector<std::string>& agents, bool all) {
  if (all) return "all=true";
  std::string query = "agents=";
  for (const std::string& agent : agents) {
    if (!query.ends_with('=')) query += ",";
    query += path_segment(agent);
  }
  return query;
}

Status download_archive(const ServerPlace& place, const std::string& query, ArchiveFile& into) {
  static const bool kReady = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  const std::unique_ptr<CURL, FreeEasy> curl(kReady ? curl_easy_init() : nullptr);
  if (!curl) return Error{Errc::unavailable, "libcurl cannot be used"};
  std::string server = place.server;
  while (server.ends_with('/')) server.pop_back();
  const std::string url = server + std::string(kTeleportExportPath) + "?" + query;
  std::unique_ptr<curl_slist, FreeList> headers;
  if (!place.password.empty()) {
    headers.reset(curl_slist_append(nullptr, ("Authorization: Bearer " + place.password).c_str()));
  }
  Download download{curl.get(), into, {}, ok()};
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &download);
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_TIME, kStallSeconds);
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  const CURLcode code = curl_easy_perform(curl.get());
  if (!download.written) return download.written;
  if (code != CURLE_OK) {
    return Error{Errc::unavailable, "no whole answer from " + server + ": " + curl_easy_strerror(code)};
  }
  ServerAnswer answer;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &answer.status);
  if (answer.status == 200) return ok();
  answer.body = std::move(download.refusal);
  const bool may_pass = answer.status == 429 || answer.status == 503;
  return Error{may_pass ? Errc::resource_exhausted : Errc::not_found, said_by(answer)};
}

}  // namespace varve
