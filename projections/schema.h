// The views as data: which columns each has and what identifies an entity. The fold, every store, the digests
// and the queries are written once against this table; migrations/ creates the same columns (a test compares
// them).
//
// Every row is a version: valid from the position of the event that made it to the position of the event that
// closed it. A row belongs to the partition of the stream whose event made it. In `messages` the closing
// means that the message left the context window: the message itself is for ever.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "eventlog/ids.h"

namespace varve {

enum class View : std::uint8_t {
  messages,
  blocks,
  agents,
  agent_activity,
  runs,
  attachments,
  tags,
  shard_owners,
  tools,
  steps,
};
inline constexpr std::size_t kViews = 10;

enum class ColumnType : std::uint8_t { integer, text };

struct Column {
  std::string_view name;
  ColumnType type = ColumnType::text;
  bool nullable = false;
};

struct ViewSchema {
  View view;
  std::string_view name;
  std::size_t key_columns;  // The first ones identify the entity; at most one version of it is open.
  std::span<const Column> columns;
};

const ViewSchema& schema_of(View view);
std::span<const View> all_views();

// Integers hold booleans (0, 1) and times (microseconds) too; opaque JSON is text.
using Value = std::variant<std::monostate, std::int64_t, std::string>;

// Position of a version: of the record, then the event in it (counted over all parts), then the row of the
// event.
struct RowFrom {
  Partition partition;
  Offset offset;
  std::int64_t ordinal = 0;  // event ordinal * kRowsPerEventMax + row of the event
  WallTime at;
  Sequence sequence;  // Of the event in its stream; 0 for claims.

  friend bool operator==(const RowFrom&, const RowFrom&) = default;
};
inline constexpr std::int64_t kRowsPerEventMax = 1'000'000;

struct RowTo {
  Offset offset;
  WallTime at;

  friend bool operator==(const RowTo&, const RowTo&) = default;
};

struct Row {
  std::vector<Value> values;  // One per column of the schema.
  RowFrom from;
  std::optional<RowTo> to;

  bool is_null(std::size_t column) const { return std::holds_alternative<std::monostate>(values[column]); }
  std::int64_t integer(std::size_t column) const { return std::get<std::int64_t>(values[column]); }
  const std::string& text(std::size_t column) const { return std::get<std::string>(values[column]); }

  friend bool operator==(const Row&, const Row&) = default;
};

// Column numbers, in the order of the schema.
namespace messages {
enum : std::size_t {
  id,
  agent_id,
  role,
  content,
  name,
  sender_id,
  group_id,
  otid,
  run_id,
  step_id,
  tool_calls,
  reasoning,
  tool_call_id,
  is_error,
  created_at,
  stdout_lines,
  stderr_lines,
  is_approval_request,
  extra
};
}
namespace blocks {
enum : std::size_t {
  id,
  label,
  value,
  limit,
  description,
  read_only,
  tags,
  metadata,
  extra,
  created_at,
  updated_at
};
}
namespace agents {
enum : std::size_t {
  id,
  name,
  description,
  system,
  agent_type,
  model,
  embedding,
  context_window,
  timezone,
  tools,
  tags,
  metadata,
  extra,
  importing,  // 0: it is whole; kImporting; kGone.
  created_at,
  updated_at
};
inline constexpr std::int64_t kImporting = 1;
// It is here no more: `extra` says where it is, and the other texts are empty. In no list and no count.
inline constexpr std::int64_t kGone = 2;
}  // namespace agents
namespace agent_activity {
enum : std::size_t { agent_id, last_run_id, last_run_completion, last_run_duration_ms, last_stop_reason };
}
namespace runs {
enum : std::size_t {
  id,
  agent_id,
  status,
  stop_reason,
  error_type,
  error_message,
  request,
  prompt_tokens,
  completion_tokens,
  steps,
  created_at,
  completed_at
};
}
namespace attachments {
enum : std::size_t { agent_id, block_id, label };
}
namespace tags {
enum : std::size_t { agent_id, tag };
}
namespace shard_owners {
enum : std::size_t { partition, epoch, claim_id, node, url, claimed_at };
}
namespace tools {
enum : std::size_t {
  id,
  name,
  description,
  source_type,
  source_code,
  json_schema,
  tags,
  return_char_limit,
  extra,
  created_at,
  updated_at
};
}
namespace steps {
enum : std::size_t { id, run_id, agent_id, model, prompt_tokens, completion_tokens, stop_reason, created_at };
}

// What has become of an agent whose row is kGone: "moved:<place>", "erased". Nothing for any other row.
std::optional<std::string> gone_of(const Row& agent);

// The bytes of a row for its digest: everything but its closing.
std::string canonical_bytes(View view, const Row& row);
// The bytes of a closing: the entity and the position at which it closed.
std::string canonical_closing(View view, std::span<const Value> key, Partition partition, const RowTo& to);
// For messages to people: "agents id=agent-.. from 3:17", and "agents id=agent-.." of an entity.
std::string describe(View view, const Row& row);
std::string describe_entity(View view, std::span<const Value> key);

}  // namespace varve
