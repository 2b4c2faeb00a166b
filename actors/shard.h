// Shard: the running owner of one partition: its actors, their mailboxes, their turns, its writer. One
// command of an actor at a time: decide -> append -> admit -> apply -> answer. A turn is a series of
// commands, driven by a task that holds no mailbox: while it waits for a model, the agent's other commands
// run.
//
// shard.cpp has mailboxes and commands, shard_recovery.cpp activation and snapshots, shard_turns.cpp the
// turns, shard_rulings.cpp what becomes of corrupt streams, shard_keys.cpp erasable ones. Thread: the Env's.
// Lifetime: the Env's tasks end before the shard does; or stop() has ended well and nobody is inside
// execute() any more (who calls it holds the shard).
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "actors/command_sender.h"
#include "actors/decide.h"
#include "actors/known_streams.h"
#include "actors/message_search.h"
#include "actors/model_request.h"
#include "actors/partition_owner.h"
#include "actors/turn_channel.h"
#include "eventlog/key_store.h"
#include "eventlog/snapshot_store.h"

namespace varve {

struct ShardOptions {
  std::size_t mailbox_max = 64;        // Waiting commands of one actor; more are answered 429.
  std::size_t turns_waiting_max = 64;  // Messages that wait for an open turn; more are answered 429.
  std::size_t resident_max = 100'000;  // Actors in memory before the least recently used ones are passivated.
  Duration idle{std::chrono::minutes{10}};  // Unused for so long: passivated.
  Duration housekeeping{std::chrono::seconds{1}};
  std::uint64_t snapshot_records = 5000;             // A round of snapshots after so many records ...
  Duration snapshot_time{std::chrono::seconds{60}};  // ... or after so long, if anything changed.
  Duration owner_wait{std::chrono::seconds{3}};  // How long a command waits for the partition to be owned.
};

class Shard final : public PartitionListener {
 public:
  struct Ports {
    EventLog& log;
    SnapshotStore& snapshots;
    CommandSender& sender;  // To blocks, wherever they live.
    ModelClient& model;
    MessageSearch* search = nullptr;  // Null: conversation_search says that it cannot.
    KeyStore* keys = nullptr;         // Null: no agent can be made erasable.
  };

  Shard(Env& env, Partition partition, NodeIdentity identity, Ports ports, PartitionOwner::Proof prove,
        ShardOptions options);

  // Recovers, claims, serves. Once.
  void start();
  // As CommandSender::send, for streams of this partition. Errc::resource_exhausted if the mailbox is full.
  Task<CommandAnswer> execute(CommandEnvelope envelope, CallLimits limits);
  // Waits until the partition is owned and recovered.
  Task<> wait_ready(MonoTime deadline) { return owner_.wait_owned(deadline); }
  // Takes no new commands, hands over open turns, takes a round of snapshots, stops.
  Task<> drain(MonoTime deadline);
  // Stops at once, for ever: writes nothing from now on. Everybody who waits is answered: with
  // Errc::outcome_unknown if his commit is in flight, with Errc::unavailable if it was not begun. Channels of
  // turns are abandoned.
  void fence();
  // fence(), then waits until the shard's last task has ended. Errc::unavailable at the deadline: not yet.
  Task<> stop(MonoTime deadline);
  // Writes the ruling that this event is absent (a skip), for good. Errc::conflict unless its stream is
  // corrupt here because this program cannot read it. The position is the ruling's. Otherwise as a command.
  Task<LogPosition> rule(EventPlace place, MonoTime deadline);
  // A round of snapshots now. Errc::unavailable if the store fails; nothing is lost by that.
  Task<> snapshot_round();
  // Drops idle actors from memory; their snapshots are up to date afterwards.
  Task<> passivate_idle(Duration idle_for);

  const PartitionOwner& owner() const { return owner_; }
  std::size_t resident() const { return actors_.size(); }
  // Turns that are being worked on.
  std::size_t turns_driven() const { return turns_driven_; }
  // A copy of a resident actor's state, for tests and oracles; nothing if it is not resident.
  std::optional<ActorState> peek(const StreamId& stream) const;

