// Story: a script of client requests with checks, played on a Stage while a node may be killed after any
// step. StoryClient is who plays it: it asks, retries as the official clients do with the same key, reads
// what it has written (Varve-Wait-For), and writes down what it asked for the oracles.
//
// A story expects only what every server owes its clients, however often it was killed meanwhile.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/json.h"
#include "sim/history.h"
#include "sim/stage.h"

namespace varve::sim {

class Story {
 public:
  Story() = default;
  Story(const Story&) = delete;
  Story& operator=(const Story&) = delete;
  virtual ~Story() = default;

  // Plays it in a task of the client, which must end before the story does.
  void start(SimEnv& client);
  bool done() const { return done_; }
  // What its client expected in vain.
  const std::optional<std::string>& failure() const { return failure_; }

  // When everything has come to rest; empty = as it should be.
  virtual std::string at_rest() { return ""; }
  // A node is about to be killed; what the story runs on its machine is killed with it.
  virtual void on_crash(std::size_t /*node*/) {}

 protected:
  virtual Task<> play() = 0;

 private:
  static Task<> run(Story* self);

  bool done_ = false;
  std::optional<std::string> failure_;
};

// For `co_return`: the client expected something else.
inline Error unexpected(std::string what) {
  return {Errc::corrupt, std::move(what)};
}
// Empty if the key is not there or is no text.
std::string text_of(const Json& object, std::string_view key);
// {"key":"text"}
std::string body_of(std::string_view key, std::string_view text);

class StoryClient {
 public:
  // Who learns of what the client asks and is told.
  struct Ears {
    std::function<void(const std::vector<LogPosition>&)> acknowledged;
    History* history = nullptr;  // Null: nothing is written down.
  };
  struct Options {
    std::string name = "story";  // Goes into its keys.
    ClientId id = 0;
    std::size_t first_node = 0;  // Which it asks first; the others when that one fails.
    RetryPolicy policy;
  };
  // Of a client that does not give up while a node is killed and booted.
  static Options persistent(std::string name, ClientId id);
  // The stage outlives it.
  StoryClient(Stage& stage, Options options, Ears ears);

  // Asks until there is an answer that is final. `key` empty: no Idempotency-Key. Errc::corrupt: never.
  Task<Exchange> insist(std::string method, std::string target, std::string body, std::string key);
  // Asks its first node, once.
  Task<Exchange> once(std::string method, std::string target, std::string body, std::string key);
  // Until there is an answer that is final; the body of a 200. Errc::not_found for a 404, Errc::corrupt for
  // another status.
  Task<Json> ask(std::string method, std::string target, std::string body, std::string key);
  Task<Json> get(std::string target);
  // The same, written into the history as `op`.
  Task<Json> ask_for(Op op, std::string method, std::string target, std::string body, std::string key);
  // Asks once, in a task of its own, and looks at no answer: a client that goes away.
  void fire(std::string method, std::string target, std::string body, std::string key);

  // Reads what the other one has written, too, though the views were behind when that was told.
  void wait_for_writes_of(const StoryClient& other);

  // The agent's messages but the system message: "user_message:hi;assistant_message:You said: hi;".
  Task<std::string> messages(std::string agent_path);

  // The ids that the server gives to what a request with this key creates.
  std::string agent_of(const std::string& key) const;
  std::string block_of(const std::string& key) const;
  const Options& options() const { return options_; }
  SimEnv& env() { return stage_.client(); }

 private:
  Request make(std::string method, std::string target, std::string body, const std::string& key) const;
  std::string full(const std::string& key) const { return options_.name + "-" + key; }
  // The final answer, and at which attempt it came.
  struct Told {
    Exchange came;
    int attempts = 1;
  };
  Task<Told> persist(std::string method, std::string target, std::string body, std::string key);
  void learn(const Exchange& came);
  static Task<> send(Stage* stage, std::size_t node, Request request, Duration patience);

  Stage& stage_;
  Options options_;
  Ears ears_;
  std::map<Partition, Offset> written_;  // What it was told, the newest of each partition.
};

}  // namespace varve::sim
