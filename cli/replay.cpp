// varve replay: a part of the log played again, printed record by record, or stepped through by commands that
// are read from standard input. To step back it plays the partition again from its start: a replay never goes
// back.
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <limits>

#include "cli/commands.h"
#include "cli/inspect_commands.h"
#include "inspect/replay_text.h"
#include "inspect/stepper.h"

namespace varve {
namespace {

constexpr const char* kName = "varve replay";

struct Session {
  EventLog& log;
  ReplayCommand options;
  std::shared_ptr<const Expression> until;  // Null: to the end.
  Partition partition;
  ReplayStyle style;
  Causes causes;
};

// What both ways of replaying do with a record.
class Player : public LogVisitor {
 public:
  explicit Player(Session& session) : session_(session) { restart(); }

 protected:
  void restart() {
    replay_ = std::make_unique<PartitionReplay>(session_.log, session_.partition, session_.causes);
  }
  bool shown(const ReplayedRecord& record) const {
    return !session_.style.stream || record.concerns(*session_.style.stream);
  }
  void print(const ReplayedRecord& record) const {
    if (session_.options.json) {
      std::cout << replay_json(record, session_.style) << "\n";
    } else {
      std::cout << replay_text(record, session_.style);
    }
  }
  void print_damaged(const std::string& why) const {
    if (!session_.options.json) {
      std::cout << "!  " << why << "; every reader stops here\n";
      return;
    }
    std::cout << damaged_json(why) << "\n";
  }
  Result<std::optional<std::size_t>> holds_at(const ReplayedRecord& record) const {
    if (session_.until == nullptr) return std::optional<std::size_t>{};
    return replay_->first_held(*session_.until, session_.style.stream, record);
  }
  void print_held(const ReplayedRecord& record, std::size_t number) const {
    if (session_.options.json) return;
    std::cout << "here it holds: " << session_.until->text() << "\n";
    if (record.events.size() > 1 && number < record.events.size()) {
      std::cout << "  behind " << record.events[number].stream.value() << " #"
                << record.events[number].sequence.value() << "\n";
    }
  }

  Session& session_;
  std::unique_ptr<PartitionReplay> replay_;
};

class Printer final : public Player {
 public:
  explicit Printer(Session& session) : Player(session) {}
  bool held() const { return held_; }
  bool anything() const { return anything_; }
  Task<> begin(Offset end) { return replay_->begin(end); }

  Task<bool> take(LogRecord record) override {
    if (record.offset.value() < session_.options.from) {
      if (Status passed = co_await replay_->pass(std::move(record)); !passed) co_return passed.error();
      co_return true;
    }
    auto replayed = co_await replay_->take(std::move(record));
    if (!replayed) co_return replayed.error();
    const auto held = holds_at(*replayed);
    if (!held) co_return held.error();
    if (shown(*replayed) || *held) {
      print(*replayed);
      anything_ = true;
    }
    if (*held) print_held(*replayed, **held);
    held_ = held->has_value();
    co_return !held_ && std::cout.good();
  }
  Task<bool> damaged(Offset /*offset*/, std::string why) override {
    print_damaged(why);
    anything_ = true;
    co_return true;
  }

 private:
  bool held_ = false;
  bool anything_ = false;  // Was printed.
};

// Stops at every record that is shown, and does what it is told.
class Stepper final : public Player {
 public:
  Stepper(Session& session, bool prompts) : Player(session), prompts_(prompts) {
    goal_ = {Offset{session.options.from}, "", session.until != nullptr};
  }

  Task<> run() {
    const std::uint64_t last = session_.options.to.value_or(std::numeric_limits<std::uint64_t>::max() - 1);
    auto end = co_await session_.log.end(session_.partition);
    if (!end) co_return end.error();
    if (Status begun = co_await replay_->begin(*end); !begun) co_return begun;
    while (!over_) {
      const Offset stop = std::min(*end, Offset{last + 1});
      Stepper& self = *this;
      if (Status read = co_await visit_log(session_.log, session_.partition, next_, stop, self); !read) {
        co_return read;
      }
      if (over_) break;
      if (again_) {
        again_ = false;
        restart();
        next_ = Offset{};
        if (Status begun = co_await replay_->begin(*end); !begun) co_return begun;
        continue;
      }
      std::cout << "the end: nothing at offset " << stop.value() << " or behind it\n";
      if (goal_.until) std::cout << "it never held: " << session_.until->text() << "\n";
      current_.reset();
      ask();
      // More may have come meanwhile.
      if (auto now = co_await session_.log.end(session_.partition)) *end = *now;
    }
    co_return ok();
  }

  Task<bool> take(LogRecord record) override {
    next_ = next(record.offset);
    auto replayed = co_await replay_->take(std::move(record));
    if (!replayed) co_return replayed.error();
    if (!shown(*replayed)) co_return true;
    const Offset here = replayed->position.offset;
    if (seen_.empty() || seen_.back() < here) seen_.push_back(here);
    if (here < goal_.offset) co_return true;
    std::optional<std::size_t> event;
    if (goal_.until) {
      const auto held = holds_at(*replayed);
      if (!held) co_return held.error();
      event = *held;
    }
    if (goal_.until ? !event : !reached(*replayed)) co_return true;
    current_ = std::move(*replayed);
    print(*current_);
    if (event) print_held(*current_, *event);
    ask();
    co_return !over_ && !again_;
  }
  Task<bool> damaged(Offset /*offset*/, std::string why) override {
    print_damaged(why);
    co_return true;
  }

 private:
  struct Goal {
    Offset offset;
    std::string type;    // Empty: any.
    bool until = false;  // Where the condition holds.
  };

