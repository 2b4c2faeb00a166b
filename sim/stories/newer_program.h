// NewerProgram: a server of a later version that owns a partition for one moment and writes events there,
// some of which this program may not be able to read. It obeys the protocol and says what it does, as every
// owner does; all of it happens in one step of the world, while no node of the story is up.
#pragma once

#include "sim/owner_trace.h"
#include "sim/story_stage.h"

namespace varve::sim {

class NewerProgram {
 public:
  // Claims the partition.
  NewerProgram(StoryStage& stage, Partition partition);
  ~NewerProgram();
  NewerProgram(const NewerProgram&) = delete;
  NewerProgram& operator=(const NewerProgram&) = delete;

  // The stream's next event, in a record of its own; its offset.
  Offset commit(const std::string& stream, StoredEvent event);

 private:
  OwnerLine line(OwnerLine::Kind kind) const;
  void tell(const OwnerLine& line) { env_.trace(to_text(line)); }
  Offset land(const Record& record);
  void read_all();
  void claim();

  StoryStage& stage_;
  Partition partition_;
  SimEnv env_;
  AdmissionState admission_;
  std::size_t read_ = 0;  // Records of the partition.
  CommandId claim_;       // The present one.
  bool serves_ = false;
  Epoch epoch_;
  Index n_;
};

}  // namespace varve::sim
