// JSON of CommandAnswer and Error, for answers that travel between nodes. The channel of an open turn does
// not travel: cluster/messages.h says how it is followed. Text is mended where it may come from outside.
// Pure.
#pragma once

#include <string>
#include <string_view>

#include "actors/command.h"
#include "runtime/json_fields.h"

namespace varve {

// Everything but `channel`.
void write_answer(JsonWriter& out, const CommandAnswer& answer);
Result<CommandAnswer> read_answer(const Json& json);

// {"code":"not_found","message":".."}
void write_error(JsonWriter& out, const Error& error);
// Not Result<Error>: an Error is what a Result holds when there is nothing.
Status read_error(const Json& json, Error& error);

void write_turn_result(JsonWriter& out, const TurnResult& turn);
Result<TurnResult> read_turn_result(const Json& json);
void write_turn_messages(JsonWriter& out, const std::vector<TurnMessage>& messages);
std::vector<TurnMessage> read_turn_messages(JsonFields& fields, std::string_view key);

}  // namespace varve
