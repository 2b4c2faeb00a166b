#include "sim/mutants.h"

#include <algorithm>

#include "runtime/check.h"

namespace varve {
namespace {

// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): what mutant() is for.
Mutant switched_on = Mutant::none;

}  // namespace

bool mutant(Mutant one) noexcept {
  return one == switched_on && one != Mutant::none;
}

namespace sim {
namespace {

using M = Mutant;

std::vector<MutantInfo> protocol_mutants() {
  return {
      {M::canary, "canary", "nothing is wrong, and an oracle says so", Hunt::swarm, 1, true},
      {M::duplicates_count, "duplicates-count", "admission: an index that was there counts again",
       Hunt::swarm, 50, true},
      {M::gaps_count, "gaps-count", "admission: an index that is too high counts", Hunt::swarm, 200, false},
      {M::epoch_not_compared, "epoch-not-compared", "admission: a record of an older epoch counts",
       Hunt::swarm, 50, true},
      {M::ack_on_delivery, "ack-on-delivery", "a command is answered when the log says \"written\"",
       Hunt::swarm, 50, true},
      {M::unknown_is_done, "unknown-is-done", "an unknown outcome is taken for success", Hunt::swarm, 50,
       true},
      {M::unknown_is_not_written, "unknown-is-not-written", "an unknown outcome is taken for failure",
       Hunt::swarm, 100, false},
      {M::unknown_does_not_stop, "unknown-does-not-stop", "the owner goes on after an unknown outcome",
       Hunt::swarm, 100, true},
      {M::goes_on_after_hole, "goes-on-after-hole",
       "the owner goes on after \"not written\" with commits in flight", Hunt::swarm, 200, false},
      {M::skip_is_never, "skip-is-never", "an own record that does not count is told as failed", Hunt::swarm,
       200, false},
      {M::stop_is_never, "stop-is-never", "who stops tells what is in flight as failed", Hunt::swarm, 50,
       true},
      {M::no_claim_on_takeover, "no-claim-on-takeover", "a new owner serves without a claim of its own",
       Hunt::swarm, 50, true},
      {M::skipped_claim_serves, "skipped-claim-serves", "an own claim that does not count is served",
       Hunt::swarm, 100, true},
      {M::claim_by_name, "claim-by-name", "the own claim is known by the node's name", Hunt::swarm, 400,
       false},
      {M::claim_id_of_process, "claim-id-of-process", "every claim of a process has the same id", Hunt::swarm,
       50, true},
      {M::time_runs_backwards, "time-runs-backwards",
       "a commit's time is the wall clock's, whatever came before", Hunt::swarm, 50, true},
      {M::answers_name_skipped_records, "answers-name-skipped-records",
       "an answer's position may be that of a record that does not count", Hunt::swarm, 200, false},
  };
}

std::vector<MutantInfo> shard_mutants() {
  return {
      {M::refusal_without_end, "refusal-without-end", "404 and 409 without looking at the end of the log",
       Hunt::swarm, 200, true},
      {M::command_ids_ignored, "command-ids-ignored", "a command id that was seen is decided again",
       Hunt::swarm, 50, true},
      {M::window_not_restored, "window-not-restored", "the ids of past commands are not in the snapshot",
       Hunt::swarm, 50, true},
      {M::turns_not_resumed, "turns-not-resumed", "open turns wait for a request after a restart",
       Hunt::swarm, 100, true},
      {M::unread_turns_not_resumed, "unread-turns-not-resumed",
       "an open turn whose snapshot cannot be read once waits for a request", Hunt::swarm, 6000, false},
      {M::tool_call_without_id, "tool-call-without-id", "a tool's call has a new id at every try",
       Hunt::swarm, 200, true},
      {M::decision_grows_old, "decision-grows-old", "what was decided is written a while later", Hunt::swarm,
       4000, false},
      {M::order_by_address, "order-by-address", "commands wait in the order of their addresses", Hunt::diff,
       50, true},
      {M::command_without_id, "command-without-id", "dropping a deleted block is a command with the id zero",
       Hunt::swarm, 400, false},
      {M::older_snapshot_wins, "older-snapshot-wins", "a snapshot is replaced by an older one", Hunt::swarm,
       200, false},
      {M::recovery_row_moves_back, "recovery-row-moves-back", "a recovery row is written whatever is there",
       Hunt::swarm, 2000, false},
      {M::recovery_row_after_save, "recovery-row-after-save",
       "the recovery row is of a moment after the snapshots", Hunt::swarm, 2000, false},
      {M::recovery_without_admission, "recovery-without-admission",
       "recovery begins without the admission state", Hunt::swarm, 50, true},
      {M::missing_snapshot_ignored, "missing-snapshot-ignored", "snapshots that are missing are not missed",
       Hunt::swarm, 200, true},
      {M::snapshot_hash_ignored, "snapshot-hash-ignored", "a damaged snapshot is believed", Hunt::swarm, 400,
       false},
      {M::tail_applied_twice, "tail-applied-twice", "records that a snapshot holds are applied again",
       Hunt::swarm, 200, false},
      {M::unsaved_is_dropped, "unsaved-is-dropped", "an actor leaves memory with a change that is not saved",
       Hunt::swarm, 200, false},
      {M::start_without_mark, "start-without-mark",
       "a shard without snapshots does not compare the record that its recovery row knows", Hunt::swarm, 400,
       false},
      {M::vanished_snapshot_believed, "vanished-snapshot-believed",
       "a snapshot that vanishes while a shard runs was never there", Hunt::swarm, 400, false},
      {M::snapshot_by_sequence, "snapshot-by-sequence",
       "which of two snapshots is newer is said by their sequences", Hunt::quarantine, 6000, false},
      {M::damaged_snapshot_gives_way, "damaged-snapshot-gives-way",
       "a damaged snapshot is replaced by any other", Hunt::swarm, 2000, false},
      {M::retry_with_new_id, "retry-with-new-id",
       "after an unknown outcome a node tries again under a new id", Hunt::swarm, 100, true},
      {M::stream_ends_with_shard, "stream-ends-with-shard",
       "a stream ends when its own node loses the partition", Hunt::move, 200, false},
      {M::doubt_may_be_repeated, "doubt-may-be-repeated",
       "clients without keys may repeat what has an unknown outcome", Hunt::swarm, 200, false},
      {M::false_not_written, "false-not-written",
       "the log's adapter says \"not written\" when it does not know", Hunt::swarm, 100, false},
      {M::lagging_view_is_truncation, "lagging-view-is-truncation",
       "a record that cannot be read yet is one that was taken away", Hunt::swarm, 8000, false},
  };
}

std::vector<MutantInfo> view_mutants() {
  return {
      {M::checkpoint_not_compared, "checkpoint-not-compared", "a checkpoint moves whatever its version is",
       Hunt::swarm, 100, true},
      {M::checkpoint_without_admission, "checkpoint-without-admission",
       "a worker begins without the admission state", Hunt::swarm, 50, true},
      {M::starts_at_end, "starts-at-end", "a worker begins at the end of the log", Hunt::swarm, 50, true},
      {M::told_before_commit, "told-before-commit", "the views count as moved before their transaction",
       Hunt::swarm, 100, false},
      {M::unknown_commit_is_done, "unknown-commit-is-done",
       "a transaction with an unknown outcome counts as committed", Hunt::swarm, 600, false},
      {M::checkpoint_trusted_for_ever, "checkpoint-trusted-for-ever",
       "a worker with nothing to do never looks at its checkpoint again", Hunt::swarm, 400, false},
      {M::fold_ignores_epoch, "fold-ignores-epoch", "the fold takes records of other epochs", Hunt::swarm, 50,
       true},
      {M::fold_closes_foreign_row, "fold-closes-foreign-row", "the fold closes rows of another partition",
       Hunt::swarm, 100, true},
      {M::parked_not_admitted, "parked-not-admitted",
       "events of a parked stream do not move the admission state", Hunt::quarantine, 50, true},
      {M::skip_not_in_log, "skip-not-in-log", "trying a parked stream again skips its event",
       Hunt::quarantine, 50, true},
      {M::answers_before_views, "answers-before-views", "an answer does not wait for the views", Hunt::swarm,
       50, true},
  };
}

std::vector<MutantInfo> disk_mutants() {
  return {
      {M::ack_before_sync, "ack-before-sync", "the log answers before it has synced", Hunt::disk_crash, 100,
       true},
      {M::log_commit_not_inspected, "log-commit-not-inspected", "the log does not look at what COMMIT says",
       Hunt::disk_faults, 100, true},
      {M::disk_false_not_written, "disk-false-not-written",
       "the log says \"not written\" after a COMMIT that failed", Hunt::disk_syncs, 200, false},
      {M::unsynced_is_read, "unsynced-is-read", "a new log shows what the last one had not synced",
       Hunt::disk_syncs, 200, true},
      {M::checksum_ignored, "checksum-ignored", "a record is read whatever its checksum", Hunt::disk_rot, 20,
       true},
      {M::checksum_without_place, "checksum-without-place",
       "a record's checksum does not hold its place in the log", Hunt::disk_rot, 20, true},
      {M::bad_record_ends_log, "bad-record-ends-log", "the log ends for a reader at the first bad record",
       Hunt::disk_rot, 20, true},
      {M::views_in_two_transactions, "views-in-two-transactions",
       "the checkpoint and its rows are two transactions", Hunt::disk_crash, 200, true},
      {M::checkpoint_of_unsynced, "checkpoint-of-unsynced",
       "a checkpoint takes over pages whose sync has failed", Hunt::disk_syncs, 4000, false},
      {M::switch_without_compare, "switch-without-compare",
       "the views are switched wherever the next generation is", Hunt::disk_swarm, 1000, false},
      {M::switch_without_hold, "switch-without-hold",
       "the old generation is folded on between the comparison and the switch", Hunt::disk_swarm, 400, false},
      {M::abort_leaves_file, "abort-leaves-file", "a rebuild that is ended leaves its file", Hunt::rebuild,
       20, true},
      {M::unfinished_generation_shown, "unfinished-generation-shown",
       "a rebuild that goes on believes that the indexes are made", Hunt::rebuild, 50, true},
  };
}

std::vector<MutantInfo> agent_mutants() {
  return {
      {M::fork_of_now, "fork-of-now", "a fork is of the newest state, whatever was asked for", Hunt::swarm,
       200, true},
      {M::fork_with_new_key, "fork-with-new-key", "a fork that is asked for again is another agent",
       Hunt::swarm, 200, true},
      {M::carried_twice, "carried-twice", "what an import sends again is carried again", Hunt::swarm, 200,
       true},
      {M::moves_whatever_came, "moves-whatever-came", "an agent leaves whatever has come since its export",
       Hunt::teleport, 20, true},
      {M::export_ends_early, "export-ends-early", "an export ends where its reader sees nothing yet",
       Hunt::swarm, 2000, false},
      {M::moved_is_unknown, "moved-is-unknown",
       "whether an agent has moved cannot be read, so it never was there", Hunt::swarm, 4000, false},
      {M::texts_in_plain, "texts-in-plain", "what an erasable agent is told is not sealed", Hunt::swarm, 50,
       true},
      {M::snapshot_in_plain, "snapshot-in-plain", "an erasable agent's snapshot is not sealed", Hunt::swarm,
       200, false},
      {M::erased_before_keys, "erased-before-keys", "an erasure is answered before its keys are destroyed",
       Hunt::swarm, 400, false},
      {M::erasure_not_finished, "erasure-not-finished",
       "keys of an erasure that was cut off are not destroyed", Hunt::swarm, 2000, false},
      {M::snapshot_over_erasure, "snapshot-over-erasure",
       "recovery may begin behind an erasure whose keys are there", Hunt::swarm, 4000, false},
  };
}

}  // namespace

const char* to_string(Hunt hunt) {
  switch (hunt) {
    case Hunt::swarm:
      return "swarm";
    case Hunt::diff:
      return "diff";
    case Hunt::quarantine:
      return "quarantine";
    case Hunt::move:
      return "move";
    case Hunt::teleport:
      return "teleport";
    case Hunt::disk_swarm:
      return "disk swarm";
    case Hunt::disk_crash:
      return "disk, crash";
    case Hunt::disk_faults:
      return "disk, faults";
    case Hunt::disk_syncs:
      return "disk, syncs";
    case Hunt::rebuild:
      return "rebuild";
    case Hunt::disk_rot:
      return "disk, rot";
  }
  return "?";
}

const std::vector<MutantInfo>& all_mutants() {
  static const std::vector<MutantInfo> kAll = [] {
    std::vector<MutantInfo> all;
    for (const auto& some :
         {protocol_mutants(), shard_mutants(), view_mutants(), disk_mutants(), agent_mutants()}) {
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }();
  return kAll;
}

const MutantInfo* find_mutant(std::string_view id) {
  const auto& all = all_mutants();
  const auto found =
      std::find_if(all.begin(), all.end(), [id](const MutantInfo& one) { return id == one.id; });
  return found == all.end() ? nullptr : &*found;
}

SwitchedOn::SwitchedOn(Mutant one) {
  CHECK(switched_on == Mutant::none);
  switched_on = one;
}

SwitchedOn::~SwitchedOn() {
  switched_on = Mutant::none;
}

}  // namespace sim
}  // namespace varve
