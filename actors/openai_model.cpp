#include "actors/openai_model.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "actors/chat_completions.h"
#include "actors/chat_reply.h"
#include "actors/openai_http.h"
#include "runtime/real_env.h"
#include "runtime/sync.h"

namespace varve {
namespace {

struct Provider {
  OpenAiProvider options;
  std::vector<ModelInfo> models;
  bool reached = false;
  bool warned = false;
};

ModelInfo info_of(const OpenAiProvider& provider, const ListedModel& listed) {
  ModelInfo info;
  info.handle = provider.name + "/" + listed.name;
  info.provider_type = provider.provider_type;
  info.endpoint = provider.base_url;
  info.context_window = listed.context_window > 0 ? listed.context_window : provider.context_window;
  info.embedding = is_embedding_model(listed.name);
  if (info.embedding) info.embedding_dim = embedding_dim_of(listed.name);
  return info;
}

bool has_controls(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return c >= 0 && (c < ' ' || c == 0x7f); });
}

Status check_provider(const OpenAiProvider& provider) {
  const auto refuse = [&provider](const std::string& why) -> Status {
    return Error{Errc::invalid_argument, "model provider '" + provider.name + "': " + why};
  };
  if (provider.name.empty() || provider.name.find('/') != std::string::npos || has_controls(provider.name)) {
    return refuse("its name must be one word without '/', it is the first part of provider/model");
  }
  const std::string& url = provider.base_url;
  if (!url.starts_with("http://") && !url.starts_with("https://")) {
    return refuse("its base URL must begin with http:// or https://");
  }
  const auto host = url.find("//") + 2;
  const auto authority = url.substr(host, url.find('/', host) - host);
  if (authority.empty() || has_controls(url) || url.find_first_of(" ?#") != std::string::npos) {
    return refuse("its base URL must be like https://host/v1");
  }
  if (authority.find('@') != std::string::npos) {
    return refuse("its base URL is shown to clients: the key does not belong there");
  }
  if (has_controls(provider.api_key)) return refuse("its key must be one line");
  if (provider.retries_max < 0 || provider.retries_max > 10) return refuse("retries must be 0 to 10");
  return ok();
}

// Providers print the key in some of their errors.
std::string without_key(std::string text, const std::string& key) {
  // A key as short as that is none; its letters are in every word.
  if (key.size() < 8) return text;
  for (auto at = text.find(key); at != std::string::npos; at = text.find(key, at)) {
    text.replace(at, key.size(), "***");
  }
  return text;
}

}  // namespace

struct OpenAiModel::Impl {
  Impl(RealEnv& environment, Options chosen)
      : env(environment),
        options(std::move(chosen)),
        http(std::make_unique<OpenAiHttp>(
            env, OpenAiHttp::Options{.ca_file = options.ca_file, .proxy = options.proxy})) {
    for (OpenAiProvider& provider : options.providers) {
      while (provider.base_url.ends_with('/')) provider.base_url.pop_back();
      Provider known{provider, {}, !provider.models.empty(), false};
      for (const std::string& name : provider.models) known.models.push_back(info_of(provider, {name, 0}));
      providers.push_back(std::move(known));
    }
  }

  // The provider of a handle and, in `name`, what it calls the model.
  const Provider* provider_of(std::string_view handle, std::string_view& name) const {
    const auto slash = handle.find('/');
    if (slash == std::string_view::npos || slash + 1 == handle.size()) return nullptr;
    name = handle.substr(slash + 1);
    for (const Provider& provider : providers) {
      if (provider.options.name == handle.substr(0, slash)) return &provider;
    }
    return nullptr;
  }

  HttpCall call_to(const OpenAiProvider& provider, std::string_view path) const {
    HttpCall call;
    call.url = provider.base_url + std::string{path};
    if (!provider.api_key.empty()) call.headers.push_back("Authorization: Bearer " + provider.api_key);
    call.connect_time = provider.connect_time;
    call.idle_time = provider.idle_time;
    return call;
  }

  RealEnv& env;
  Options options;
  std::unique_ptr<OpenAiHttp> http;  // Null when this is over.
  std::vector<Provider> providers;
};

