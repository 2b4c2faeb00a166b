#include "api/teleport_routes.h"

#include <algorithm>

#include "actors/agent_teleport.h"
#include "actors/catalogue.h"
#include "api/body.h"
#include "api/http_status.h"
#include "inspect/teleport_export.h"
#include "runtime/json_fields.h"
#include "runtime/stored_json.h"
#include "runtime/suspend.h"

namespace varve {
namespace {

// Lets the next export in when this one has ended, or its reader has gone.
class ExportTurn {
 public:
  explicit ExportTurn(std::shared_ptr<bool> busy) : busy_(std::move(busy)) { *busy_ = true; }
  ExportTurn(const ExportTurn&) = delete;
  ExportTurn& operator=(const ExportTurn&) = delete;
  ~ExportTurn() { *busy_ = false; }

 private:
  std::shared_ptr<bool> busy_;
};

class ArchiveSource final : public EventSource {
 public:
  ArchiveSource(Env& env, std::shared_ptr<TeleportExport> archive, std::shared_ptr<ExportTurn> turn)
      : env_(env), archive_(std::move(archive)), turn_(std::move(turn)) {}

  boost::asio::awaitable<std::optional<std::string>> next() override {
    co_await yield(env_);  // What is waiting goes first.
    auto bytes = co_await archive_->next();
    co_return bytes ? std::move(*bytes) : std::nullopt;
  }

 private:
  Env& env_;
  std::shared_ptr<TeleportExport> archive_;
  std::shared_ptr<ExportTurn> turn_;
};

bool is_id(std::string_view text, std::string_view kind) {
  return text.starts_with(kind) && is_uuid4(text.substr(kind.size()));
}
bool is_carried_id(std::string_view text) {
  return is_id(text, "agent-") || is_id(text, "block-");
}

Result<ExportQuestion> question_of(const Target& target) {
  ExportQuestion question;
  std::string agents;
  for (const auto& [key, value] : target.query) {
    if (key == "agents") {
      agents = value;
    } else if (key == "all" && (value == "true" || value == "false")) {
      question.all = value == "true";
    } else {
      return Error{Errc::invalid_argument, "export takes agents=ID,ID.. or all=true, not '" + key + "'"};
    }
  }
  std::size_t begin = 0;
  while (begin < agents.size()) {
    const std::size_t comma = std::min(agents.find(',', begin), agents.size());
    const std::string id = agents.substr(begin, comma - begin);
    if (!is_id(id, "agent-")) {
      return Error{Errc::invalid_argument,
                   "agents: expected agent-<uuid4 in lower case>, got '" + id.substr(0, 100) + "'"};
    }
    question.agents.emplace_back(id);
    begin = comma + 1;
  }
  if (question.agents.size() > TeleportRoutes::kAgentsMax) {
    return Error{Errc::invalid_argument, "agents: at most " + std::to_string(TeleportRoutes::kAgentsMax)};
  }
  if (question.agents.empty() != question.all) {
    return Error{Errc::invalid_argument, "export takes either agents=ID,ID.. or all=true"};
  }
  return question;
}

Result<AppendTeleport> append_of(const Json& piece) {
  JsonFields fields(piece, "append", Errc::invalid_argument);
  AppendTeleport append;
  append.first = Sequence{fields.unsigned_integer("first")};
  append.chain = fields.text("chain");
  for (const Json& item : fields.list("events")) {
    JsonFields event(item, "event", Errc::invalid_argument);
    auto read = read_event(event.text("type"), event.integer("v"), event.object("data"));
    if (event.fault()) return *event.fault();
    if (!read) return Error{Errc::invalid_argument, read.error().message};
    auto* carried = std::get_if<EventTeleported>(&*read);
    if (carried == nullptr) return Error{Errc::invalid_argument, "events: expected EventTeleported"};
    append.events.push_back(std::move(*carried));
  }
  if (append.events.empty() || append.first == Sequence{}) fields.set_fault("it has no events");
  if (fields.fault()) return *fields.fault();
  return append;
}

Result<SealTeleport> seal_of(const Json& piece) {
  JsonFields fields(piece, "seal", Errc::invalid_argument);
  SealTeleport seal{fields.unsigned_integer("events"), fields.text("chain")};
  if (fields.fault()) return *fields.fault();
  return seal;
}

// http://host:port or https://..; nothing behind it.
bool is_place(std::string_view text) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!text.starts_with(scheme)) continue;
    const std::string_view host = text.substr(scheme.size());
    const auto plain = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
             c == '-' || c == ':' || c == '[' || c == ']' || c == '_';
    };
    return !host.empty() && host.size() <= 255 && std::all_of(host.begin(), host.end(), plain);
  }
  return false;
}

}  // namespace

