// The story of an agent's whole life, on any stage: it is created, talks, uses two tools of its memory, is
// changed, asked two things at once, killed while a slow model call is open; an old request is repeated; a
// stream is read; a turn is cancelled; an agent file is imported; the agent is deleted.
//
// The sweep plays it on the cluster, sim/disk_lifecycle.h on SQLite files on a simulated disk.
#pragma once

#include "sim/story.h"

namespace varve::sim {

class LifecycleStory final : public Story {
 public:
  // The stage outlives it; its model says what model_script() wants.
  LifecycleStory(Stage& stage, StoryClient::Ears ears);
  static const char* model_script();

 protected:
  Task<> play() override;

 private:
  Task<> talk();
  Task<> two_at_once();
  Task<> crash_in_a_turn();
  Task<> repeat();
  Task<> stream_a_turn();
  Task<> cancel_a_turn();
  Task<> import_an_agent();
  Task<> say_goodbye();

  Task<Json> say(std::string text, std::string key);
  void fire(const std::string& text, const std::string& key);
  Task<> expect_history();
  Task<> learn_order();

  Stage& stage_;
  StoryClient client_;
  std::string path_;     // Of the agent.
  std::string history_;  // What a list of its messages must show.
  Json hello_;           // The first answer.
};

}  // namespace varve::sim
