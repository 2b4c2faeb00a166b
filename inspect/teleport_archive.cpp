#include "inspect/teleport_archive.h"

#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <array>
#include <utility>

#include "runtime/check.h"
#include "runtime/json_fields.h"
#include "runtime/stored_json.h"

namespace varve {
namespace {

constexpr int kLevel = 6;
constexpr std::size_t kHashDigits = 64;
constexpr std::size_t kPieceBytes = std::size_t{128} << 10U;

std::string frame_hash(const std::string& before, std::string_view json) {
  const auto bytes = sha256(before + " " + std::string(json));
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (const std::uint8_t byte : bytes) {
    hex += kDigits[byte >> 4U];
    hex += kDigits[byte & 15U];
  }
  return hex;
}

// ---- frames to JSON ----

struct FrameWriter {
  JsonWriter& out;

  void operator()(const ArchiveHeader& header) const {
    out.field("kind", "header").field("format", kArchiveFormat).field_integer("v", kArchiveVersion);
    out.field("source", header.source).field("cut", header.cut);
    out.field_integer("tools", header.tools).field_integer("agents", header.agents);
    out.field_integer("blocks", header.blocks).field_integer("records", header.records);
    out.field_integer("events", header.events).key("left_out").begin_array();
    for (const std::string& sentence : header.left_out) out.string(sentence);
    out.end_array();
  }
  void operator()(const ArchiveTool& tool) const {
    out.field("kind", "tool").key("tool");
    write_tool(out, tool.tool);
  }
  void operator()(const ArchiveRecord& record) const {
    out.field("kind", "record").field("stream", record.stream.value());
    out.field_integer("seq", static_cast<std::int64_t>(record.first.value()));
    out.field_integer("at", record.at.value()).key("cmd").begin_object();
    out.field("id", to_hex(record.command.id)).field("hash", to_hex(record.command.hash));
    if (record.command.client) out.field_boolean("client", true);
    if (!record.command.request_id.empty()) out.field("request", record.command.request_id);
    out.end_object().key("events").begin_array();
    for (const ArchiveEvent& event : record.events) {
      out.begin_object();
      if (event.type.empty()) {
        out.field_boolean("absent", true);
      } else {
        out.field("type", event.type).field_integer("v", event.version).field_raw("data", event.data);
      }
      out.end_object();
    }
    out.end_array();
  }
  void operator()(const ArchiveSeal& seal) const {
    out.field("kind", "seal").field_integer("frames", seal.frames);
    out.field_integer("records", seal.records).field_integer("events", seal.events);
  }
  void operator()(const ArchiveFailure& failure) const {
    out.field("kind", "failed").field("why", failure.why);
  }
};

std::string json_of(const ArchiveFrame& frame) {
  JsonWriter out;
  out.begin_object();
  std::visit(FrameWriter{out}, frame);
  out.end_object();
  return out.take();
}

// ---- and back ----

ArchiveHeader read_header(JsonFields& fields) {
  ArchiveHeader header;
  const std::string format = fields.text("format");
  if (format != kArchiveFormat) fields.set_fault("it is no archive of this format");
  const std::int64_t version = fields.integer("v");
  if (version != kArchiveVersion) {
    fields.set_fault("the archive is of version " + std::to_string(version) + ", this program knows " +
                     std::to_string(kArchiveVersion) + ": upgrade first");
  }
  header.source = fields.text("source");
  header.cut = fields.text("cut");
  header.tools = fields.integer("tools");
  header.agents = fields.integer("agents");
  header.blocks = fields.integer("blocks");
  header.records = fields.integer("records");
  header.events = fields.integer("events");
  header.left_out = fields.texts("left_out");
  return header;
}

ArchiveTool read_tool_frame(JsonFields& fields) {
  auto tool = read_tool(fields.object("tool"));
  if (tool) return {std::move(*tool)};
  fields.set_fault(tool.error().message);
  return {};
}

ArchiveRecord read_record(JsonFields& fields) {
  ArchiveRecord record;
  record.stream = StreamId{fields.text("stream")};
  record.first = Sequence{fields.unsigned_integer("seq")};
  record.at = WallTime{fields.integer("at")};
  JsonFields command(fields.object("cmd"), "cmd");
  const auto id = parse_command_id(command.text("id"));
  const auto hash = parse_command_hash(command.text("hash"));
  if (command.fault()) fields.set_fault(command.fault()->message);
  if (!id || !hash) {
    fields.set_fault("\"cmd\" does not fit");
    return record;
  }
  record.command = {*id, *hash, command.boolean_or("client", false),
                    command.optional_text("request").value_or("")};
  for (const Json& item : fields.list("events")) {
    JsonFields event(item, "event");
    ArchiveEvent read;
    if (!event.boolean_or("absent", false)) {
      read.type = event.text("type");
      read.version = event.integer("v");
      read.data = event.object("data").dump();
      if (read.type.empty()) event.set_fault("\"type\" is empty");
    }
    if (event.fault()) fields.set_fault(event.fault()->message);
    record.events.push_back(std::move(read));
  }
  if (record.events.empty()) fields.set_fault("a record has no events");
  return record;
}

Result<ArchiveFrame> frame_of(std::string_view json) {
  const auto parsed = parse_stored_json(json);
  if (!parsed) return Error{Errc::corrupt, parsed.error().message};
  JsonFields fields(*parsed, "frame");
  const std::string kind = fields.text("kind");
  ArchiveFrame frame;
  if (kind == "header") {
    frame = read_header(fields);
  } else if (kind == "tool") {
    frame = read_tool_frame(fields);
  } else if (kind == "record") {
    frame = read_record(fields);
  } else if (kind == "seal") {
    frame = ArchiveSeal{fields.integer("frames"), fields.integer("records"), fields.integer("events")};
  } else if (kind == "failed") {
    frame = ArchiveFailure{fields.text("why")};
  } else {
    fields.set_fault("a frame of the kind '" + kind + "' is not known");
  }
  if (fields.fault()) return *fields.fault();
  return frame;
}

struct FreeCompressor {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};
struct FreeDecompressor {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

}  // namespace

std::string describe(const ArchiveFrame& frame) {
  if (std::holds_alternative<ArchiveHeader>(frame)) return "the header";
  if (const auto* tool = std::get_if<ArchiveTool>(&frame)) return "the tool " + tool->tool.name;
  if (const auto* record = std::get_if<ArchiveRecord>(&frame)) {
    const std::uint64_t first = record->first.value();
    const std::uint64_t last = first + record->events.size() - 1;
    const std::string events = first == last
                                   ? "event " + std::to_string(first)
                                   : "events " + std::to_string(first) + " to " + std::to_string(last);
    return "a record of " + record->stream.value() + ", " + events;
  }
  return std::holds_alternative<ArchiveSeal>(frame) ? "the seal" : "a failure";
}

// ---- writing ----

struct ArchiveWriter::Impl {
  std::unique_ptr<ZSTD_CCtx, FreeCompressor> context{ZSTD_createCCtx()};
  std::string hash;
  std::string out;
  ArchiveSeal counted;
  bool over = false;