namespace {

using ImplPtr = std::shared_ptr<OpenAiModel::Impl>;

// One request to be asked, as often as it takes.
struct Question {
  OpenAiProvider provider;
  std::string body;
  bool streams = false;
  ReplyContext context;
  std::function<void(const ModelDelta&)> on_delta;
};
using QuestionPtr = std::shared_ptr<const Question>;

struct Attempt {
  Result<ModelOutcome> outcome;
  bool again = false;             // Asking again may help, and nothing has been handed out.
  std::int64_t retry_after = -1;  // Seconds.
};

Attempt judge(const Question& question, const HttpReply& reply, ChatStream& stream) {
  using Fault = HttpReply::Fault;
  const std::string& name = question.provider.name;
  const bool silent = !stream.handed_out();
  Attempt attempt;
  const auto fail = [&](ModelFailure failure, bool again) {
    failure.message = without_key(std::move(failure.message), question.provider.api_key);
    attempt.outcome = ModelOutcome{std::move(failure)};
    attempt.again = again && silent;
    return attempt;
  };
  switch (reply.fault) {
    case Fault::closed:
      attempt.outcome = Error{Errc::cancelled, "the model client is shutting down"};
      return attempt;
    case Fault::connect:
      return fail(llm_error(name, "cannot connect: " + reply.detail), true);
    case Fault::slow:
      return fail(llm_timeout(name, "cannot connect: " + reply.detail), true);
    case Fault::untrusted:
      return fail(llm_error(name, "its certificate is not trusted: " + reply.detail), false);
    case Fault::timeout:
      return fail(llm_timeout(name, reply.detail), false);
    case Fault::broken:
      if (!stream.whole()) return fail(llm_error(name, "the connection broke: " + reply.detail), true);
      break;
    case Fault::stopped:
    case Fault::none:
      break;
  }
  if (reply.status < 200 || reply.status >= 300) {
    attempt.retry_after = reply.retry_after;
    const bool again = reply.status == 408 || reply.status == 429 || reply.status >= 500;
    return fail(failure_of_status(name, reply.status, reply.error_body), again);
  }
  ModelOutcome outcome = stream.finish();
  if (auto* failure = std::get_if<ModelFailure>(&outcome)) {
    const bool again = failure->status == 429;
    return fail(std::move(*failure), again);
  }
  attempt.outcome = std::move(outcome);
  return attempt;
}

boost::asio::awaitable<Attempt> ask_once(ImplPtr impl, QuestionPtr question, MonoTime deadline) {
  Attempt attempt;
  if (!impl->http) {
    attempt.outcome = Error{Errc::cancelled, "the model client is shutting down"};
    co_return attempt;
  }
  const auto stream = std::make_shared<ChatStream>(question->context, question->on_delta);
  HttpCall call = impl->call_to(question->provider, "/chat/completions");
  call.headers.emplace_back("Content-Type: application/json");
  call.headers.emplace_back(question->streams ? "Accept: text/event-stream" : "Accept: application/json");
  call.body = question->body;
  if (!question->streams) call.idle_time = Duration::max();
  call.on_body = [stream](std::string_view bytes) {
    if (!stream->feed(bytes)) return HttpCall::Appetite::stop;
    return stream->done() ? HttpCall::Appetite::enough : HttpCall::Appetite::more;
  };
  const HttpReply reply = co_await impl->http->call(std::move(call), deadline);
  attempt = judge(*question, reply, *stream);
  co_return attempt;
}

// How long to wait before asking again: the doubled pause with up to half of it as jitter, or what the
// provider asks for.
Duration pause_before(OpenAiModel::Impl& impl, int retry, std::int64_t retry_after) {
  Duration pause = std::min(impl.options.retry_pause * (std::int64_t{1} << retry), kRetryPauseMax);
  pause += Duration{
      static_cast<std::int64_t>(impl.env.rng().below(static_cast<std::uint64_t>(pause.count() / 2 + 1)))};
  if (retry_after < 0) return pause;
  return std::max(pause, std::min<Duration>(std::chrono::seconds{std::min<std::int64_t>(retry_after, 3600)},
                                            kRetryAfterMax));
}

Task<ModelOutcome> ask(ImplPtr impl, QuestionPtr question, MonoTime deadline) {
  RealEnv& env = impl->env;
  for (int retry = 0;; ++retry) {
    Attempt attempt = co_await ask_once(impl, question, deadline);
    env.count(attempt.outcome && std::holds_alternative<ModelReply>(*attempt.outcome) ? "model_replies"
                                                                                      : "model_failures");
    if (!attempt.again || retry >= question->provider.retries_max) co_return std::move(attempt.outcome);
    const MonoTime at = env.now() + pause_before(*impl, retry, attempt.retry_after);
    if (at >= deadline) co_return std::move(attempt.outcome);  // It would come too late.
    env.count("model_retries");
    co_await sleep_until(env, at);
  }
}

Task<ModelOutcome> fail(ModelFailure failure) {
  co_return ModelOutcome{std::move(failure)};
}

Task<> refresh_one(ImplPtr impl, std::size_t place) {
  RealEnv& env = impl->env;
  const auto body = std::make_shared<std::string>();
  HttpCall call = impl->call_to(impl->providers[place].options, "/models");
  call.on_body = [body](std::string_view bytes) {
    body->append(bytes);
    return body->size() > kReplyBodyMax ? HttpCall::Appetite::stop : HttpCall::Appetite::more;
  };
  const MonoTime deadline = env.now() + impl->options.refresh_time;
  const HttpReply reply = co_await impl->http->call(std::move(call), deadline);
  if (reply.fault == HttpReply::Fault::closed) co_return Error{Errc::cancelled, reply.detail};
  Provider& provider = impl->providers[place];
  const std::string& name = provider.options.name;
  std::string why;
  if (reply.fault == HttpReply::Fault::stopped) {
    why = "the list is longer than 8 MiB";
  } else if (reply.fault != HttpReply::Fault::none) {
    why = reply.detail;
  } else if (reply.status < 200 || reply.status >= 300) {
    why = failure_of_status(name, reply.status, reply.error_body).message;
  } else if (const auto listed = parse_model_list(*body)) {
    provider.models.clear();
    for (const ListedModel& model : *listed) provider.models.push_back(info_of(provider.options, model));
    provider.reached = true;
  } else {
    why = listed.error().message;
  }
  const bool down = !why.empty();
  if (down && !provider.warned) {
    env.log(LogLevel::warning, "the models of provider " + name + " cannot be listed: " +
                                   without_key(std::move(why), provider.options.api_key));
  }
  provider.warned = down;
  co_return ok();
}

Task<> refresh_all(ImplPtr impl) {
  if (!impl->http) co_return Error{Errc::cancelled, "the model client is shutting down"};
  TaskGroup group(impl->env);
  for (std::size_t place = 0; place < impl->providers.size(); ++place) {
    if (!impl->providers[place].options.models.empty()) continue;
    const Status started = group.spawn("models of a provider", refresh_one(impl, place));
    if (!started) co_return started;
  }
  group.close();
  co_return co_await group.join(kNever);
}

}  // namespace

