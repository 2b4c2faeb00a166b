// varve cluster status: asks a node what it knows of its cluster (api/cluster_routes.h) and prints it as two
// tables, or as the JSON that came. One request, no retries: an answer that is old is worth less than none.
#include <iostream>

#include "api/cluster_routes.h"
#include "cli/commands.h"
#include "cli/server_client.h"
#include "cli/table.h"
#include "runtime/json.h"

namespace varve {
namespace {

constexpr std::chrono::seconds kTime{20};

// The answer of a 200; else a sentence.
Result<ServerAnswer> ask(const ClusterStatusCommand& options) {
  ServerQuestion question;
  question.path = kClusterPath;
  question.time = kTime;
  auto answer = ask_server({options.server, options.password}, question);
  if (answer && answer->status != 200)
    return Error{Errc::unavailable, options.server + ": " + said_by(*answer)};
  return answer;
}

// " api actors"; of a node that nobody has heard of lately "".
std::string roles_of(const Json* node) {
  std::string roles;
  const Json* named = node == nullptr ? nullptr : node->find("roles");
  if (named == nullptr || !named->is_array()) return roles;
  for (const Json& role : named->items()) roles += " " + (role.is_string() ? role.as_string() : role.dump());
  return roles;
}

// When a node has last said that it is alive.
std::string seen_of(const Json& node) {
  const std::string seconds = shown(node, "seen_seconds");
  return seconds == "-" ? seconds : seconds + " s ago";
}

void print(const Json& status) {
  const Json* node = status.find("node");
  std::cout << "cluster " << shown(status, "cluster") << ", as node "
            << (node == nullptr ? "-" : shown(*node, "id")) << " sees it (roles:" << roles_of(node)
            << ")\n\n";
  std::vector<TableLine> lines{{"NODE", "URL", "PARTITIONS", "SEEN", "ROLES"}};
  if (const Json* nodes = status.find("nodes")) {
    for (const Json& one : nodes->items()) {
      const std::string roles = roles_of(&one);
      lines.push_back({shown(one, "id"), shown(one, "url"), shown(one, "partitions"), seen_of(one),
                       roles.empty() ? "-" : roles.substr(1)});
    }
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
  if (shown(status, "processes_fault") != "-") {
    std::cout << "\nwho is alive could not be asked: " << shown(status, "processes_fault") << "\n";
  }
}

}  // namespace

int run_cluster_status(const ClusterStatusCommand& options) {
  const auto answer = ask(options);
  const auto json = answer ? Json::parse(answer->body) : Result<Json>{answer.error()};
  if (!json) {
    std::cerr << "varve cluster status: " << json.error().message << "\n";
    return kExitFailed;
  }
  if (options.json) {
    std::cout << answer->body << "\n";
  } else {
    print(*json);
  }
  std::cout << std::flush;
  return kExitDone;
}

}  // namespace varve
