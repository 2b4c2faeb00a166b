#include "api/opened_reader.h"

#include <array>
#include <memory>
#include <span>

#include "runtime/json.h"

namespace varve {
namespace {

// Each time it runs, `work` may meet streams that it has not met before.
constexpr int kRoundsMax = 16;
// What holds it is looked at closely.
constexpr std::string_view kMark = "varve-sealed:";

struct SealedColumn {
  std::size_t column;
  TextKind kind;
};

constexpr std::array kMessageTexts{
    SealedColumn{messages::content, TextKind::json},
    SealedColumn{messages::name, TextKind::text},
    SealedColumn{messages::reasoning, TextKind::text},
    SealedColumn{messages::stdout_lines, TextKind::json},
    SealedColumn{messages::stderr_lines, TextKind::json},
    SealedColumn{messages::extra, TextKind::json},
};
constexpr std::array kAgentTexts{
    SealedColumn{agents::name, TextKind::text},   SealedColumn{agents::description, TextKind::text},
    SealedColumn{agents::system, TextKind::text}, SealedColumn{agents::metadata, TextKind::json},
    SealedColumn{agents::extra, TextKind::json},
};
constexpr std::array kBlockTexts{
    SealedColumn{blocks::value, TextKind::text},
    SealedColumn{blocks::description, TextKind::text},
    SealedColumn{blocks::metadata, TextKind::json},
    SealedColumn{blocks::extra, TextKind::json},
};
constexpr std::array kRunTexts{
    SealedColumn{runs::error_message, TextKind::text},
    SealedColumn{runs::request, TextKind::json},
};

struct SealedView {
  std::size_t stream = 0;  // The column that names it.
  std::span<const SealedColumn> texts;
};

SealedView sealed_view(View view) {
  switch (view) {
    case View::messages:
      return {messages::agent_id, kMessageTexts};
    case View::agents:
      return {agents::id, kAgentTexts};
    case View::blocks:
      return {blocks::id, kBlockTexts};
    case View::runs:
      return {runs::agent_id, kRunTexts};
    case View::agent_activity:
    case View::attachments:
    case View::tags:
    case View::shard_owners:
    case View::tools:
    case View::steps:
      return {};
  }
  return {};
}

// As personal_texts.h names it.
std::string field_of(View view, std::size_t column) {
  const ViewSchema& schema = schema_of(view);
  return std::string(schema.name) + "." + std::string(schema.columns[column].name);
}

const std::string* text_at(const Row& row, std::size_t column) {
  return std::get_if<std::string>(&row.values[column]);
}

// The arguments of tool calls are sealed inside of their list.
bool holds_sealed_calls(View view, const Row& row) {
  if (view != View::messages) return false;
  const std::string* calls = text_at(row, messages::tool_calls);
  if (calls == nullptr || calls->find(kMark) == std::string::npos) return false;
  const auto listed = Json::parse(*calls);
  if (!listed) return false;
  for (const Json& call : listed->items()) {
    const Json* arguments = call.find("arguments");
    if (arguments == nullptr || !arguments->is_string()) continue;
    if (is_sealed(TextKind::text, arguments->as_string())) return true;
  }
  return false;
}

bool holds_sealed(View view, const SealedView& sealed, const Row& row) {
  for (const SealedColumn& one : sealed.texts) {
    const std::string* text = text_at(row, one.column);
    if (text != nullptr && is_sealed(one.kind, *text)) return true;
  }
  return holds_sealed_calls(view, row);
}

void open_calls(const TextSeal& seal, Row& row) {
  const std::string* calls = text_at(row, messages::tool_calls);
  if (calls == nullptr) return;
  const auto listed = Json::parse(*calls);
  if (!listed) return;
  Json opened = Json::array();
  for (Json call : listed->items()) {
    const Json* arguments = call.find("arguments");
    if (arguments != nullptr && arguments->is_string()) {
      auto text =
          seal.open(TextKind::text, field_of(View::messages, messages::tool_calls), arguments->as_string());
      if (text) call.set("arguments", Json::string(std::move(*text)));
    }
    opened.push_back(std::move(call));
  }
  row.values[messages::tool_calls] = opened.dump();
}

struct Asked {
  StreamSeals seals;
  std::set<StreamId> unknown;
};

}  // namespace

Result<bool> OpenedReader::is_erasable(const StreamId& stream, const std::optional<Cut>& cut) {
  if (const auto known = erasable_.find(stream); known != erasable_.end()) return known->second;
  Query first;
  first.view = stream.value().starts_with("block-") ? View::blocks : View::agents;
  const SealedView sealed = sealed_view(first.view);
  first.where.push_back({static_cast<int>(sealed.stream), Filter::Op::equal, {Value{stream.value()}}});
  first.open_only = false;
  first.order_by = {kFromOffset, kFromOrdinal};
  first.limit = 1;
  first.cut = cut;
  const auto rows = reader_.select(first);
  if (!rows) return rows.error();
  const bool erasable = !rows->empty() && holds_sealed(first.view, sealed, rows->front());
  erasable_.emplace(stream, erasable);
  return erasable;
}

Result<bool> OpenedReader::open(const Query& query, Row& row) {
  const View view = query.view;
  const SealedView sealed = sealed_view(view);
  if (sealed.texts.empty() || !holds_sealed(view, sealed, row)) return true;
  const StreamId stream{row.text(sealed.stream)};
  const auto known = seals_.find(stream);
  if (known == seals_.end()) {
    unknown_.insert(stream);
    return true;
  }
  if (!known->second) {
    const auto erasable = is_erasable(stream, query.cut);
    if (!erasable) return erasable;
    return !*erasable;
  }
  const TextSeal& seal = *known->second;
  for (const SealedColumn& one : sealed.texts) {
    const std::string* text = text_at(row, one.column);
    if (text == nullptr) continue;
    if (auto opened = seal.open(one.kind, field_of(view, one.column), *text))
      row.values[one.column] = std::move(*opened);
  }
  if (view == View::messages) open_calls(seal, row);
  return true;
}

Result<std::vector<Row>> OpenedReader::select(const Query& query) {
  auto rows = reader_.select(query);
  if (!rows) return rows;
  std::vector<Row> shown;
  shown.reserve(rows->size());
  for (Row& row : *rows) {
    const auto opened = open(query, row);
    if (!opened) return opened.error();
    if (*opened) shown.push_back(std::move(row));
  }
  return shown;
}

Task<> read_opened(KeyStore* keys, ReadViews read, ViewWork work) {
  if (keys == nullptr) co_return co_await read(std::move(work));
  const auto asked = std::make_shared<Asked>();
  for (int round = 0; round < kRoundsMax; ++round) {
    ViewWork opened = [asked, work](ViewReader& reader) {
      asked->unknown.clear();
      OpenedReader plain(reader, asked->seals, asked->unknown);
      return work(plain);
    };
    const Status done = co_await read(std::move(opened));
    if (asked->unknown.empty()) co_return done;
    std::vector<StreamId> streams(asked->unknown.begin(), asked->unknown.end());
    auto found = co_await keys->read(streams);
    if (!found)
      co_return Error{Errc::unavailable, "the keys of texts cannot be read: " + found.error().message};
    for (const StreamId& stream : streams) {
      const auto key = found->find(stream);
      auto& seal = asked->seals[stream];
      if (key != found->end()) seal.emplace(stream, key->second);
    }
  }
  co_return Error{Errc::unavailable, "the texts of too many agents are to be opened at once; ask again"};
}

Task<> read_opened(KeyStore* keys, ViewStore& views, ViewWork work) {
  return read_opened(
      keys, [&views](ViewWork read) { return views.read(std::move(read)); }, std::move(work));
}

}  // namespace varve
