// What turns an agent file that was read into commands: what the import asks for, models, records.
#include "actors/actor_state.h"
#include "api/agent_file.h"
#include "api/body_reader.h"

namespace varve {
namespace {

bool is_served(const KnownModels& models, const std::string& handle) {
  return models.serves ? models.serves(handle) : contains(models.handles, handle);
}

// Leaves in the extra what the agent uses of what the file says: an export repeats the file's words until
// that changes.
void note_used(AgentSettings& settings, const ImportOptions& options) {
  auto extra = Json::parse(settings.extra);
  if (!extra) return;
  const Json* found = extra->find(kAgentFileField);
  Json kept = found != nullptr ? *found : Json::object();
  Json used = Json::object();
  if (!options.model) used.set("model", Json::string(settings.model));
  if (!options.embedding) {
    used.set("embedding", settings.embedding ? Json::string(*settings.embedding) : Json::null());
  }
  used.set("context_window", Json::integer(settings.context_window));
  kept.set("used", std::move(used));
  extra->set(std::string(kAgentFileField), std::move(kept));
  settings.extra = extra->dump();
}

// The newest that fit into the window stay in the context, and the first: it is the system message.
void bound_context(ImportedAgent& agent) {
  std::size_t first = 0;
  while (first < agent.in_context.size() && !agent.in_context[first]) ++first;
  std::int64_t tokens = first < agent.messages.size() ? tokens_of(agent.messages[first]) : 0;
  bool full = false;
  for (std::size_t i = agent.messages.size(); i-- > first + 1;) {
    if (!agent.in_context[i]) continue;
    tokens += tokens_of(agent.messages[i]);
    full = full || tokens > agent.settings.context_window;
    if (full) agent.in_context[i] = false;
  }
}

}  // namespace

Result<std::vector<ReplacedModel>> apply_options(AgentFile& file, const ImportOptions& options,
                                                 const KnownModels& models) {
  if (options.model && !is_served(models, *options.model)) {
    return Error{Errc::not_found, "form.model: model '" + *options.model + "' not found"};
  }
  std::vector<ReplacedModel> replaced;
  for (ImportedAgent& agent : file.agents) {
    AgentSettings& settings = agent.settings;
    if (options.name) {
      settings.name = *options.name;
    } else if (options.append_copy_suffix) {
      settings.name += "_copy";
    }
    if (options.embedding) settings.embedding = *options.embedding;
    if (options.model) {
      settings.model = *options.model;
    } else if (!is_served(models, settings.model)) {
      replaced.push_back({settings.name, settings.model, models.default_handle});
      settings.model = models.default_handle;
    }
    if (options.strip_messages) {
      agent.messages.clear();
      agent.in_context.clear();
    }
    agent.erasable = options.erasable;
    note_used(settings, options);
    bound_context(agent);
  }
  return replaced;
}

bool lacks_system_message(const ImportedAgent& agent) {
  for (std::size_t i = 0; i < agent.messages.size(); ++i) {
    if (agent.in_context[i]) return agent.messages[i].role != Role::system;
  }
  return true;
}

std::vector<AppendImport> records_of(ImportedAgent& agent) {
  std::vector<AppendImport> records;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < agent.messages.size(); ++i) {
    JsonWriter encoded;
    write_message(encoded, agent.messages[i]);
    if (records.empty() || bytes + encoded.text().size() > kImportRecordBytes) {
      AppendImport record;
      record.ordinal = static_cast<std::int64_t>(records.size());
      records.push_back(std::move(record));
      bytes = 0;
    }
    bytes += encoded.text().size();
    AppendImport& record = records.back();
    if (!agent.in_context[i]) {
      record.out_of_context.push_back(static_cast<std::int64_t>(record.messages.size()));
    }
    record.messages.push_back(std::move(agent.messages[i]));
  }
  agent.messages.clear();
  agent.in_context.clear();
  return records;
}

}  // namespace varve
