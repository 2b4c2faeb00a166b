#include "cli/server_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <memory>

namespace varve {
namespace {

constexpr long kConnectSeconds = 5;
constexpr std::size_t kAnswerBytesMax = std::size_t{64} << 20U;
constexpr std::size_t kSaidMax = 2000;

struct FreeEasy {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

// Initialised once, for the life of the process.
bool curl_is_ready() {
  static const bool kReady = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  return kReady;
}

std::size_t on_body(char* bytes, std::size_t size, std::size_t count, void* into) {
  auto& body = static_cast<ServerAnswer*>(into)->body;
  if (body.size() + size * count > kAnswerBytesMax) return 0;
  body.append(bytes, size * count);
  return size * count;
}

std::size_t on_header(char* bytes, std::size_t size, std::size_t count, void* into) {
  const std::string line(bytes, size * count);
  const std::size_t colon = line.find(':');
  if (colon == std::string::npos) return size * count;
  std::string name = line.substr(0, colon);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  const std::size_t begin = line.find_first_not_of(" \t", colon + 1);
  const std::size_t end = line.find_last_not_of(" \t\r\n");
  const bool empty = begin == std::string::npos || end < begin;
  static_cast<ServerAnswer*>(into)->headers[name] = empty ? "" : line.substr(begin, end - begin + 1);
  return size * count;
}

void add_header(std::unique_ptr<curl_slist, FreeList>& headers, const std::string& line) {
  headers.reset(curl_slist_append(headers.release(), line.c_str()));
}

}  // namespace

Result<ServerAnswer> ask_server(const ServerPlace& place, const ServerQuestion& question) {
  const std::unique_ptr<CURL, FreeEasy> curl(curl_is_ready() ? curl_easy_init() : nullptr);
  if (!curl) return Error{Errc::unavailable, "libcurl cannot be used"};
  std::string server = place.server;
  while (server.ends_with('/')) server.pop_back();
  const std::string url = server + question.path;
  std::unique_ptr<curl_slist, FreeList> headers;
  add_header(headers, "Expect:");  // No round trip to ask whether the body may come.
  if (!place.password.empty()) add_header(headers, "Authorization: Bearer " + place.password);
  if (!question.body.empty()) add_header(headers, "Content-Type: application/json");
  for (const auto& [name, value] : question.headers) {
    std::string line = name;
    line += ": ";
    line += value;
    add_header(headers, line);
  }
  ServerAnswer answer;
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  if (question.method != "GET") {
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(question.body.size()));
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, question.body.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_CUSTOMREQUEST, question.method.c_str());
  }
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &answer);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERDATA, &answer);
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, static_cast<long>(question.time.count()));
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  const CURLcode code = curl_easy_perform(curl.get());
  if (code != CURLE_OK) {
    return Error{Errc::unavailable, "no answer from " + server + ": " + curl_easy_strerror(code)};
  }
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &answer.status);
  return answer;
}

std::string said_by(const ServerAnswer& answer) {
  const auto json = Json::parse(answer.body);
  const Json* detail = json ? json->find("detail") : nullptr;
  const std::string said = detail != nullptr && detail->is_string() ? detail->as_string() : answer.body;
  return "the server answered " + std::to_string(answer.status) + ": " + said.substr(0, kSaidMax);
}

Result<Json> body_of(const Result<ServerAnswer>& answer) {
  if (!answer) return answer.error();
  if (answer->status != 200) return Error{Errc::unavailable, said_by(*answer)};
  auto json = Json::parse(answer->body);
  if (!json || !json->is_object()) return Error{Errc::corrupt, "the server's answer is no JSON object"};
  return json;
}

std::string path_segment(const std::string& text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string segment;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                       (byte >= 'A' && byte <= 'Z') || byte == '-' || byte == '_' || byte == '.';
    if (plain) {
      segment += c;
    } else {
      segment += '%';
      segment += kHex[byte >> 4U];
      segment += kHex[byte & 15U];
    }
  }
  return segment;
}

}  // namespace varve