bool TeleportRoutes::serves(std::string_view path) {
  return path == kTeleportExportPath || path == kTeleportImportPath || path == kTeleportMovePath;
}

boost::asio::awaitable<Response> TeleportRoutes::handle(Request request) {
  env_.count("http_requests");
  auto target = parse_target(request.target);
  if (!target) co_return detail_response(400, "the request target is not a well-formed path");
  const bool exports = target->path == kTeleportExportPath;
  if (request.method != (exports ? "GET" : "POST")) {
    Response wrong = detail_response(405, "Method Not Allowed");
    wrong.headers.emplace("allow", exports ? "GET" : "POST");
    co_return wrong;
  }
  if (exports) co_return co_await export_archive(std::move(*target));
  if (target->path == kTeleportMovePath) co_return co_await move(std::move(request.body));
  co_return co_await take_piece(std::move(request.body));
}

TeleportRoutes::Answer TeleportRoutes::export_archive(Target target) {
  auto question = question_of(target);
  if (!question) co_return error_response(question.error(), false);
  if (*busy_) {
    Response wait = detail_response(429, "another export reads the log; ask again later");
    wait.headers.emplace("retry-after", "1");
    co_return wait;
  }
  question->wait_until = env_.now() + kNewestWaitMax;
  auto turn = std::make_shared<ExportTurn>(busy_);
  auto archive = co_await TeleportExport::prepare(ports_.log, std::move(*question));
  if (!archive) co_return error_response(archive.error(), false);
  Response response;
  response.headers.emplace("content-type", "application/zstd");
  response.events = std::make_shared<ArchiveSource>(env_, std::move(*archive), std::move(turn));
  co_return response;
}

// Each piece has an id of its own, so that two that are under way are told apart.
Task<CommandAnswer> TeleportRoutes::send(StreamId stream, Command command, std::string what) {
  CommandEnvelope envelope;
  envelope.command_ref.id = command_id_from_text("teleport " + stream.value() + " " + what);
  envelope.command_ref.hash = command_hash("teleport", what);
  envelope.stream = std::move(stream);
  envelope.command = std::move(command);
  const CallLimits limits{env_.now() + kTime};
  return ports_.sender.send(std::move(envelope), limits);
}

TeleportRoutes::Answer TeleportRoutes::take_piece(std::string body) {
  auto piece = parse_stored_json(body);
  if (!piece || !piece->is_object()) co_return unprocessable("the body must be a JSON object");
  if (piece->find("tool") != nullptr) co_return co_await take_tool(std::move(*piece));
  const Json* stream = piece->find("stream");
  if (stream == nullptr || !stream->is_string() || !is_carried_id(stream->as_string())) {
    co_return unprocessable("body.stream: expected agent-<uuid4> or block-<uuid4>, in lower case");
  }
  const StreamId id{stream->as_string()};
  co_return co_await take_stream(id, std::move(*piece));
}

TeleportRoutes::Answer TeleportRoutes::take_stream(StreamId stream, Json piece) {
  if (const Json* append = piece.find("append")) {
    auto command = append_of(*append);
    if (!command) co_return error_response(command.error(), false);
    const std::string what = "append " + std::to_string(command->first.value()) + " " +
                             std::to_string(command->events.size()) + " " + command->chain + " " +
                             next_chain(command->chain, command->events.back());
    auto answer = co_await send(std::move(stream), std::move(*command), what);
    if (!answer) co_return error_response(answer.error(), false);
    Response done = json_response("{}");
    done.headers.emplace("varve-position", to_string(answer->positions));
    co_return done;
  }
  if (const Json* seal = piece.find("seal")) {
    auto command = seal_of(*seal);
    if (!command) co_return error_response(command.error(), false);
    auto answer = co_await send(std::move(stream), std::move(*command), "seal");
    if (!answer) co_return error_response(answer.error(), false);
    co_return co_await settled(std::move(*answer), "{}");
  }
  Command look = AppendTeleport{};
  auto answer = co_await send(std::move(stream), std::move(look), "look");
  if (!answer) co_return error_response(answer.error(), false);
  co_return json_response(answer->payload);
}