  void compress(std::string_view bytes, ZSTD_EndDirective directive) {
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    std::array<char, kPieceBytes> piece;
    for (;;) {
      ZSTD_outBuffer room{piece.data(), piece.size(), 0};
      const std::size_t left = ZSTD_compressStream2(context.get(), &room, &in, directive);
      CHECK(ZSTD_isError(left) == 0);  // Of memory that is not there; nothing else can go wrong.
      out.append(piece.data(), room.pos);
      if (directive == ZSTD_e_continue ? in.pos == in.size : left == 0) return;
    }
  }
  void write(const ArchiveFrame& frame) {
    const std::string json = json_of(frame);
    hash = frame_hash(hash, json);
    compress(hash + " " + json + "\n", ZSTD_e_continue);
    ++counted.frames;
  }
  void end() {
    compress({}, ZSTD_e_end);
    over = true;
  }
};

ArchiveWriter::ArchiveWriter() : impl_(std::make_unique<Impl>()) {
  CHECK(impl_->context != nullptr);
  ZSTD_CCtx_setParameter(impl_->context.get(), ZSTD_c_compressionLevel, kLevel);
  ZSTD_CCtx_setParameter(impl_->context.get(), ZSTD_c_checksumFlag, 1);
}
ArchiveWriter::~ArchiveWriter() = default;

void ArchiveWriter::write(const ArchiveFrame& frame) {
  CHECK(!impl_->over);
  impl_->write(frame);
  if (const auto* record = std::get_if<ArchiveRecord>(&frame)) {
    ++impl_->counted.records;
    impl_->counted.events += static_cast<std::int64_t>(record->events.size());
  }
}

void ArchiveWriter::seal() {
  CHECK(!impl_->over);
  impl_->write(ArchiveFrame{impl_->counted});
  impl_->end();
}

void ArchiveWriter::fail(const std::string& why) {
  if (impl_->over) return;
  impl_->write(ArchiveFrame{ArchiveFailure{why}});
  impl_->end();
}

std::string ArchiveWriter::take() {
  return std::exchange(impl_->out, {});
}

// ---- reading ----

struct ArchiveReader::Impl {
  std::unique_ptr<ZSTD_DCtx, FreeDecompressor> context{ZSTD_createDCtx()};
  std::string fed;  // Compressed, from taken on.
  std::size_t taken = 0;
  std::string text;      // Decompressed: the beginning of the next frame.
  std::size_t seen = 0;  // Of it, without a line's end.
  std::string hash;
  ArchiveSeal counted;
  bool sealed = false;
  bool complete = false;  // The compressed bytes are.
  bool begun = false;     // Something could be decompressed.
  std::optional<Error> damage;

  Error damaged(const std::string& what) {
    damage = Error{Errc::corrupt,
                   "the archive is damaged at its frame " + std::to_string(counted.frames + 1) + ": " + what};
    return *damage;
  }

