// ContinuousVerify: proves again and again what verify.h proves once, beside a server that goes on: digest =
// rows = independent replay, partition by partition, in slices at a bounded rate and in bounded memory.
//
// A partition is compared at the place that its checkpoint has when its turn comes: what is folded meanwhile
// lies behind it and waits for the next round. The rows of that place are the same however often and in how
// many reads one looks, but for two things, after which the partition begins again: a rebuild that switches
// the generation (then the whole round does), and a stream that leaves the quarantine. So nothing is reported
// that is not so.
//
// Rows and replay are summed in many small sums, by entity. Only for sums that differ log and rows are read a
// second time, and the rows are named. Thread: the Env's; decoding, folding and hashing run on Lane::read.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "eventlog/event_log.h"
#include "projections/generations.h"
#include "projections/verify.h"
#include "projections/verify_replay.h"
#include "runtime/sync.h"

namespace varve {

struct VerifyPace {
  std::uint64_t per_second = 2'000;  // Records of the log and rows of the views, together.
  std::size_t slice = 250;           // So many at a time, then everything else goes on.
  Duration between_rounds = std::chrono::seconds{60};
};

struct VerifyProgress {
  std::uint64_t rounds = 0;  // Finished.
  WallTime round_ended;      // The newest of them; zero: none.
  // By the newest comparison of each.
  std::set<Partition> differing;
};

class ContinuousVerify {
 public:
  struct Ports {
    EventLog& log;
    ViewStore& views;  // The active generation, whichever that is.
    Generations& generations;
  };
  // Gets every difference, in every round in which it is found.
  using Report = std::function<void(const Difference&)>;

  // Everything must outlive this. `rewrite`: as the views were folded with.
  ContinuousVerify(Env& env, Ports ports, VerifyPace pace, Report report, RowRewrite rewrite = {})
      : env_(env), ports_(ports), pace_(pace), report_(std::move(report)), rewrite_(std::move(rewrite)) {}

  // Round after round until stop(). What may pass is waited for.
  Task<> run();
  // One of them. Errc::cancelled after stop().
  Task<> round();
  void stop();
  const VerifyProgress& progress() const { return progress_; }

 private:
  enum class Verdict : unsigned char { equal, differs, superseded };
  struct Check;
  // Called on a lane with a row as it was at the place of the check.
  using RowVisit = std::function<void(View, Row&)>;
  // Rulings are facts of the log: what was found once is kept.
  struct Rulings {
    Checkpoint until;
    EventPlaces places;
  };

  Task<> check_until_known(Partition partition);
  Task<Verdict> check(Partition partition);
  Task<> begin(std::shared_ptr<Check> check);
  Task<> find_rulings(std::shared_ptr<Check> check);
  Task<> replay(std::shared_ptr<LogReplay> replay);
  Task<> replay_slice(std::shared_ptr<LogReplay> replay);
  Task<> replay_ruling(std::shared_ptr<LogReplay> replay, LogRecord record);
  Task<ReadBatch> read_log(Partition partition, Offset from, Offset to);
  Task<> scan(std::shared_ptr<Check> check, RowVisit visit);
  Task<bool> scan_page(std::shared_ptr<Check> check, View view, std::shared_ptr<std::optional<Row>> last,
                       RowVisit visit);
  // Reads the suspected rows of both sides and names those that differ.
  Task<> name_rows(std::shared_ptr<Check> check);
  // Errc::conflict: what was compared is not what there is any more.
  Task<> still_stands(std::shared_ptr<Check> check);
  boost::asio::awaitable<void> pace(std::size_t items);
  void tell(Partition partition, const std::vector<Difference>& differences);

  Env& env_;
  Ports ports_;
  VerifyPace pace_;
  Report report_;
  RowRewrite rewrite_;
  VerifyProgress progress_;
  std::map<Partition, Rulings> rulings_;
  std::uint64_t generation_ = 0;
  bool switched_ = false;  // The generation is another one than when the round began.
  MonoTime due_;           // When the next slice may begin.
  bool stopping_ = false;
  Notifier stop_;
};

}  // namespace varve
