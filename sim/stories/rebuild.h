// The story of views that are rebuilt, on the SQLite files of a simulated disk: agents live on while their
// views are rebuilt and switched, a rebuild is ended half-way, the next one is not. Whatever dies meanwhile:
// what was begun is finished, nothing of what was ended is left, and nobody who reads goes back.
#pragma once

#include "sim/disk_node.h"
#include "sim/story.h"

namespace varve::sim {

class RebuildStory final : public Story {
 public:
  using LeftOver = std::function<std::vector<std::string>(DiskNode::Rest)>;

  // The stage outlives it; its model says what LifecycleStory's does.
  // On a disk that fails a rebuild may fail, and is begun again; on another one it never does.
  RebuildStory(Stage& stage, StoryClient::Ears ears, LeftOver left_over, bool disk_fails);

 protected:
  Task<> play() override;

 private:
  Task<> write(int round);
  // Begins a rebuild, or goes on with one, until it is done; writes meanwhile.
  Task<> rebuild(int round);
  Task<> begin();
  Task<> begin_and_end();
  Task<> expect_nothing_left(DiskNode::Rest rest);
  Task<> expect_history();

  StoryClient client_;
  LeftOver left_over_;
  int failures_left_;
  std::string path_;     // Of the agent.
  std::string history_;  // What a list of its messages must show.
  int said_ = 0;
};

}  // namespace varve::sim
