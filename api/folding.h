// Folding: the projection workers of one node, in step with an assignment: a worker for each partition that
// is assigned, until it is revoked or lost. Two workers of one partition are harmless (the checkpoint's
// compare-and-set lets one win), so nothing waits for one that ends.
//
// Thread: the Env's. Lifetime: the Env's tasks end before it does.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "cluster/assignment.h"
#include "projections/worker.h"

namespace varve {

class Folding {
 public:
  Folding(Env& env, EventLog& log, ViewStore& views, ViewProgress& progress, Assignment& assignment,
          ProjectionWorker::Options options)
      : env_(env),
        log_(log),
        views_(views),
        progress_(progress),
        assignment_(assignment),
        options_(options) {}

  // Joins the group and follows its assignment. Once.
  void start();
  // Stops every worker and leaves the group.
  Task<> stop(MonoTime deadline);
  // The first error that ended the membership, or stopped a worker, for good.
  std::optional<Error> failure() const;

 private:
  Task<> follow();
  void take(const AssignmentChange& change);
  static Task<> run(std::shared_ptr<ProjectionWorker> worker);

  Env& env_;
  EventLog& log_;
  ViewStore& views_;
  ViewProgress& progress_;
  Assignment& assignment_;
  ProjectionWorker::Options options_;
  bool stopping_ = false;
  std::optional<Error> failure_;  // Of the assignment.
  std::map<Partition, std::shared_ptr<ProjectionWorker>> workers_;
};

}  // namespace varve