  void on_commit(const Commit& commit, Offset offset) override;
  void on_ruling(const Ruling& ruling, Offset offset) override;
  void on_owned() override;
  void on_stopped() override;

 private:
  // An answer on its way to the one who waits for it, who takes it away: answers are large.
  struct Reply {
    std::optional<Result<CommandAnswer>> given;
    Notifier ready;

    void set(Result<CommandAnswer> answer) {
      if (given) return;  // The first one counts.
      given.emplace(std::move(answer));
      ready.notify_all();
    }
  };
  struct Pending {
    CommandEnvelope envelope;
    CallLimits::Turn turn = CallLimits::Turn::ended;
    MonoTime deadline;
    MonoTime asked;          // When it came.
    bool abandoned = false;  // Its caller has gone.
    bool decided = false;    // An append may be on its way.
    Reply answer;
  };
  using PendingPtr = std::shared_ptr<Pending>;

  struct ModelCall {
    std::optional<Result<ModelOutcome>> outcome;
    Notifier changed;
  };

  // What the model made of a step, as the command that records it: kept until it is recorded, so that a log
  // that takes nothing costs no second call. A crash loses it; then the model is asked again.
  struct MadeStep {
    std::string run_id;
    std::int64_t step = 0;
    Command record;
    CommandId id;
  };

  struct Actor {
    ActorState state;
    ShownContext shown;            // Of the state's agent, as of its last step.
    Offset seen;                   // Of the last record of the stream, as far as the state goes.
    Offset saved;                  // The same of its sound snapshot; 0 = it has none.
    std::optional<TextSeal> seal;  // Of an erasable stream: its state is plain. Without it, it may be sealed.
    MonoTime used;
    std::deque<PendingPtr> mailbox;
    std::deque<PendingPtr> turns_waiting;
    bool pumping = false;  // A task works on the mailbox.
    bool driving = false;  // A task drives the open turn.
    bool stuck = false;    // What the open turn does cannot be recorded at present.
    MonoTime turn_ends;    // When the turn that is driven has had its time.
    std::shared_ptr<TurnChannel> turn;
    std::shared_ptr<ModelCall> model_call;  // The one that is waited for.
    std::optional<MadeStep> made;           // At most one, of the open turn.
    std::vector<LogPosition> turn_positions;

    bool busy() const { return pumping || driving || !mailbox.empty() || !turns_waiting.empty(); }
    // A stream that was never born has nothing to be kept.
    bool dirty() const { return seen != saved && state.born != Offset{}; }
  };
  struct TailPart {
    std::shared_ptr<const Commit> commit;
    std::size_t number = 0;
    Offset offset;
    const Part& part() const { return commit->parts[number]; }
  };
  struct Tail {
    Offset before;  // The stream's last record before these.
    std::vector<TailPart> parts;
  };
  // A stream of a ruling that the reader has met, until it is read again.
  struct Unread {
    Offset ruling;
    bool running = false;  // A task does it.
  };

  // Starts a task of the shard; not after fence().
  bool launch(std::string name, Task<> task);
  void trace(std::string_view what, const CommandId& command) const;

