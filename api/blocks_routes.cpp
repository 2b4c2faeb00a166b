// Routes of blocks.
#include "api/api.h"
#include "api/http_status.h"

namespace varve {
namespace {

Result<std::optional<std::string>> render_one_block(ViewReader& reader, const std::string& id) {
  auto row = find_block(reader, id);
  if (!row) return row.error();
  if (!*row) return std::optional<std::string>{};
  JsonWriter out;
  render_block(out, **row);
  return std::optional<std::string>{out.take()};
}

}  // namespace

Api::Answer Api::create_block(Call call) {
  auto body = parse_object(call.request);
  if (!body.value) co_return unprocessable(body.error.detail);
  auto parsed = parse_create_block(*body.value);
  if (!parsed.value) co_return unprocessable(parsed.error.detail);
  const StreamId stream{"block-" + derived_uuid(call.command.id, "block", 0)};
  auto answer = co_await send(call, stream, std::move(*parsed.value));
  if (!answer) {
    Response refused = error_response(answer.error(), call.keyless);
    co_return refused;
  }
  Render render = [id = stream.value()](ViewReader& reader) { return render_one_block(reader, id); };
  Response response =
      co_await answer_write(std::move(call), std::move(*answer), std::move(render), OwnRows::are_all);
  co_return response;
}

Api::Answer Api::list_blocks_route(Call call) {
  const auto page = parse_page(call.target, 50, false);
  if (!page.value) co_return unprocessable(page.error.detail);
  const BlockFilter filter = block_filter(call.target);
  Render render = [page = *page.value, filter](ViewReader& reader) -> Result<std::optional<std::string>> {
    auto rows = list_blocks(reader, page, filter);
    if (!rows) return rows.error();
    JsonWriter out;
    out.begin_array();
    for (const Row& row : *rows) render_block(out, row);
    out.end_array();
    return std::optional<std::string>{out.take()};
  };
  Response response = co_await answer_read(std::move(call), std::move(render), "");
  co_return response;
}

Api::Answer Api::get_block(Call call) {
  const std::string id = call.ids[0];
  Render render = [id](ViewReader& reader) { return render_one_block(reader, id); };
  Response response =
      co_await answer_read(std::move(call), std::move(render), "Block with id '" + id + "' not found");
  co_return response;
}

Api::Answer Api::update_block(Call call) {
  auto body = parse_object(call.request);
  if (!body.value) co_return unprocessable(body.error.detail);
  auto parsed = parse_update_block(*body.value);
  if (!parsed.value) co_return unprocessable(parsed.error.detail);
  const StreamId block{call.ids[0]};
  Response response = co_await change_block(std::move(call), block, std::move(*parsed.value));
  co_return response;
}

Api::Answer Api::change_block(Call call, StreamId block, UpdateBlock update) {
  auto answer = co_await send(call, block, std::move(update));
  if (!answer) {
    Response refused = error_response(answer.error(), call.keyless);
    co_return refused;
  }
  Render render = [id = block.value()](ViewReader& reader) { return render_one_block(reader, id); };
  Response response =
      co_await answer_write(std::move(call), std::move(*answer), std::move(render), OwnRows::are_all);
  co_return response;
}

Api::Answer Api::delete_block(Call call) {
  Command deletion = DeleteBlock{};
  auto answer = co_await send(call, StreamId{call.ids[0]}, std::move(deletion));
  if (!answer) {
    Response refused = error_response(answer.error(), call.keyless);
    co_return refused;
  }
  Response response = json_response("null");
  Headers headers = co_await settle(*answer, call);
  response.headers.merge(headers);
  co_return response;
}

}  // namespace varve
