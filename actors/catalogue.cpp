#include "actors/catalogue.h"

#include <algorithm>

#include "actors/agent_block.h"
#include "actors/memory_tools.h"
#include "runtime/json_fields.h"

namespace varve {
namespace {

Error no_such_tool(const std::string& id) {
  return {Errc::not_found, "Tool not found with id='" + id + "'"};
}

std::size_t bytes_of(const ToolValue& tool) {
  JsonWriter out;
  write_tool(out, tool);
  return out.text().size();
}

Status check_fits(const CatalogueState& catalogue, const ToolValue& tool) {
  const std::size_t bytes = bytes_of(tool);
  if (bytes > kToolBytesMax) {
    return Error{Errc::invalid_argument, "the tool '" + tool.name + "' has " + std::to_string(bytes) +
                                             " bytes together; the limit is " +
                                             std::to_string(kToolBytesMax)};
  }
  std::size_t all = bytes;
  std::size_t count = 1;
  for (const auto& [id, other] : catalogue.tools) {
    if (id == tool.id) continue;
    all += bytes_of(other.value);
    ++count;
  }
  if (count > kToolsMax || all > kCatalogueBytesMax) {
    return Error{Errc::invalid_argument, "the catalogue is full: it holds at most " +
                                             std::to_string(kToolsMax) + " custom tools and " +
                                             std::to_string(kCatalogueBytesMax) +
                                             " bytes together; delete some"};
  }
  return ok();
}

Status check_name(const std::string& name) {
  if (find_builtin_tool(name) == nullptr) return ok();
  return Error{Errc::conflict, "'" + name + "' is a built-in tool; choose another name"};
}

Decision one_event(Event event) {
  Decision decision;
  decision.events.push_back(std::move(event));
  return decision;
}

}  // namespace

const CatalogueTool* tool_named(const CatalogueState& catalogue, std::string_view name) {
  for (const auto& [id, tool] : catalogue.tools) {
    if (tool.value.name == name) return &tool;
  }
  return nullptr;
}

std::vector<ToolValue> tools_asked_for(const ActorState& state, const ReadTools& command) {
  std::vector<ToolValue> found;
  if (state.catalogue() == nullptr) return found;
  const CatalogueState& catalogue = *state.catalogue();
  const auto add = [&found](const ToolValue& tool) {
    const auto same = [&tool](const ToolValue& other) { return other.id == tool.id; };
    if (std::none_of(found.begin(), found.end(), same)) found.push_back(tool);
  };
  for (const std::string& id : command.ids) {
    const auto tool = catalogue.tools.find(id);
    if (tool != catalogue.tools.end()) add(tool->second.value);
  }
  for (const std::string& name : command.names) {
    if (const CatalogueTool* tool = tool_named(catalogue, name)) add(tool->value);
  }
  return found;
}

Result<ToolValue> patched(const ToolValue& tool, const Json& patch) {
  ToolValue result = tool;
  JsonFields fields(patch, "patch", Errc::invalid_argument);
  const auto given = [&patch](std::string_view key) {
    const Json* found = patch.find(key);
    return found != nullptr && !found->is_null();
  };
  if (given("name")) result.name = fields.text("name");
  if (given("description")) result.description = fields.text("description");
  if (given("source_type")) result.source_type = fields.text("source_type");
  if (given("source_code")) result.source_code = fields.text("source_code");
  if (given("json_schema")) result.json_schema = fields.object("json_schema").dump();
  if (given("tags")) result.tags = fields.texts("tags");
  if (given("return_char_limit")) result.return_char_limit = fields.integer("return_char_limit");
  if (given("extra")) {
    auto extra = Json::parse(result.extra);
    Json merged = extra && extra->is_object() ? std::move(*extra) : Json::object();
    for (const auto& [key, value] : fields.object("extra").members()) merged.set(key, value);
    result.extra = merged.dump();
  }
  if (fields.fault()) return *fields.fault();
  return result;
}

Result<Decision> CatalogueDecider::operator()(const PutTool& command) const {
  if (const Status named = check_name(command.tool.name); !named) return named.error();
  ToolValue tool = command.tool;
  const CatalogueTool* known = tool_named(catalogue(), tool.name);
  tool.id = known != nullptr ? known->value.id : "tool-" + derived_uuid(facts.command, "tool", 0);
  if (known != nullptr && known->value == tool) return Decision{};
  if (const Status fits = check_fits(catalogue(), tool); !fits) return fits.error();
  if (known != nullptr) return one_event(ToolUpdated{std::move(tool), known->created_at});
  return one_event(ToolCreated{std::move(tool)});
}

Result<Decision> CatalogueDecider::operator()(const UpdateTool& command) const {
  const auto known = catalogue().tools.find(command.id);
  if (known == catalogue().tools.end()) return no_such_tool(command.id);
  const auto patch = Json::parse(command.patch);
  if (!patch) return patch.error();
  auto tool = patched(known->second.value, *patch);
  if (!tool) return tool.error();
  if (const Status named = check_name(tool->name); !named) return named.error();
  const CatalogueTool* other = tool_named(catalogue(), tool->name);
  if (other != nullptr && other->value.id != tool->id) {
    return Error{Errc::conflict, "there is already a tool with the name '" + tool->name + "'"};
  }
  if (*tool == known->second.value) return Decision{};
  if (const Status fits = check_fits(catalogue(), *tool); !fits) return fits.error();
  return one_event(ToolUpdated{std::move(*tool), known->second.created_at});
}

Result<Decision> CatalogueDecider::operator()(const DeleteTool& command) const {
  if (!catalogue().tools.contains(command.id)) return no_such_tool(command.id);
  return one_event(ToolDeleted{command.id});
}

Result<Decision> CatalogueDecider::operator()(const TakeTool& command) const {
  const ToolValue& tool = command.tool;
  if (!tool.id.starts_with("tool-") || tool.name.empty()) {
    return Error{Errc::invalid_argument, "a tool has an id, as tool-<uuid4>, and a name"};
  }
  if (const Status named = check_name(tool.name); !named) return named.error();
  const CatalogueTool* other = tool_named(catalogue(), tool.name);
  if (other != nullptr) {
    ToolValue same = tool;
    same.id = other->value.id;
    if (other->value == same) return Decision{};
    return Error{Errc::conflict, "there is another tool '" + tool.name + "' here, " + other->value.id +
                                     ": make the two equal, or rename or delete one"};
  }
  const auto known = catalogue().tools.find(tool.id);
  if (known != catalogue().tools.end()) {
    return Error{Errc::conflict, "the tool " + tool.id + " is called '" + known->second.value.name +
                                     "' here, not '" + tool.name + "': rename or delete one"};
  }
  if (const Status fits = check_fits(catalogue(), tool); !fits) return fits.error();
  return one_event(ToolCreated{tool});
}

Result<Decision> CatalogueDecider::operator()(const ReadTools& /*command*/) const {
  return Decision{};
}

}  // namespace varve
