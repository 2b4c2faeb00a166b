// Rebuilder: somebody who rebuilds the views of a server again and again by its routes, beside everything
// else that happens: begins, looks how far it is, now and then ends it half-way, begins again what a death of
// the server has cut off. Its decisions are on a track of its own.
//
// settle(): from now on it ends nothing, finishes what was begun, or makes one whole rebuild more, and stops.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "api/http.h"
#include "sim/counters.h"
#include "sim/disk_node.h"

namespace varve::sim {

class Rebuilder {
 public:
  using Rest = DiskNode::Rest;
  struct Site {
    SimEnv& env;  // Outlives the server's incarnations.
    Choices& choices;
    Counters& counters;
    // One request to the server. Errc::unavailable: nobody has answered.
    std::function<Task<Response>(Request)> ask;
    // Files of views that should not be there, when the server says that one is done, or ended: what an
    // earlier one has left behind its switch, the next one removes.
    std::function<std::vector<std::string>(Rest)> left_over;
  };
  explicit Rebuilder(Site site) : site_(std::move(site)) {}

  void start();
  void settle() { settling_ = true; }
  bool done() const { return done_; }
  // What the last rebuild was doing when it was looked at last.
  const std::string& state() const { return state_; }
  // Sentences.
  const std::vector<std::string>& broken() const { return broken_; }

 private:
  static Task<> work(Rebuilder* self);
  // One rebuild, to its end or to where it is ended.
  Task<> rebuild();
  Task<> follow(bool ends_it);
  Task<> end_it();
  Task<Response> ask(std::string method, std::string body);
  void look_for_rest(const std::string& when, Rest rest);
  std::uint64_t choose(std::uint64_t bound);

  Site site_;
  bool settling_ = false;
  bool done_ = false;
  bool open_ = false;  // Something was begun, and is neither done nor ended.
  std::string state_ = "nothing was rebuilt yet";
  std::vector<std::string> broken_;
};

}  // namespace varve::sim
