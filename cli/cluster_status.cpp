// varve cluster status: asks a node what it knows of its cluster (api/cluster_routes.h) and prints it as two
// tables, or as the JSON that came. One request, no retries: an answer that is old is worth less than none.
#include <curl/curl.h>

#include <algorithm>
#include <iostream>
#include <memory>

#include "api/cluster_routes.h"
#include "cli/commands.h"
#include "runtime/json.h"

namespace varve {
namespace {

constexpr long kConnectSeconds = 5;
constexpr long kAnswerSeconds = 20;
constexpr std::size_t kAnswerBytesMax = std::size_t{4} << 20U;

struct FreeEasy {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

std::size_t on_body(char* bytes, std::size_t size, std::size_t count, void* into) {
  auto& body = *static_cast<std::string*>(into);
  if (body.size() + size * count > kAnswerBytesMax) return 0;
  body.append(bytes, size * count);
  return size * count;
}

// The body of a 200; else a sentence.
Result<std::string> ask(const ClusterStatusCommand& options) {
  std::string server = options.server;
  while (server.ends_with('/')) server.pop_back();
  const std::string url = server + std::string(kClusterPath);
  const std::unique_ptr<CURL, FreeEasy> curl(curl_easy_init());
  if (!curl) return Error{Errc::unavailable, "libcurl cannot be used"};
  std::unique_ptr<curl_slist, FreeList> headers;
  if (!options.password.empty()) {
    headers.reset(curl_slist_append(nullptr, ("Authorization: Bearer " + options.password).c_str()));
  }
  std::string body;
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &body);
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, kAnswerSeconds);
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  const CURLcode code = curl_easy_perform(curl.get());
  if (code != CURLE_OK) {
    return Error{Errc::unavailable, "no answer from " + server + ": " + curl_easy_strerror(code)};
  }
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  if (status == 200) return body;
  const auto json = Json::parse(body);
  const Json* detail = json ? json->find("detail") : nullptr;
  const std::string said = detail != nullptr && detail->is_string() ? detail->as_string() : body;
  return Error{Errc::unavailable,
               server + " answered " + std::to_string(status) + ": " + said.substr(0, 2000)};
}

// A member as text; "-" if there is none.
std::string shown(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  if (value == nullptr || value->is_null()) return "-";
  if (!value->is_string()) return value->dump();
  return value->as_string().empty() ? "-" : value->as_string();
}

using Line = std::vector<std::string>;

void print_table(const std::vector<Line>& lines) {
  std::vector<std::size_t> columns;
  for (const Line& line : lines) {
    columns.resize(std::max(columns.size(), line.size()));
    for (std::size_t i = 0; i < line.size(); ++i) columns[i] = std::max(columns[i], line[i].size());
  }
  for (const Line& line : lines) {
    std::string text;
    for (std::size_t i = 0; i < line.size(); ++i) {
      text += line[i];
      if (i + 1 < line.size()) text.append(columns[i] - line[i].size() + 2, ' ');
    }
    std::cout << text << "\n";
  }
}

void print(const Json& status) {
  const Json* node = status.find("node");
  std::string roles;
  if (const Json* named = node == nullptr ? nullptr : node->find("roles")) {
    for (const Json& role : named->items())
      roles += " " + (role.is_string() ? role.as_string() : role.dump());
  }
  std::cout << "cluster " << shown(status, "cluster") << ", as node "
            << (node == nullptr ? "-" : shown(*node, "id")) << " sees it (roles:" << roles << ")\n\n";
  std::vector<Line> lines{{"NODE", "URL", "PARTITIONS"}};
  if (const Json* nodes = status.find("nodes")) {
    for (const Json& one : nodes->items())
      lines.push_back({shown(one, "id"), shown(one, "url"), shown(one, "partitions")});
  }
  print_table(lines);
  lines = {{"PARTITION", "OWNER", "EPOCH", "END", "FOLDED", "LAG", "HERE"}};
  if (const Json* partitions = status.find("partitions")) {
    for (const Json& one : partitions->items()) {
      lines.push_back({shown(one, "partition"), shown(one, "owner"), shown(one, "epoch"), shown(one, "end"),
                       shown(one, "folded"), shown(one, "lag"), shown(one, "here")});
    }
  }
  std::cout << "\n";
  print_table(lines);
  if (shown(status, "log_fault") != "-") {
    std::cout << "\nthe log could not be asked: " << shown(status, "log_fault") << "\n";
  }
}

}  // namespace

int run_cluster_status(const ClusterStatusCommand& options) {
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
    std::cerr << "varve cluster status: libcurl cannot be used\n";
    return kExitFailed;
  }
  const auto body = ask(options);
  curl_global_cleanup();
  const auto json = body ? Json::parse(*body) : Result<Json>{body.error()};
  if (!json) {
    std::cerr << "varve cluster status: " << json.error().message << "\n";
    return kExitFailed;
  }
  if (options.json) {
    std::cout << *body << "\n";
  } else {
    print(*json);
  }
  std::cout << std::flush;
  return kExitDone;
}

}  // namespace varve