TeleportRoutes::Answer TeleportRoutes::take_tool(Json piece) {
  auto tool = read_tool(*piece.find("tool"));
  if (!tool) co_return unprocessable("body.tool: " + tool.error().message);
  if (!is_id(tool->id, "tool-")) co_return unprocessable("body.tool.id: expected tool-<uuid4 in lower case>");
  const Json* look = piece.find("look");
  if (look != nullptr && look->is_boolean() && look->as_boolean()) {
    co_return co_await look_for_tool(std::move(*tool));
  }
  Command take = TakeTool{std::move(*tool)};
  const StreamId catalogue{kCatalogueStream};
  auto answer = co_await send(catalogue, std::move(take), "tool " + uuid4(env_.rng()));
  if (!answer) co_return error_response(answer.error(), false);
  JsonWriter out;
  out.begin_object().field("id", answer->tools.empty() ? "" : answer->tools.front().id).end_object();
  co_return co_await settled(std::move(*answer), out.take());
}

// What TakeTool would answer, without making anything.
TeleportRoutes::Answer TeleportRoutes::look_for_tool(ToolValue tool) {
  Command read = ReadTools{{tool.id}, {tool.name}};
  const StreamId catalogue{kCatalogueStream};
  auto answer = co_await send(catalogue, std::move(read), "look " + tool.id);
  if (!answer) co_return error_response(answer.error(), false);
  CatalogueState known;
  ActorState state;
  for (const ToolValue& one : answer->tools) known.tools[one.id] = {one, WallTime{}};
  const CatalogueTool* same = tool_named(known, tool.name);
  const std::string id = same != nullptr ? same->value.id : "";
  state.body = std::move(known);
  const Facts facts{catalogue, {}, env_.wall_now(), 1, {}, {}};
  const auto decision = decide(state, TakeTool{std::move(tool)}, facts);
  if (!decision) co_return error_response(decision.error(), false);
  JsonWriter out;
  out.begin_object().field("id", id).end_object();
  co_return json_response(out.take());
}

TeleportRoutes::Answer TeleportRoutes::move(std::string body) {
  const auto json = Json::parse(body);
  if (!json || !json->is_object()) co_return unprocessable("the body must be a JSON object");
  JsonFields fields(*json, "body", Errc::invalid_argument);
  const std::string agent = fields.text("agent");
  MoveAgent command{fields.text("place"), fields.unsigned_integer("events")};
  if (fields.fault()) co_return unprocessable(fields.fault()->message);
  if (!is_id(agent, "agent-")) co_return unprocessable("body.agent: expected agent-<uuid4 in lower case>");
  if (!is_place(command.place))
    co_return unprocessable("body.place: expected http://HOST:PORT or https://..");
  const std::string what = "move " + command.place + " " + std::to_string(command.events);
  const StreamId stream{agent};
  auto answer = co_await send(stream, std::move(command), what);
  if (!answer) co_return error_response(answer.error(), false);
  co_return co_await settled(std::move(*answer), "{}");
}

// When the views show it.
TeleportRoutes::Answer TeleportRoutes::settled(CommandAnswer answer, std::string json) {
  Response response = json_response(std::move(json));
  response.headers.emplace("varve-position", to_string(answer.positions));
  const StreamId stream = answer.stream;
  const bool passed =
      co_await ports_.progress.wait_for(std::move(answer.positions), env_.now() + kViewWaitMax);
  if (ports_.progress.is_parked(stream)) {
    response.headers.emplace("varve-view", "parked");
  } else if (!passed) {
    response.headers.emplace("varve-view", "behind");
  }
  co_return response;
}

}  // namespace varve
