// kafka_member: one KafkaAssignment in a process of its own, for tests that stop and kill it.
//
//   kafka_member BROKERS TOPIC GROUP [--instance NAME] [--session-ms N] [--drain-ms N] [--hold]
//
// It follows its assignment and says what it hears, a line each: "assigned 3 0,1", "revoked 4 1", "lost 5 0"
// (the generation, the partitions), "failed TEXT". It releases what is revoked, with --hold when it is told
// to. It takes commands from standard input: "prove 1" is answered by "proof 1 yes|no|unavailable", "release
// 0,1" by nothing, "leave" by "left" or "failed TEXT"; it ends with its input.
#include <charconv>
#include <cstdio>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/kafka_assignment.h"
#include "runtime/real_env.h"

namespace varve {
namespace {

using Kind = AssignmentChange::Kind;

void say(const std::string& line) {
  std::fwrite((line + "\n").data(), 1, line.size() + 1, stdout);
  std::fflush(stdout);
}

std::string join(const std::vector<Partition>& partitions) {
  std::string text;
  for (const Partition partition : partitions)
    text += (text.empty() ? "" : ",") + std::to_string(partition.value());
  return text;
}

std::uint32_t number(std::string_view text) {
  std::uint32_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::vector<Partition> parse(std::string_view text) {
  std::vector<Partition> partitions;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(','), text.size());
    partitions.emplace_back(number(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return partitions;
}

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::assigned:
      return "assigned";
    case Kind::revoked:
      return "revoked";
    case Kind::lost:
      return "lost";
  }
  return "?";
}

Task<> follow(RealEnv* env, Assignment* assignment, bool hold) {
  for (;;) {
    auto change = co_await assignment->next(env->now() + std::chrono::seconds{1});
    if (!change && change.error().code == Errc::unavailable) continue;
    if (!change) {
      say("failed " + change.error().message);
      co_return ok();
    }
    say(name_of(change->kind) + (" " + std::to_string(change->generation)) + " " + join(change->partitions));
    if (change->kind == Kind::revoked && !hold) assignment->release(change->partitions);
  }
}

Task<> obey(RealEnv* env, Assignment* assignment) {
  for (;;) {
    std::function<Result<std::string>()> read = []() -> Result<std::string> {
      std::string line;
      if (!std::getline(std::cin, line)) return Error{Errc::cancelled, "the input has ended"};
      return line;
    };
    auto line = co_await offload<std::string>(*env, Lane::read, std::move(read));
    if (!line) break;
    const std::size_t space = std::min(line->find(' '), line->size());
    const std::string verb = line->substr(0, space);
    const std::string rest = line->substr(std::min(space + 1, line->size()));
    if (verb == "prove") {
      const auto proven = co_await assignment->prove(Partition{number(rest)});
      say("proof " + rest + (!proven ? " unavailable" : *proven ? " yes" : " no"));
    } else if (verb == "release") {
      assignment->release(parse(rest));
    } else if (verb == "leave") {
      const Status left = co_await assignment->leave(env->now() + std::chrono::seconds{3});
      say(left ? "left" : "failed " + left.error().message);
    }
  }
  env->stop();
  co_return ok();
}

int run(const std::vector<std::string>& arguments) {
  KafkaAssignment::Options options;
  options.connection.brokers = arguments.at(0);
  options.topic = arguments.at(1);
  options.group = arguments.at(2);
  bool hold = false;
  for (std::size_t i = 3; i < arguments.size(); ++i) {
    if (arguments[i] == "--instance") options.instance = arguments.at(++i);
    if (arguments[i] == "--session-ms")
      options.session_timeout = std::chrono::milliseconds{number(arguments.at(++i))};
    if (arguments[i] == "--drain-ms")
      options.drain_time = std::chrono::milliseconds{number(arguments.at(++i))};
    if (arguments[i] == "--hold") hold = true;
  }
  RealEnv env;
  auto assignment = KafkaAssignment::open(env, std::move(options));
  if (!assignment) {
    say("failed " + assignment.error().message);
    return 1;
  }
  env.spawn("follow", follow(&env, assignment->get(), hold));
  env.spawn("obey", obey(&env, assignment->get()));
  env.run();
  env.shut_down();
  return 0;
}

}  // namespace
}  // namespace varve

int main(int count, char** values) {
  const std::vector<std::string> arguments(values + 1, values + count);
  if (arguments.size() < 3) return 2;
  return varve::run(arguments);
}
