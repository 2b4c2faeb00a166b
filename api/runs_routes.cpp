// Routes of runs and steps, and what else concerns a turn: cancelling it, following it, its agent's context.
#include <algorithm>

#include "actors/decide.h"
#include "api/api.h"
#include "api/body_reader.h"
#include "api/http_status.h"
#include "api/more_queries.h"
#include "api/turn_events.h"

namespace varve {
namespace {

// How long a stream waits for the views to show the end of a turn that has just ended.
constexpr std::chrono::milliseconds kLookAgain{20};

std::string run_not_found(const std::string& id) {
  return "Run not found with id='" + id + "'";
}

using Text = std::optional<std::string>;

// A list with one object a row.
Result<Text> list_of(const Result<std::vector<Row>>& rows, std::string (*render)(const Row&)) {
  if (!rows) return rows.error();
  JsonWriter out;
  out.begin_array();
  for (const Row& row : *rows) out.raw(render(row));
  out.end_array();
  return Text{out.take()};
}

Result<std::optional<Row>> run_row(ViewReader& reader, const std::string& id) {
  auto run = find_run(reader, id);
  if (!run) return run.error();
  if (!*run) return std::optional<Row>{};
  return std::optional<Row>{std::move((*run)->run)};
}

// What `render` makes of the run; nothing if there is no such run.
std::function<Result<Text>(ViewReader&)> of_run(std::string id,
                                                std::function<Result<Text>(ViewReader&, Row)> render) {
  return [id = std::move(id), render = std::move(render)](ViewReader& reader) -> Result<Text> {
    auto row = run_row(reader, id);
    if (!row) return row.error();
    if (!*row) return Text{};
    return render(reader, std::move(**row));
  };
}

}  // namespace

Api::Answer Api::list_runs(Call call) {
  const auto page = parse_page(call.target, 100, true);
  if (!page.value) co_return refusal(page.error);
  RunFilter filter;
  filter.reversed_cursors = query_value(call.target, "order").has_value();
  filter.agent_ids = query_values(call.target, "agent_ids");
  if (const auto agent = query_value(call.target, "agent_id")) filter.agent_ids.push_back(*agent);
  filter.statuses = query_values(call.target, "statuses");
  filter.stop_reason = query_value(call.target, "stop_reason");
  filter.active = query_value(call.target, "active").value_or("false") == "true";
  if (const auto background = query_value(call.target, "background")) {
    if (*background != "true" && *background != "false") {
      co_return unprocessable("query.background: expected true or false, got '" + *background + "'");
    }
    filter.background = *background == "true";
  }
  const auto conversation = query_value(call.target, "conversation_id");
  const bool elsewhere = conversation && !conversation->empty() && *conversation != "default";
  Render render = [page = *page.value, filter, elsewhere](ViewReader& reader) -> Result<Text> {
    if (elsewhere) return Text{"[]"};
    return list_of(varve::list_runs(reader, page, filter), render_run);
  };
  co_return co_await answer_read(std::move(call), std::move(render), "");
}

Api::Answer Api::get_run(Call call) {
  const std::string id = call.ids[0];
  Render render =
      of_run(id, [](ViewReader&, const Row& run) -> Result<Text> { return Text{render_run(run)}; });
  co_return co_await answer_read(std::move(call), std::move(render), run_not_found(id));
}

// Always oldest first, the user's messages too; cursors are messages of the run.
Api::Answer Api::list_run_messages(Call call) {
  const auto page = parse_page(call.target, 100, false);
  if (!page.value) co_return refusal(page.error);
  const std::string id = call.ids[0];
  Render render = of_run(id, [id, page = *page.value](ViewReader& reader, const Row&) -> Result<Text> {
    auto rows = messages_of_run(reader, id);
    if (!rows) return rows.error();
    if (page.descending) std::reverse(rows->begin(), rows->end());
    const auto place = [&rows](const std::optional<std::string>& cursor) {
      return std::find_if(rows->begin(), rows->end(),
                          [&cursor](const Row& row) { return cursor && row.text(messages::id) == *cursor; });
    };
    if (const auto after = place(page.after); after != rows->end())
      rows->erase(rows->begin(), std::next(after));
    if (const auto before = place(page.before); before != rows->end()) rows->erase(before, rows->end());
    if (page.limit > 0 && rows->size() > static_cast<std::size_t>(page.limit)) {
      rows->resize(static_cast<std::size_t>(page.limit));
    }
    JsonWriter out;
    out.begin_array();
    for (const Row& row : *rows) render_message(out, view_of(row), std::nullopt);
    out.end_array();
    return Text{out.take()};
  });
  co_return co_await answer_read(std::move(call), std::move(render), run_not_found(id));
}

Api::Answer Api::list_run_steps(Call call) {
  const auto page = parse_page(call.target, 100, true);
  if (!page.value) co_return refusal(page.error);
  const std::string id = call.ids[0];
  Render render = of_run(id, [id, page = *page.value](ViewReader& reader, const Row&) -> Result<Text> {
    return list_of(varve::list_steps(reader, page, std::nullopt, id), render_step);
  });
  co_return co_await answer_read(std::move(call), std::move(render), run_not_found(id));
}

Api::Answer Api::get_run_usage(Call call) {
  const std::string id = call.ids[0];
  Render render = of_run(id, [](ViewReader&, const Row& run) -> Result<Text> {
    const std::int64_t prompt = run.integer(runs::prompt_tokens);
    const std::int64_t completion = run.integer(runs::completion_tokens);
    JsonWriter out;
    out.begin_object().field_integer("completion_tokens", completion).field_integer("prompt_tokens", prompt);
    out.field_integer("total_tokens", prompt + completion).field_null("prompt_tokens_details");
    out.field_null("completion_tokens_details").end_object();
    return Text{out.take()};
  });
  co_return co_await answer_read(std::move(call), std::move(render), run_not_found(id));
}

// Attaches to a run from a sequence number on: to the turn while it is open, else to what the views keep.
Api::Answer Api::stream_run(Call call) {
  StreamOptions options;
  if (!call.request.body.empty()) {
    auto body = parse_object(call.request);
    if (!body.value) co_return refusal(body.error);
    BodyReader reader(*body.value, "body");
    options.starting_after = reader.integer("starting_after").value_or(0);
    options.pings = reader.boolean("include_pings").value_or(true);
    options.tokens = true;
    if (options.starting_after < 0) reader.fail({422, "body.starting_after: must not be negative"});
    if (reader.error()) co_return refusal(*reader.error());
  }
  options.tokens = true;
  const std::string id = call.ids[0];
  const MonoTime until = std::min(call.deadline, env_.now() + options_.view_wait);
  for (;;) {
    auto agent = std::make_shared<std::string>();
    std::function<Status(ViewReader&)> find = [id, agent](ViewReader& reader) -> Status {
      auto row = run_row(reader, id);
      if (!row) return row.error();
      if (*row) *agent = (*row)->text(runs::agent_id);
      return ok();
    };
    if (Status read = co_await ports_.views.read(std::move(find)); !read)
      co_return error_response(read.error(), false);
    if (agent->empty()) co_return detail_response(404, run_not_found(id));
    auto ended = co_await ended_turn(id);
    if (!ended) co_return error_response(ended.error(), false);
    if (*ended) co_return stream_response(ended_turn_events(env_, std::move(**ended), options));
    options.settle = settling(StreamId{*agent}, false);
    CommandEnvelope envelope{{}, StreamId{*agent}, FollowTurn{id}};
    CallLimits limits{call.deadline, CallLimits::Turn::opened};
    auto answer = co_await ports_.sender.send(std::move(envelope), limits);
    if (answer && answer->channel) co_return stream_response(turn_events(env_, answer->channel, options));
    if (!answer && answer.error().code != Errc::not_found) co_return error_response(answer.error(), false);
    // It has ended just now: the views will show it.
    if (env_.now() >= until) break;
    co_await sleep_for(env_, kLookAgain);
  }
  co_return error_response({Errc::unavailable, "the run has ended, its views are not ready yet"}, false);
}

// POST messages/async: the run that was opened, as it is at its beginning.
Api::Answer Api::opened_run(Call call, CommandAnswer answer) {
  const std::string id = "run-" + derived_uuid(call.command.id, "run", 0);
  Render render = of_run(id, [](ViewReader&, Row run) -> Result<Text> {
    run.values[runs::status] = std::string("created");
    run.values[runs::stop_reason] = Value{};
    run.values[runs::completed_at] = Value{};
    return Text{render_run(run)};
  });
  co_return co_await answer_write(std::move(call), std::move(answer), std::move(render), OwnRows::are_some);
}

// {run_ids?}: {"run-..":"cancelled"|"failed"}; 409 if nothing is open.
Api::Answer Api::cancel_messages(Call call) {
  CancelTurn command;
  if (!call.request.body.empty()) {
    auto body = parse_object(call.request);
    if (!body.value) co_return refusal(body.error);
    BodyReader reader(*body.value, "body");
    command.run_ids = reader.texts("run_ids").value_or(std::vector<std::string>{});
    if (reader.error()) co_return refusal(*reader.error());
  }
  const std::vector<std::string> asked = command.run_ids;
  auto answer = co_await send(call, StreamId{call.ids[0]}, std::move(command));
  const bool nothing_open = !answer && answer.error().code == Errc::conflict && !asked.empty();
  if (!answer && !nothing_open) co_return error_response(answer.error(), call.keyless);
  std::string cancelled;
  if (answer && answer->commit) {
    for (const StoredEvent& stored : answer->commit->parts.front().events) {
      const auto* event = std::get_if<Event>(&stored);
      const auto* end = event != nullptr ? std::get_if<TurnCancelled>(event) : nullptr;
      if (end != nullptr) cancelled = end->run_id;
    }
  }
  JsonWriter out;
  out.begin_object();
  if (!cancelled.empty()) out.field(cancelled, "cancelled");
  for (const std::string& run : asked) {
    if (run != cancelled) out.field(run, "failed");
  }
  out.end_object();
  Response response = json_response(out.take());
  if (answer) {
    Headers headers = co_await settle(*answer, call);
    response.headers.merge(headers);
  }
  co_return response;
}

Api::Answer Api::list_steps(Call call) {
  const auto page = parse_page(call.target, 50, true);
  if (!page.value) co_return refusal(page.error);
  const auto agent = query_value(call.target, "agent_id");
  const auto run = query_value(call.target, "run_id");
  Render render = [page = *page.value, agent, run](ViewReader& reader) -> Result<Text> {
    return list_of(varve::list_steps(reader, page, agent, run), render_step);
  };
  co_return co_await answer_read(std::move(call), std::move(render), "");
}

Api::Answer Api::get_step(Call call) {
  const std::string id = call.ids[0];
  Render render = [id](ViewReader& reader) -> Result<Text> {
    auto row = find_step(reader, id);
    if (!row) return row.error();
    if (!*row) return Text{};
    return Text{render_step(**row)};
  };
  co_return co_await answer_read(std::move(call), std::move(render), "Step not found with id='" + id + "'");
}

// The agent after a change, for clients of old; null for those that do not look.
Api::Answer Api::agent_after(Call call, CommandAnswer answer, bool whole) {
  const std::string id = call.ids[0];
  Render render = [id, whole](ViewReader& reader) -> Result<Text> {
    if (!whole) return Text{"null"};
    auto agent = find_agent(reader, id, {});
    if (!agent) return agent.error();
    if (!*agent) return Text{};
    JsonWriter out;
    render_agent(out, **agent, {});
    return Text{out.take()};
  };
  co_return co_await answer_write(std::move(call), std::move(answer), std::move(render), OwnRows::are_some);
}

Api::Answer Api::reset_messages(Call call) {
  auto body = parse_object(call.request);
  if (!body.value) co_return refusal(body.error);
  BodyReader reader(*body.value, "body");
  reader.boolean("add_default_initial_messages");
  if (reader.error()) co_return refusal(*reader.error());
  Command reset = ResetMessages{};
  auto answer = co_await send(call, StreamId{call.ids[0]}, std::move(reset));
  if (!answer) co_return error_response(answer.error(), call.keyless);
  co_return co_await agent_after(std::move(call), std::move(*answer), true);
}

Api::Answer Api::summarize(Call call) {
  Command command = SummarizeContext{};
  auto answer = co_await send(call, StreamId{call.ids[0]}, std::move(command));
  if (!answer) co_return error_response(answer.error(), call.keyless);
  const SummaryResult summary = answer->summary.value_or(SummaryResult{});
  JsonWriter out;
  out.begin_object().field("summary", summary.text);
  out.field_integer("num_messages_before", summary.messages_before);
  out.field_integer("num_messages_after", summary.messages_after).end_object();
  Response response = json_response(out.take());
  Headers headers = co_await settle(*answer, call);
  response.headers.merge(headers);
  co_return response;
}

}  // namespace varve
