// The column tables of the views, in the order of the enums of schema.h, and the bytes that digests hash.
//
// canonical_bytes and canonical_closing are frozen by a golden test: digests are stored, so other bytes for
// the same row would make every stored view look wrong. They are unambiguous: every part has a fixed size or
// is preceded by its length, and every value by a tag of its type.
#include "projections/schema.h"

#include <array>

#include "runtime/check.h"
#include "runtime/json.h"

namespace varve {

namespace {

constexpr ColumnType kInteger = ColumnType::integer;
constexpr ColumnType kText = ColumnType::text;

constexpr std::array kMessages{
    Column{"id"},
    Column{"agent_id"},
    Column{"role"},
    Column{"content"},
    Column{"name", kText, true},
    Column{"sender_id", kText, true},
    Column{"group_id", kText, true},
    Column{"otid", kText, true},
    Column{"run_id", kText, true},
    Column{"step_id", kText, true},
    Column{"tool_calls", kText, true},
    Column{"reasoning", kText, true},
    Column{"tool_call_id", kText, true},
    Column{"is_error", kInteger},
    Column{"created_at", kInteger},
    Column{"stdout_lines", kText, true},
    Column{"stderr_lines", kText, true},
    Column{"is_approval_request", kInteger},
    Column{"extra", kText, true},
};

constexpr std::array kBlocks{
    Column{"id"},
    Column{"label"},
    Column{"value"},
    Column{"limit", kInteger},
    Column{"description", kText, true},
    Column{"read_only", kInteger},
    Column{"tags"},
    Column{"metadata"},
    Column{"extra"},
    Column{"created_at", kInteger},
    Column{"updated_at", kInteger},
};

constexpr std::array kAgents{
    Column{"id"},
    Column{"name"},
    Column{"description", kText, true},
    Column{"system"},
    Column{"agent_type"},
    Column{"model"},
    Column{"embedding", kText, true},
    Column{"context_window", kInteger},
    Column{"timezone"},
    Column{"tools"},
    Column{"tags"},
    Column{"metadata"},
    Column{"extra"},
    Column{"importing", kInteger},
    Column{"created_at", kInteger},
    Column{"updated_at", kInteger},
};

constexpr std::array kAgentActivity{
    Column{"agent_id"},
    Column{"last_run_id", kText, true},
    Column{"last_run_completion", kInteger, true},
    Column{"last_run_duration_ms", kInteger, true},
    Column{"last_stop_reason", kText, true},
};

constexpr std::array kRuns{
    Column{"id"},
    Column{"agent_id"},
    Column{"status"},
    Column{"stop_reason", kText, true},
    Column{"error_type", kText, true},
    Column{"error_message", kText, true},
    Column{"request"},
    Column{"prompt_tokens", kInteger},
    Column{"completion_tokens", kInteger},
    Column{"steps", kInteger},
    Column{"created_at", kInteger},
    Column{"completed_at", kInteger, true},
};

constexpr std::array kAttachments{
    Column{"agent_id"},
    Column{"block_id"},
    Column{"label"},
};

constexpr std::array kTags{
    Column{"agent_id"},
    Column{"tag"},
};

constexpr std::array kShardOwners{
    Column{"partition", kInteger},
    Column{"epoch", kInteger},
    Column{"claim_id"},
    Column{"node"},
    Column{"url"},
    Column{"claimed_at", kInteger},
};

constexpr std::array kTools{
    Column{"id"},
    Column{"name"},
    Column{"description", kText, true},
    Column{"source_type"},
    Column{"source_code"},
    Column{"json_schema"},
    Column{"tags"},
    Column{"return_char_limit", kInteger},
    Column{"extra"},
    Column{"created_at", kInteger},
    Column{"updated_at", kInteger},
};

constexpr std::array kSteps{
    Column{"id"},
    Column{"run_id"},
    Column{"agent_id"},
    Column{"model"},
    Column{"prompt_tokens", kInteger},
    Column{"completion_tokens", kInteger},
    Column{"stop_reason", kText, true},
    Column{"created_at", kInteger},
};

// The enums of schema.h number exactly these columns.
static_assert(kTools.size() == tools::updated_at + 1 && kTools[tools::extra].name == "extra");
static_assert(kSteps.size() == steps::created_at + 1 && kSteps[steps::model].name == "model");
static_assert(kMessages.size() == messages::extra + 1 && kMessages[messages::is_error].name == "is_error");
static_assert(kBlocks.size() == blocks::updated_at + 1 && kBlocks[blocks::extra].name == "extra");
static_assert(kAgents.size() == agents::updated_at + 1 && kAgents[agents::importing].name == "importing");
static_assert(kAgentActivity.size() == agent_activity::last_stop_reason + 1);
static_assert(kRuns.size() == runs::completed_at + 1 && kRuns[runs::request].name == "request");
static_assert(kAttachments.size() == attachments::label + 1);
static_assert(kTags.size() == tags::tag + 1);
static_assert(kShardOwners.size() == shard_owners::claimed_at + 1);

constexpr std::array<ViewSchema, kViews> kSchemas{{
    {View::messages, "messages", 1, kMessages},
    {View::blocks, "blocks", 1, kBlocks},
    {View::agents, "agents", 1, kAgents},
    {View::agent_activity, "agent_activity", 1, kAgentActivity},
    {View::runs, "runs", 1, kRuns},
    {View::attachments, "attachments", 2, kAttachments},
    {View::tags, "tags", 2, kTags},
    {View::shard_owners, "shard_owners", 1, kShardOwners},
    {View::tools, "tools", 1, kTools},
    {View::steps, "steps", 1, kSteps},
}};

constexpr std::array<View, kViews> kAllViews{
    View::messages,    View::blocks, View::agents,       View::agent_activity, View::runs,
    View::attachments, View::tags,   View::shard_owners, View::tools,          View::steps};

// Eight bytes, lowest first, whatever the machine.
void put_u64(std::string& out, std::uint64_t number) {
  std::array<char, sizeof(number)> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>((number >> (8 * i)) & 0xffU);
  out.append(bytes.data(), bytes.size());
}

void put_i64(std::string& out, std::int64_t number) {
  put_u64(out, static_cast<std::uint64_t>(number));
}

void put_text(std::string& out, std::string_view text) {
  put_u64(out, text.size());
  out.append(text);
}

void put_value(std::string& out, const Value& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) {
    out.push_back('i');
    put_i64(out, *number);
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    out.push_back('t');
    put_text(out, *text);
  } else {
    out.push_back('n');
  }
}

void put_values(std::string& out, std::span<const Value> values) {
  put_u64(out, values.size());
  for (const Value& value : values) put_value(out, value);
}

// More than the bytes of values, but not much.
std::size_t room_of(std::span<const Value> values) {
  constexpr std::size_t kBesides = 128;
  constexpr std::size_t kEach = 1 + sizeof(std::uint64_t);
  std::size_t bytes = kBesides;
  for (const Value& value : values) {
    const auto* text = std::get_if<std::string>(&value);
    bytes += kEach + (text != nullptr ? text->size() : 0);
  }
  return bytes;
}

std::string printed(const Value& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) return std::to_string(*number);
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  return "null";
}

}  // namespace

