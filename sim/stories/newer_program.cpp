#include "sim/stories/newer_program.h"

namespace varve::sim {

using Kind = OwnerLine::Kind;

NewerProgram::NewerProgram(StoryStage& stage, Partition partition)
    : stage_(stage), partition_(partition), env_(stage.world().scheduler(), "newer", partition.value() + 1) {
  tell(line(Kind::reading));
  read_all();
  // What a dead node has on the wire may be a claim that lands before this one: then once more.
  for (int attempt = 0; attempt < 3 && !serves_; ++attempt) claim();
  CHECK(serves_);
}

NewerProgram::~NewerProgram() {
  env_.kill();
}

OwnerLine NewerProgram::line(Kind kind) const {
  OwnerLine line;
  line.kind = kind;
  line.partition = partition_;
  line.epoch = epoch_;
  return line;
}

Offset NewerProgram::land(const Record& record) {
  auto bytes = encode_record(record);
  CHECK(bytes.has_value());
  return stage_.world().log().land(partition_, std::move(*bytes));
}

void NewerProgram::read_all() {
  const auto& records = stage_.world().log().records(partition_);
  while (read_ < records.size()) {
    const LogRecord& next_one = records[read_++];
    const auto record = decode_record(*next_one.bytes);
    CHECK(record.has_value());
    OwnerLine read = line(Kind::read);
    read.offset = next_one.offset;
    read.verdict = admit(admission_, *record);
    const auto* claim = std::get_if<Claim>(&*record);
    read.record = claim != nullptr                          ? OwnerLine::Record::claim
                  : std::holds_alternative<Ruling>(*record) ? OwnerLine::Record::ruling
                                                            : OwnerLine::Record::commit;
    tell(read);
    if (claim == nullptr || read.verdict != Verdict::admitted || claim->id != claim_) continue;
    OwnerLine serve = line(Kind::serve);
    serve.id = claim->id;
    tell(serve);
    serves_ = true;
  }
}

void NewerProgram::claim() {
  epoch_ = next(admission_.epoch);
  claim_ = command_id_from_text("claim of a newer program " + std::to_string(epoch_.value()));
  OwnerLine sent = line(Kind::claim_sent);
  sent.id = claim_;
  tell(sent);
  Claim claim;
  claim.epoch = epoch_;
  claim.id = claim_;
  claim.cluster = admission_.cluster;
  claim.node = "newer";
  claim.url = "http://newer";
  claim.partitions = stage_.world().options().partitions;
  claim.at = env_.wall_now();
  land(claim);
  read_all();
}

Offset NewerProgram::commit(const std::string& stream, StoredEvent event) {
  const auto& steps = stage_.log().steps_of(StreamId{stream});
  CHECK(!steps.empty());
  n_ = next(n_);
  Commit commit;
  commit.epoch = epoch_;
  commit.n = n_;
  commit.node = "newer";
  commit.at = env_.wall_now();
  const std::string name = std::to_string(epoch_.value()) + " " + std::to_string(n_.value());
  commit.command = {command_id_from_text("commit of a newer program " + name), CommandHash{1}, true};
  const Sequence first{steps.back().first.value() + steps.back().events};
  commit.parts.push_back({StreamId{stream}, first, {std::move(event)}});

  OwnerLine about = line(Kind::commit_sent);
  about.n = n_;
  about.id = commit.command.id;
  about.stream = StreamId{stream};
  about.first = first;
  about.next = next(stage_.world().log().records(partition_).back().offset);
  tell(about);
  const Offset offset = land(commit);
  read_all();
  OwnerLine done = line(Kind::done);
  done.n = n_;
  done.id = commit.command.id;
  done.offset = offset;
  tell(done);
  return offset;
}

}  // namespace varve::sim