Result<std::unique_ptr<OpenAiModel>> OpenAiModel::make(RealEnv& env, Options options) {
  std::set<std::string> names;
  for (const OpenAiProvider& provider : options.providers) {
    if (const Status checked = check_provider(provider); !checked) return checked.error();
    if (!names.insert(provider.name).second) {
      return Error{Errc::invalid_argument, "there are two model providers '" + provider.name + "'"};
    }
  }
  std::error_code ignored;
  if (!options.ca_file.empty() && !std::filesystem::is_regular_file(options.ca_file, ignored)) {
    return Error{Errc::invalid_argument, "the file of certificates '" + options.ca_file + "' does not exist"};
  }
  return std::unique_ptr<OpenAiModel>(new OpenAiModel(std::make_shared<Impl>(env, std::move(options))));
}

OpenAiModel::OpenAiModel(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

OpenAiModel::~OpenAiModel() {
  impl_->http.reset();
}

bool OpenAiModel::serves(std::string_view handle) const {
  std::string_view name;
  const Provider* provider = impl_->provider_of(handle, name);
  if (provider == nullptr) return false;
  if (!provider->reached && provider->models.empty()) return true;
  return std::any_of(provider->models.begin(), provider->models.end(),
                     [handle](const ModelInfo& info) { return info.handle == handle && !info.embedding; });
}

std::vector<std::string> OpenAiModel::handles() const {
  std::vector<std::string> all;
  for (const ModelInfo& info : models()) {
    if (!info.embedding) all.push_back(info.handle);
  }
  return all;
}

std::vector<ModelInfo> OpenAiModel::models() const {
  std::vector<ModelInfo> all;
  for (const Provider& provider : impl_->providers) {
    all.insert(all.end(), provider.models.begin(), provider.models.end());
  }
  return all;
}

std::string OpenAiModel::payload(const ModelRequest& request) const {
  std::string_view name;
  const Provider* provider = impl_->provider_of(request.model, name);
  if (provider == nullptr) return ModelClient::payload(request);
  return chat_request_body(request, {std::string{name}, provider->options.max_tokens_field});
}

Task<ModelOutcome> OpenAiModel::complete(ModelRequest request, MonoTime deadline) {
  std::string_view name;
  const Provider* provider = impl_->provider_of(request.model, name);
  if (provider == nullptr) {
    return fail({400, "llm_bad_request", "no provider serves the model '" + request.model + "'"});
  }
  auto question = std::make_shared<Question>();
  question->provider = provider->options;
  question->body = chat_request_body(request, {std::string{name}, provider->options.max_tokens_field});
  question->streams = request.on_delta != nullptr;
  question->context = reply_context(request, provider->options.name, "call-" + uuid4(impl_->env.rng()));
  question->on_delta = std::move(request.on_delta);
  return ask(impl_, std::move(question), deadline);
}

Task<> OpenAiModel::refresh() {
  return refresh_all(impl_);
}

}  // namespace varve
