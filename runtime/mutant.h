// Mutant: seeded bugs, the test of the simulator itself. Where the code could be wrong in a way that the
// simulation claims to find, it asks mutant(Mutant::..) and does the wrong thing if the answer is yes. sim/
// mutants.h lists what each is about and which run finds it.
//
// Promises: in a server the answer is always no, and there is nothing by which it could be changed
// (runtime/mutant.cpp). A program that links sim/ has another definition, by which at most one is switched
// on. The objects that ask are the same in both.
#pragma once

namespace varve {

enum class Mutant : unsigned char {
  none,
  canary,  // Nothing is wrong, and the oracles say so: must be found always.

  // ---- admission ----
  duplicates_count,
  gaps_count,
  epoch_not_compared,

  // ---- the owner of a partition ----
  ack_on_delivery,
  unknown_is_done,
  unknown_is_not_written,
  unknown_does_not_stop,
  goes_on_after_hole,
  skip_is_never,
  stop_is_never,
  no_claim_on_takeover,
  skipped_claim_serves,
  claim_by_name,
  claim_id_of_process,
  time_runs_backwards,
  answers_name_skipped_records,

  // ---- the shard ----
  refusal_without_end,
  command_ids_ignored,
  window_not_restored,
  turns_not_resumed,
  unread_turns_not_resumed,
  tool_call_without_id,
  decision_grows_old,
  order_by_address,
  command_without_id,

  // ---- snapshots and recovery ----
  older_snapshot_wins,
  recovery_row_moves_back,
  recovery_row_after_save,
  recovery_without_admission,
  missing_snapshot_ignored,
  snapshot_hash_ignored,
  tail_applied_twice,
  unsaved_is_dropped,
  start_without_mark,
  vanished_snapshot_believed,
  snapshot_by_sequence,
  damaged_snapshot_gives_way,

  // ---- between nodes ----
  retry_with_new_id,
  stream_ends_with_shard,

  // ---- the API ----
  doubt_may_be_repeated,

  // ---- the log of a cluster ----
  false_not_written,
  lagging_view_is_truncation,

  // ---- projections ----
  checkpoint_not_compared,
  checkpoint_without_admission,
  starts_at_end,
  told_before_commit,
  unknown_commit_is_done,
  checkpoint_trusted_for_ever,
  fold_ignores_epoch,
  fold_closes_foreign_row,
  parked_not_admitted,
  skip_not_in_log,
  answers_before_views,

  // ---- the embedded log and views, on a disk ----
  ack_before_sync,
  log_commit_not_inspected,
  disk_false_not_written,
  unsynced_is_read,
  checksum_ignored,
  checksum_without_place,
  bad_record_ends_log,
  views_in_two_transactions,
  checkpoint_of_unsynced,

  // ---- generations of the views ----
  switch_without_compare,
  switch_without_hold,
  abort_leaves_file,
  unfinished_generation_shown,

  // ---- forks ----
  fork_of_now,
  fork_with_new_key,

  // ---- agents that are carried away ----
  carried_twice,
  moves_whatever_came,
  export_ends_early,
  moved_is_unknown,

  // ---- erasable agents ----
  texts_in_plain,
  snapshot_in_plain,
  erased_before_keys,
  erasure_not_finished,
  snapshot_over_erasure,
};

// Whether the code is to be wrong in this way.
bool mutant(Mutant one) noexcept;

}  // namespace varve