  // ---- commands ----
  Task<CommandAnswer> execute_otherwise(CommandEnvelope envelope, CallLimits limits);
  // Puts it where the actor takes it from, and sees that it does.
  PendingPtr put_in_mailbox(Actor& actor, CommandEnvelope envelope, CallLimits limits);
  Task<CommandAnswer> answer_to(PendingPtr pending);
  // The actor, if it need not be loaded or opened first; else null.
  Actor* resident_actor(const StreamId& stream) const;
  Task<CommandAnswer> enqueue(CommandEnvelope envelope, CallLimits limits, bool bounded);
  void pump_if_needed(Actor& actor);
  void answer_turn(Actor& actor, const PendingPtr& pending, CommandAnswer answer);
  Task<> pump(Actor* actor);
  // Each is a coroutine of its own: one keeps in memory what all of its branches need.
  Task<> handle(Actor* actor, PendingPtr pending);
  Task<> handle_sent(Actor* actor, PendingPtr pending, PartitionOwner::FatePtr fate, Sequence first);
  Task<> handle_long(Actor* actor, PendingPtr pending);
  // What need not be decided: true if that is so, and dealt with.
  bool is_dealt_with(Actor& actor, const PendingPtr& pending);
  void wait_for_turn(Actor& actor, const PendingPtr& pending);
  void join_open_turn(Actor& actor, const PendingPtr& pending);
  Task<CommandAnswer> erased(StreamId stream, CommandAnswer answer, MonoTime deadline);
  void give_answer(Actor& actor, const PendingPtr& pending, Result<CommandAnswer> answer);
  void give_answer_of(Actor& actor, const PendingPtr& pending, Sequence first,
                      const Result<Admitted>& admitted);
  Histogram& time_of(const Command& command, const Result<CommandAnswer>& answer);
  Task<CommandAnswer> carry_out(Actor* actor, PendingPtr pending);
  // What a decision has sent to the log: `first` is the sequence of its first event.
  struct Sent {
    PartitionOwner::FatePtr fate;
    Sequence first;
  };
  // Decides and sends, if that needs no question to anybody and leads to events; else nothing has happened.
  std::optional<Result<Sent>> send_at_once(Actor& actor, Pending& pending);
  CommandAnswer answer_of(const Actor& actor, const Command& command, Sequence first,
                          const Admitted& admitted) const;
  // A command that has taken effect before: its answer, or a conflict. Nothing = it is new.
  std::optional<Result<CommandAnswer>> replayed(const ActorState& state,
                                                const CommandEnvelope& envelope) const;
  Task<Actor*> sound_actor(StreamId stream);
  // Blocks of an import that is not sealed: to everybody they are not there yet.
  Task<bool> is_hidden(StreamId imported_with);
  Task<CommandAnswer> read_block(StreamId stream);
  Task<CommandAnswer> read_tools(StreamId stream, ReadTools question);
  Task<CommandAnswer> skip(StreamId stream, SkipEvent command, MonoTime deadline);
  Task<std::vector<BlockFact>> ask_blocks(StreamId asking, std::vector<StreamId> blocks);
  CommandAnswer answer_from(const ActorState& state) const;
  // Sends a command of the shard itself to one of its actors.
  Task<CommandAnswer> submit(StreamId stream, Command command, MonoTime deadline = kNever,
                             std::optional<CommandId> id = std::nullopt);

  // ---- recovery ----
  Task<> main();
  // Where the reader begins. Errc::unavailable: ask again.
  Task<PartitionOwner::Start> recovery_start();
  Task<Actor*> activate(StreamId stream);
  struct Loaded {
    ActorState state;
    Offset seen;
    Offset saved;
  };
  Task<Loaded> load(StreamId stream);
  // From the log alone, up to where the reader is. Nothing of it is saved.
  Task<Loaded> rebuild(StreamId stream);
  // The state that the row and the tail of the stream give, if they fit together; else it is rebuilt.
  std::optional<Loaded> loaded_from(const StreamId& stream, const std::optional<SnapshotRow>& row) const;
  void keep_in_tail(const StreamId& stream, Offset before, TailPart entry);
  static void take_part(Actor& actor, const Commit& commit, const Part& part, Offset offset,
                        const EventPlaces& absent);
  void apply_tail(Actor& actor);
  void reread_ruled();
  Task<> reread(StreamId stream);
  Task<> housekeep();
  SnapshotRow row_of(const Actor& actor) const;
  Task<> save(std::vector<StreamId> streams);
  Task<> passivate(std::vector<StreamId> streams);

