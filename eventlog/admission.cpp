#include "eventlog/admission.h"

#include "runtime/mutant.h"

namespace varve {
namespace {

Verdict admit_indexed(AdmissionState& state, Epoch epoch, Index n) {
  // Epoch 0 is "never claimed": nothing can be written under it.
  if (epoch == Epoch{}) return Verdict::fenced;
  if (epoch != state.epoch && !mutant(Mutant::epoch_not_compared)) return Verdict::fenced;
  if (n <= state.index && !mutant(Mutant::duplicates_count)) return Verdict::duplicate;
  if (n > next(state.index) && !mutant(Mutant::gaps_count)) return Verdict::gap;
  state.index = n;
  return Verdict::admitted;
}

struct Judge {
  AdmissionState& state;

  Verdict operator()(const Commit& commit) const { return admit_indexed(state, commit.epoch, commit.n); }
  Verdict operator()(const Ruling& ruling) const { return admit_indexed(state, ruling.epoch, ruling.n); }
  Verdict operator()(const Claim& claim) const {
    if (!state.cluster.empty() && claim.cluster != state.cluster) return Verdict::foreign;
    if (claim.epoch != next(state.epoch)) return Verdict::fenced;
    state.epoch = claim.epoch;
    state.index = Index{};
    state.cluster = claim.cluster;
    return Verdict::admitted;
  }
  Verdict operator()(const ForeignRecord& /*record*/) const { return Verdict::foreign; }
};

}  // namespace

const char* to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::admitted:
      return "admitted";
    case Verdict::fenced:
      return "fenced";
    case Verdict::duplicate:
      return "duplicate";
    case Verdict::gap:
      return "gap";
    case Verdict::foreign:
      return "foreign";
  }
  return "?";
}

Verdict admit(AdmissionState& state, const Record& record) {
  return std::visit(Judge{state}, record);
}

}  // namespace varve
