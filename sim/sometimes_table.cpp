// The table of situations that soaks must meet (sim/sometimes.h).
#include "sim/sometimes.h"

namespace varve::sim {

namespace {

constexpr Sometimes kTable[] = {
    // Appends, as the log sees them.
    {"sometimes.append.out_of_order", 20'000, "an append arrives before one that was sent earlier"},
    {"sometimes.append.retry_was_recognised", 300, "the log knows a batch that is sent again"},
    {"sometimes.append.unknown", 300, "an adapter gives up without an answer"},
    {"sometimes.append.unknown_was_committed", 300, "what had no answer is in the log"},
    {"sometimes.append.unknown_was_lost", 300, "what had no answer is not in the log"},
    {"sometimes.log.unreplicated_was_lost", 1'000, "a new leader does not have what the old one had"},
    {"sometimes.zombie.append_landed", 300, "a dead process's append lands"},
    // Who owns what.
    {"sometimes.owner.two_claims_at_once", 1'000, "two processes claim one partition"},
    {"sometimes.owner.claim_came_too_late", 300, "a claim is read behind a newer one"},
    {"sometimes.owner.foreign_claim", 300, "a claim of another cluster is in the log"},
    {"sometimes.owner.two_believe_they_serve", 300, "the old owner has not noticed that there is a new one"},
    {"sometimes.owner.takeover_during_append", 300,
     "a new owner serves while the old one's commit is under way"},
    {"sometimes.owner.zombie_sent", 2'000, "an owner sends a commit after it has been replaced"},
    {"sometimes.owner.zombie_woke", 300, "a paused owner goes on after it has been replaced"},
    {"sometimes.owner.paused_while_serving", 300, "an owner takes no step for a while"},
    {"sometimes.owner.paused_during_append", 300, "an owner is paused while its commit is under way"},
    {"sometimes.owner.crashed_during_append", 300, "an owner dies while its commit is under way"},
    {"sometimes.owner.crashed_while_claiming", 300, "a process dies while its claim is under way"},
    {"sometimes.owner.read_fenced", 300, "a reader skips a commit of an epoch that is over"},
    {"sometimes.owner.read_duplicate", 300, "a reader skips a commit that it has read"},
    {"sometimes.owner.read_gap", 300, "a reader skips a commit behind one that is missing"},
    {"sometimes.owner.unknown_outcome", 300, "an owner does not know whether its commit is in the log"},
    {"sometimes.owner.not_written", 300, "the log says that a commit is certainly not in it"},
    // Assignment.
    {"sometimes.group.expelled_rebalance", 1'000, "a member does not give up in time"},
    {"sometimes.group.expelled_session", 300, "a member is not heard of for too long"},
    {"sometimes.group.lost", 300, "a member learns that it was expelled"},
    {"sometimes.group.noticed_alone", 300, "a member notices by its own clock that its session is over"},
    {"sometimes.group.old_generation_was_refused", 300, "an owner's proof is of an older generation"},
    {"sometimes.group.zombie_proof_was_refused", 300, "a proof of a member that is none any more"},
    // The network.
    {"sometimes.network.answer_to_nobody", 300, "an answer comes when its caller has gone"},
    {"sometimes.network.asked_over_a_half_cut_link", 300, "a request arrives whose answer cannot"},
    {"sometimes.network.delivered_twice", 300, "a request between nodes is handled twice"},
    {"sometimes.network.refused", 300, "nobody listens"},
    {"sometimes.network.reader_left", 300, "a stream's reader goes before its end"},
    {"sometimes.network.reader_stalled", kNotInSoaks, "a stream's reader does not read (sim_client_test)"},
    // The stores.
    {"sometimes.snapshots.older_row_refused", 300, "a snapshot that is older than the row comes late"},
    {"sometimes.snapshots.recovery_row_refused", 1'000,
     "a recovery row that is older than the row comes late"},
    {"sometimes.views.failover_lost_commits", 300, "a failover loses transactions of the views"},
    {"sometimes.views.folded_again_after_a_failover", 300, "what a failover lost is folded again"},
    {"sometimes.disk.boot_failed", 2'000, "a file cannot be opened after a crash, and later it can"},
    {"sometimes.truncation.found_nothing_to_cut", kNotInSoaks, "a log that was to be cut short is empty"},
    // Rebuilds.
    {"sometimes.rebuild.begun", 300, "somebody rebuilds the views"},
    {"sometimes.rebuild.begun_again", 1'000, "a rebuild that was cut off is gone on with"},
    {"sometimes.rebuild.went_on", 5'000, "a rebuild finds partitions that are partly folded"},
    {"sometimes.rebuild.done", 300, "the views are switched to another generation"},
    {"sometimes.rebuild.ended", 1'000, "somebody ends a rebuild"},
    {"sometimes.rebuild.ended_half_way", 2'000, "there is something to remove when a rebuild is ended"},
    // Who looks into the past.
    {"sometimes.fork.made", 300, "an agent is forked as of a moment"},
    {"sometimes.fork.compared", 300, "a fork is compared with what its origin was"},
    {"sometimes.bisect.found", 300, "the views are asked when something came about"},
    {"sometimes.bisect.compared", 300, "a scan is asked the same"},
    // Who carries agents away.
    {"sometimes.teleport.exported", 300, "an archive comes whole"},
    {"sometimes.teleport.imported", 300, "an archive is sent and sealed"},
    {"sometimes.teleport.killed", 300, "an import is killed between two pieces"},
    {"sometimes.teleport.cut_off", 1'000, "an export, an import or a move gets no answer for long"},
    {"sometimes.teleport.went_on", 300, "an import finds a part of what it sends"},
    {"sometimes.teleport.imported_again", 300, "an import is repeated"},
    {"sometimes.teleport.two_at_once", 1'000, "two programs import one archive at the same time"},
    {"sometimes.teleport.other_place_died", 1'000, "the machine that agents are carried to dies"},
    {"sometimes.teleport.compared", 300, "what was carried is compared with what its source showed"},
    {"sometimes.teleport.refused", 3'000, "a block that was carried before has lived on since"},
    {"sometimes.teleport.left", 300, "a source lets an agent go"},
    {"sometimes.teleport.move_came_too_early", 1'000, "an agent changes between its export and its leaving"},
    {"sometimes.teleport.moved", 300, "an agent has moved"},
    {"sometimes.teleport.answered_410", 300, "an agent that has moved is asked for at its source"},
    {"sometimes.teleport.lives_on", 300, "somebody talks to an agent where it was carried to"},
    // Erasable agents.
    {"sometimes.erase.told", 300, "somebody is told that an agent is erased"},
    {"sometimes.erase.key_is_gone", 300, "the key of an agent that was erased is looked for in vain"},
    // Streams.
    {"sometimes.stream.client_left", 300, "a client goes away in the middle of a stream"},
    {"sometimes.stream.re_attached", 300, "a client comes back to a stream where it left"},
    {"sometimes.stream.ended_after_coming_back", 300, "a stream that was left is read to its end"},
    {"sometimes.stream.was_interrupted", 5'000, "a stream says that its turn goes on elsewhere"},
    // Clients without keys.
    {"sometimes.keyless.asked", 300, "somebody writes without an Idempotency-Key"},
    {"sometimes.keyless.sent_again", 1'000, "what was certainly not done is sent again without a key"},
    // Stories (stories_test).
    {"sometimes.story.asleep", kNotInSoaks, "an agent has left memory when it is asked again"},
    {"sometimes.story.batch_of_many", kNotInSoaks, "many records are one transaction of the views"},
    {"sometimes.story.died_before_the_answer", kNotInSoaks, "a node dies with an answer under way"},
    {"sometimes.story.snapshot_and_tail", kNotInSoaks,
     "an agent comes from a snapshot and what is behind it"},
    // What nodes do about it.
    {"node.commands_replayed", 300, "a repeated request gets the answer of the first"},
    {"node.commands_sent_again", 300, "a command goes to the new owner under its id"},
    {"node.forwarded_again", 300, "a forwarded command comes twice"},
    {"node.forwarded_astray", 300, "a forwarded command comes to a node that does not own it"},
    {"node.log_read_retries", 300, "the log cannot be read for a while"},
    {"node.partitions_taken_away", 300, "a partition is lost without having been given up"},
    {"node.passivations", 300, "an idle actor leaves memory"},
    {"node.projection_races_lost", 300, "another folder's checkpoint was first"},
    {"node.recoveries_from_start", 300, "a shard recovers without a recovery row"},
    {"node.snapshots_damaged", 1'000, "a snapshot fails its digest"},
    {"node.streams_rebuilt", 1'000, "an actor is folded from the log, without its snapshot"},
    {"node.turn_step_retries", 300, "a model is asked again"},
    {"node.turns_resumed", 300, "a turn goes on after a crash"},
};

}  // namespace

const std::vector<Sometimes>& sometimes() {
  static const std::vector<Sometimes> kAll(std::begin(kTable), std::end(kTable));
  return kAll;
}

}  // namespace varve::sim