const ViewSchema& schema_of(View view) {
  const auto number = static_cast<std::size_t>(view);
  CHECK(number < kViews);
  return kSchemas[number];
}

std::span<const View> all_views() {
  return kAllViews;
}

std::string canonical_bytes(View view, const Row& row) {
  std::string out;
  out.reserve(room_of(row.values));
  out.push_back('R');
  put_text(out, schema_of(view).name);
  put_u64(out, row.from.partition.value());
  put_u64(out, row.from.offset.value());
  put_i64(out, row.from.ordinal);
  put_i64(out, row.from.at.value());
  put_u64(out, row.from.sequence.value());
  put_values(out, row.values);
  return out;
}

std::string canonical_closing(View view, std::span<const Value> key, Partition partition, const RowTo& to) {
  std::string out;
  out.reserve(room_of(key));
  out.push_back('C');
  put_text(out, schema_of(view).name);
  put_values(out, key);
  put_u64(out, partition.value());
  put_u64(out, to.offset.value());
  put_i64(out, to.at.value());
  return out;
}

std::optional<std::string> gone_of(const Row& agent) {
  if (agent.integer(agents::importing) != agents::kGone) return std::nullopt;
  const auto extra = Json::parse(agent.text(agents::extra));
  const Json* gone = extra ? extra->find("gone") : nullptr;
  return gone != nullptr && gone->is_string() ? gone->as_string() : std::string{};
}

std::string describe_entity(View view, std::span<const Value> key) {
  const ViewSchema& schema = schema_of(view);
  CHECK(key.size() >= schema.key_columns);
  std::string out{schema.name};
  for (std::size_t i = 0; i < schema.key_columns; ++i) {
    out.append(" ").append(schema.columns[i].name).append("=").append(printed(key[i]));
  }
  return out;
}

std::string describe(View view, const Row& row) {
  return describe_entity(view, row.values) + " from " +
         to_string(LogPosition{row.from.partition, row.from.offset});
}

}  // namespace varve