  bool reached(const ReplayedRecord& record) const {
    const auto is_wanted = [this](const ReplayedEvent& event) {
      const auto& stream = session_.style.stream;
      return event.type == goal_.type && (!stream || event.stream == *stream);
    };
    return goal_.type.empty() || std::any_of(record.events.begin(), record.events.end(), is_wanted);
  }

  // Reads commands until one says where to go.
  void ask() {
    for (;;) {
      if (prompts_) std::cout << "> ";
      std::cout.flush();
      std::string line;
      if (!std::getline(std::cin, line)) line = "quit";
      const auto command = parse_step_command(line);
      if (!command) {
        std::cout << command.error().message;
      } else if (obey(*command)) {
        return;
      }
    }
  }

  // Whether it says where to go.
  bool obey(const StepCommand& command) {
    switch (command.kind) {
      case StepCommand::Kind::next:
        goal_ = {next_, "", false};
        return true;
      case StepCommand::Kind::to_type:
        goal_ = {next_, command.text, false};
        return true;
      case StepCommand::Kind::to_offset:
        goal_ = {command.offset, "", false};
        again_ = command.offset < next_;
        return true;
      case StepCommand::Kind::back:
        return back();
      case StepCommand::Kind::print:
        print_state(command.text);
        return false;
      case StepCommand::Kind::help:
        std::cout << kStepHelp;
        return false;
      case StepCommand::Kind::quit:
        over_ = true;
        return true;
    }
    return false;
  }

  // To the newest shown record before the current one.
  bool back() {
    const Offset here = current_ ? current_->position.offset : next_;
    const auto behind = std::lower_bound(seen_.begin(), seen_.end(), here);
    if (behind == seen_.begin()) {
      std::cout << "this is the first\n";
      return false;
    }
    goal_ = {*std::prev(behind), "", false};
    again_ = true;
    return true;
  }

  void print_state(const std::string& asked) const {
    std::vector<StreamId> streams;
    if (!asked.empty()) {
      streams.emplace_back(asked);
    } else if (session_.style.stream) {
      streams.push_back(*session_.style.stream);
    } else if (current_) {
      for (const ReplayedEvent& event : current_->events) {
        if (std::find(streams.begin(), streams.end(), event.stream) == streams.end()) {
          streams.push_back(event.stream);
        }
      }
    }
    for (const StreamId& stream : streams) {
      const auto state = Json::parse(replay_->state_of(stream));
      std::cout << stream.value() << " "
                << (state ? indented(*state)
                          : std::string("has no event in partition ") +
                                std::to_string(session_.partition.value()) + " up to here")
                << "\n";
    }
    if (streams.empty()) std::cout << "this record has no events; print STREAM prints one\n";
  }

  bool prompts_;
  Goal goal_;
  Offset next_;               // Of the next record that is read.
  std::vector<Offset> seen_;  // Records that were shown or could have been.
  std::optional<ReplayedRecord> current_;
  bool again_ = false;  // From the start.
  bool over_ = false;
};

Task<int> played(std::shared_ptr<Session> session) {
  auto end = co_await session->log.end(session->partition);
  if (!end) co_return end.error();
  Printer printer{*session};
  if (Status begun = co_await printer.begin(*end); !begun) co_return begun.error();
  Offset stop = *end;
  if (session->options.to) stop = std::min(stop, next(Offset{*session->options.to}));
  const Offset start;
  if (Status read = co_await visit_log(session->log, session->partition, start, stop, printer); !read) {
    co_return read.error();
  }
  if (session->style.stream && !printer.anything()) {
    const std::string where = "partition " + std::to_string(session->partition.value());
    const std::string what = session->style.stream->value() + ", which would be in " + where;
    co_return complain(kName, "nothing there is of " + what, kExitFailed);
  }
  if (session->until == nullptr || printer.held()) co_return kExitDone;
  co_return complain(kName, "it never held: " + session->until->text(), kExitFailed);
}

Task<int> replayed(EventLog& log, ReplayCommand options, std::shared_ptr<const Expression> until) {
  auto session = std::make_shared<Session>(Session{log, options, std::move(until), {}, {}, {}});
  session->style = {options.diff, !options.json && colour_wanted(), std::nullopt};
  if (!options.stream.empty()) {
    session->style.stream = StreamId{options.stream};
    session->partition = partition_of(*session->style.stream, log.partitions());
  } else {
    session->partition = Partition{*options.partition};
  }
  if (session->partition.value() >= log.partitions()) {
    co_return complain(kName,
                       "the log has partitions 0 to " + std::to_string(log.partitions() - 1) + ", not " +
                           std::to_string(session->partition.value()),
                       kExitUsage);
  }
  // What edits a block may have been called by an agent of another partition.
  if (options.stream.starts_with("block-")) {
    auto causes = co_await read_causes(log);
    if (!causes) co_return causes.error();
    session->causes = std::move(*causes);
  }
  if (!options.step) co_return co_await played(session);
  Stepper stepper{*session, ::isatty(STDIN_FILENO) == 1};
  if (Status stepped = co_await stepper.run(); !stepped) co_return stepped.error();
  co_return kExitDone;
}

}  // namespace

int run_replay(const Config& config, const ReplayCommand& options) {
  if (options.stream.empty() && !options.partition) {
    return complain(kName, "replay what? Give --stream S or --partition P", kExitUsage);
  }
  std::shared_ptr<const Expression> until;
  if (!options.until.empty()) {
    auto parsed = Expression::parse(options.until, Expression::Asks::states_and_event);
    if (!parsed) return complain(kName, "--until: " + parsed.error().message, kExitUsage);
    until = std::make_shared<const Expression>(std::move(*parsed));
  }
  return with_log(config, kName, [&](EventLog& log) { return replayed(log, options, until); });
}

}  // namespace varve
