// Admission: the pure rule by which every reader decides whether a record counts. All readers agree because
// they read the same order. Its whole state is O(1) per partition, and part of every checkpoint, so that a
// reader can start at any checkpoint. Model-checked as Admission.tla (rules 3, 6 and 8 of its README).
#pragma once

#include <optional>
#include <string>

#include "eventlog/record.h"

namespace varve {

struct AdmissionState {
  Epoch epoch;          // Newest admitted claim; 0 = none.
  Index index;          // Newest admitted commit or ruling of that epoch.
  std::string cluster;  // Of the first admitted claim; empty before it.

  friend bool operator==(const AdmissionState&, const AdmissionState&) = default;
};

enum class Verdict : unsigned char {
  admitted,
  fenced,     // Another epoch than the newest, or a claim that is not newest + 1.
  duplicate,  // n not above the index.
  gap,        // n above index + 1.
  foreign,    // Not ours, or a claim of another cluster.
};
const char* to_string(Verdict verdict);

// Judges one record and, if it is admitted, moves the state.
Verdict admit(AdmissionState& state, const Record& record);

}  // namespace varve
