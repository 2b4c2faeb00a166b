#include "cli/quarantine.h"

#include <unistd.h>

#include <iostream>

#include "api/quarantine_routes.h"
#include "cli/commands.h"

namespace varve {
namespace {

std::string shown(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  if (value == nullptr || value->is_null()) return "-";
  if (!value->is_string()) return value->dump();
  return value->as_string().empty() ? "-" : value->as_string();
}

std::string path_of(const QuarantineCommand& options, const std::string& action) {
  std::string path{kQuarantinePath};
  if (!options.stream.empty()) path += "/" + path_segment(options.stream);
  if (!action.empty()) path += "/" + action;
  return path;
}

Result<Json> ask(const QuarantineCommand& options) {
  ServerQuestion question;
  question.path = path_of(options, "");
  return body_of(ask_server(options.place, question));
}

int fail(const std::string& why) {
  std::cerr << "varve projections quarantine: " << why << "\n";
  return kExitFailed;
}

void print_stream(const Json& one) {
  std::cout << shown(one, "stream") << "\n"
            << "  waits at   event " << shown(one, "event") << " of " << shown(one, "position") << " ("
            << shown(one, "type") << "), since " << shown(one, "since") << "\n"
            << "  because    " << shown(one, "reason") << "\n"
            << "  behind it  " << shown(one, "waiting") << " records\n";
}

int list(const QuarantineCommand& options) {
  const auto json = ask(options);
  if (!json) return fail(json.error().message);
  if (options.json) {
    std::cout << json->dump() << "\n";
    return kExitDone;
  }
  const Json* streams = json->find("streams");
  if (streams == nullptr || streams->items().empty()) std::cout << "nothing is in quarantine\n";
  for (const Json& one : streams != nullptr ? streams->items() : std::vector<Json>{}) print_stream(one);
  return kExitDone;
}

int show(const QuarantineCommand& options) {
  const auto json = ask(options);
  if (!json) return fail(json.error().message);
  if (options.json) {
    std::cout << json->dump() << "\n";
    return kExitDone;
  }
  print_stream(*json);
  if (const Json* poison = json->find("poison")) {
    std::cout << "  the event  " << shown(*poison, "type") << " v" << shown(*poison, "version") << " "
              << shown(*poison, "data") << "\n";
  }
  std::cout << "\nretry: " << shown(*json, "retry") << "\n\nskip: " << shown(*json, "skip") << "\n";
  return kExitDone;
}

// A yes from whoever sits there.
bool agreed() {
  std::cerr << "Go on? Type yes: " << std::flush;
  std::string line;
  std::getline(std::cin, line);
  return line == "yes";
}

int act(const QuarantineCommand& options, const std::string& action) {
  const auto parked = ask(options);
  if (!parked) return fail(parked.error().message);
  std::cerr << shown(*parked, action) << "\n";
  if (!options.yes) {
    if (::isatty(STDIN_FILENO) != 1) {
      std::cerr << "varve projections quarantine: nothing was done; say --yes to go on without being asked\n";
      return kExitUsage;
    }
    if (!agreed()) {
      std::cerr << "nothing was done\n";
      return kExitFailed;
    }
  }
  ServerQuestion question;
  question.method = "POST";
  question.path = path_of(options, action);
  JsonWriter body;
  body.begin_object().field("position", shown(*parked, "position"));
  body.field_raw("event", shown(*parked, "event")).end_object();
  question.body = body.take();
  const auto done = body_of(ask_server(options.place, question));
  if (!done) return fail(done.error().message);
  const Json* again = done->find("parked");
  const bool waits = again != nullptr && again->is_object();
  if (options.json) {
    std::cout << done->dump() << "\n";
  } else if (action == "retry") {
    std::cout << options.stream << " is released: its views have everything that waited\n";
  } else {
    std::cout << "the ruling is " << shown(*done, "ruling") << " of the log\n";
    if (waits) {
      std::cout << "a later event of the stream cannot be folded either:\n";
      print_stream(*again);
    }
  }
  return waits ? kExitFailed : kExitDone;
}

}  // namespace

int run_quarantine(const QuarantineCommand& options) {
  int code = kExitFailed;
  switch (options.action) {
    case QuarantineCommand::Action::list:
      code = list(options);
      break;
    case QuarantineCommand::Action::show:
      code = show(options);
      break;
    case QuarantineCommand::Action::retry:
      code = act(options, "retry");
      break;
    case QuarantineCommand::Action::skip:
      code = act(options, "skip");
      break;
  }
  std::cout << std::flush;
  return code;
}

}  // namespace varve