  // False: it needs more bytes.
  Result<bool> decompress() {
    if (complete && taken == fed.size()) return false;
    std::array<char, kPieceBytes> piece;
    ZSTD_inBuffer in{fed.data(), fed.size(), taken};
    ZSTD_outBuffer room{piece.data(), piece.size(), 0};
    const std::size_t left = ZSTD_decompressStream(context.get(), &room, &in);
    taken = in.pos;
    complete = left == 0;
    if (taken == fed.size()) {
      fed.clear();
      taken = 0;
    }
    text.append(piece.data(), room.pos);
    begun = begun || room.pos > 0;
    // One that was damaged begins as they do.
    const bool foreign = ZSTD_getErrorCode(left) == ZSTD_error_prefix_unknown && !begun;
    if (foreign) {
      damage = Error{Errc::corrupt,
                     "this is no archive of agents: it does not begin as zstd's files do, and so as those of "
                     "varve teleport export do"};
      return *damage;
    }
    if (ZSTD_isError(left) != 0) {
      return damaged(std::string("its compressed bytes cannot be read (") + ZSTD_getErrorName(left) + ")");
    }
    return room.pos > 0 || taken < fed.size();
  }

  Result<ArchiveFrame> read_line(std::string_view line) {
    if (sealed) return damaged("the archive goes on behind its seal");
    if (line.size() < kHashDigits + 2 || line[kHashDigits] != ' ') {
      return damaged("expected a hash of " + std::to_string(kHashDigits) + " digits and a JSON object");
    }
    const std::string_view json = line.substr(kHashDigits + 1);
    std::string expected = frame_hash(hash, json);
    auto frame = frame_of(json);
    if (line.substr(0, kHashDigits) != expected) {
      const std::string what = frame ? describe(*frame) : std::string("what is there");
      return damaged("its hash is " + std::string(line.substr(0, 12)) + ".., expected " +
                     expected.substr(0, 12) + ".. for " + what +
                     " behind the frame before it: it was changed, or frames are missing or out of order");
    }
    if (!frame) return damaged(frame.error().message);
    if (const auto* failure = std::get_if<ArchiveFailure>(&*frame)) {
      damage = Error{Errc::unavailable, "the source could not finish the archive: " + failure->why};
      return *damage;
    }
    const bool is_header = std::holds_alternative<ArchiveHeader>(*frame);
    if (is_header != (counted.frames == 0)) {
      return damaged(is_header ? "there is a second header" : "expected the header");
    }
    hash = std::move(expected);
    return std::move(*frame);
  }

  Status count(const ArchiveFrame& frame) {
    if (const auto* seal = std::get_if<ArchiveSeal>(&frame)) {
      if (*seal != counted) {
        return damaged("the seal counts " + std::to_string(seal->frames) + " frames, " +
                       std::to_string(seal->records) + " records and " + std::to_string(seal->events) +
                       " events; there are " + std::to_string(counted.frames) + ", " +
                       std::to_string(counted.records) + " and " + std::to_string(counted.events));
      }
      sealed = true;
    } else if (const auto* record = std::get_if<ArchiveRecord>(&frame)) {
      ++counted.records;
      counted.events += static_cast<std::int64_t>(record->events.size());
    }
    ++counted.frames;
    return ok();
  }
};

ArchiveReader::ArchiveReader() : impl_(std::make_unique<Impl>()) {
  CHECK(impl_->context != nullptr);
}
ArchiveReader::~ArchiveReader() = default;

void ArchiveReader::feed(std::string_view bytes) {
  impl_->fed.append(bytes);
}

Result<std::optional<ArchiveFrame>> ArchiveReader::next() {
  if (impl_->damage) return *impl_->damage;
  for (;;) {
    const std::size_t end = impl_->text.find('\n', impl_->seen);
    if (end != std::string::npos) {
      auto frame = impl_->read_line(std::string_view(impl_->text).substr(0, end));
      if (!frame) return frame.error();
      if (Status counted = impl_->count(*frame); !counted) return counted.error();
      impl_->text.erase(0, end + 1);
      impl_->seen = 0;
      return std::optional<ArchiveFrame>{std::move(*frame)};
    }
    impl_->seen = impl_->text.size();
    if (impl_->seen > kFrameBytesMax) {
      return impl_->damaged("it has more than " + std::to_string(kFrameBytesMax) + " bytes");
    }
    const auto more = impl_->decompress();
    if (!more) return more.error();
    if (!*more) return std::optional<ArchiveFrame>{};
  }
}

Status ArchiveReader::end() const {
  if (impl_->damage) return *impl_->damage;
  if (!impl_->begun) return Error{Errc::corrupt, "the archive has no frame: it is empty, or was cut off"};
  if (!impl_->sealed) {
    return Error{Errc::corrupt, "the archive ends behind its frame " + std::to_string(impl_->counted.frames) +
                                    ", without its seal: it was cut off"};
  }
  if (impl_->complete && impl_->text.empty()) return ok();
  return Error{Errc::corrupt, impl_->text.empty() ? "the archive was cut off, or goes on, behind its seal"
                                                  : "the archive goes on behind its seal"};
}

std::int64_t ArchiveReader::frames() const {
  return impl_->counted.frames;
}
const std::string& ArchiveReader::hash() const {
  return impl_->hash;
}

}  // namespace varve
