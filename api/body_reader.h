// BodyReader and what the parsers of bodies share. Internal to body.cpp and agent_body.cpp. Pure.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/body.h"

namespace varve {

template <class List>
bool contains(const List& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

// Reads members of a body and remembers the first that does not fit.
class BodyReader {
 public:
  BodyReader(const Json& body, std::string path) : body_(body), path_(std::move(path)) {}

  // Absent and null are the same to the API's clients.
  const Json* find(std::string_view key) const {
    const Json* found = body_.find(key);
    return found == nullptr || found->is_null() ? nullptr : found;
  }
  std::optional<std::string> text(std::string_view key) {
    const Json* found = find(key);
    if (found == nullptr) return std::nullopt;
    if (found->is_string()) return found->as_string();
    refuse(key, "a string", *found);
    return std::nullopt;
  }
  std::optional<std::int64_t> integer(std::string_view key) {
    const Json* found = find(key);
    if (found == nullptr) return std::nullopt;
    if (const auto value = found->as_integer()) return value;
    refuse(key, "an integer", *found);
    return std::nullopt;
  }
  std::optional<bool> boolean(std::string_view key) {
    const Json* found = find(key);
    if (found == nullptr) return std::nullopt;
    if (found->is_boolean()) return found->as_boolean();
    refuse(key, "true or false", *found);
    return std::nullopt;
  }
  const std::vector<Json>* list(std::string_view key) {
    const Json* found = find(key);
    if (found == nullptr) return nullptr;
    if (found->is_array()) return &found->items();
    refuse(key, "a list", *found);
    return nullptr;
  }
  std::optional<std::vector<std::string>> texts(std::string_view key) {
    const auto* items = list(key);
    if (items == nullptr) return std::nullopt;
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < items->size(); ++i) {
      if (!(*items)[i].is_string()) {
        refuse(std::string(key) + "." + std::to_string(i), "a string", (*items)[i]);
        return std::nullopt;
      }
      texts.push_back((*items)[i].as_string());
    }
    return texts;
  }
  std::optional<std::string> object(std::string_view key) {
    const Json* found = find(key);
    if (found == nullptr) return std::nullopt;
    if (found->is_object()) return found->dump();
    refuse(key, "an object", *found);
    return std::nullopt;
  }

  void refuse(std::string_view key, std::string_view expected, const Json& got) {
    fail({422, path_ + "." + std::string(key) + ": expected " + std::string(expected) + ", got " +
                   got.kind_name()});
  }
  void missing(std::string_view key) { fail({422, path_ + "." + std::string(key) + ": field required"}); }
  void fail(BodyError error) {
    if (!error_) error_ = std::move(error);
  }
  const std::optional<BodyError>& error() const { return error_; }

 private:
  const Json& body_;
  std::string path_;
  std::optional<BodyError> error_;
};

template <class T>
Parsed<T> parsed(T value, const BodyReader& reader) {
  if (reader.error()) return {std::nullopt, *reader.error()};
  return {std::move(value), {}};
}

// Each text once, in the order of their first places.
std::vector<std::string> each_once(const std::vector<std::string>& texts);
// The members of `body` that `keeps` names and that are not null.
Json kept_fields(const Json& body, bool (*keeps)(std::string_view));
// 400 for a handle without a slash, 404 for one that no model has.
void check_model(BodyReader& reader, std::string_view field, const std::string& handle,
                 const KnownModels& models);
// Nothing if it does not fit; `outer` has then the error. `path` names the place in messages.
std::optional<BlockValue> read_block(const Json& json, const std::string& path, BodyReader& outer);
std::optional<Message> read_message_create(const Json& json, const std::string& path, BodyReader& outer);

}  // namespace varve