  // ---- keys of erasable streams (shard_keys.cpp) ----
  // Its state is sealed, and the key is not at hand or not there at all.
  bool is_locked(const Actor& actor) const;
  static Error key_is_missing(const StreamId& stream);
  // The actor with its state opened, if there is a key.
  Task<Actor*> unlock(StreamId stream);
  // Seals what erasable streams are about to write.
  static bool is_to_be_sealed(const Actor& actor, const std::vector<Part>& parts);
  Task<> seal_parts(Actor* actor, std::vector<Part>* parts, CommandId command);
  void note_erasure(const Part& part);
  void finish_erasures();
  Task<> destroy_keys();
  Task<> destroy_keys_of(StreamId agent, std::vector<StreamId> blocks);
  Task<> keys_destroyed(StreamId stream, MonoTime deadline);

  // ---- turns ----
  void publish(Actor& actor, const Commit& commit, const Part& part, Offset offset);
  void count_turn(const Event& event, WallTime at);
  void set_driving(Actor& actor, bool driving);
  void open_channel(Actor& actor);
  void drive_if_open(Actor& actor);
  void release_callers(Actor& actor);
  static Error turn_is_stuck();
  void resume(Actor& actor);
  Task<> resume_turns();
  Task<> drive(Actor* actor, bool resumed);
  Task<> drive_step(Actor* actor);

  // ---- actions of a turn (shard_steps.cpp) ----
  Task<> call_model(Actor* actor);
  Task<> record_step(Actor* actor);
  Task<ModelOutcome> ask_model(Actor* actor, ModelRequest request, MonoTime deadline);
  static Task<> run_model_call(Env& env, ModelClient& model, std::shared_ptr<ModelCall> call,
                               ModelRequest request, MonoTime deadline);
  Task<std::vector<ToolValue>> ask_tools(std::vector<std::string> ids);
  Task<> run_tool(Actor* actor, RunTool action);
  Task<Message> memory_tool(Actor* actor, RunTool action);
  Task<Message> search_tool(Actor* actor, RunTool action);
  Task<SummaryResult> summarize(Actor* actor);
  Task<CommandAnswer> summarize_on_demand(StreamId stream);
  Task<CommandAnswer> preview_turn(StreamId stream, PreviewTurn command, MonoTime deadline);

  Task<> join_turn(std::shared_ptr<TurnChannel> channel, PendingPtr pending, CommandAnswer answer);
  void admit_waiting_turn(Actor& actor);

  Env& env_;
  Partition partition_;
  Ports ports_;
  ShardOptions options_;
  PartitionOwner owner_;
  TaskGroup tasks_;        // All that run on this shard; calls of the model excepted, which outlive it.
  bool stopping_ = false;  // No new commands.
  bool fenced_ = false;    // No new anything.
  Notifier fenced_now_;

  // By address stable: an actor that is busy is never passivated.
  std::map<StreamId, std::unique_ptr<Actor>> actors_;
  // Records after the recovery row of streams that are not resident.
  std::map<StreamId, Tail> tail_;
  // What the rows held when this began, and what the reader has met since: a snapshot that is not there, or
  // has seen less, was lost.
  KnownStreams known_;
  std::map<StreamId, std::shared_ptr<Notifier>> activating_;
  // What rulings that the reader has met say is absent.
  EventPlaces absent_;
  // Streams of such rulings that are not yet read again. Their commits are kept in tail_, too, and their
  // states are not saved.
  std::map<StreamId, Unread> unread_;
  // Agents that the log says are erased, with the blocks that go with them, whose keys may still be there.
  std::map<StreamId, std::vector<StreamId>> erasing_;
  bool destroying_ = false;    // A task does it.
  Notifier erased_;            // erasing_ has become less.
  std::uint64_t streams_ = 0;  // Born before owner_.next_offset().
  std::optional<RecoveryRow> recovery_;
  std::uint64_t records_since_round_ = 0;
  MonoTime last_round_;
  bool round_running_ = false;
  std::size_t turns_driven_ = 0;
  // How long commands take that succeed, by their kind: looked up once. Null = not yet.
  std::array<Histogram*, std::variant_size_v<Command>> times_{};
};

}  // namespace varve
