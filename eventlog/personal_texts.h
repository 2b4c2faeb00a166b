// Which texts of events are personal: what a person has said, what was said to them, and what was noted about
// them. One list for sealing and for opening; a test fills every text of every event and fails for one that
// is neither listed here nor there as plain.
//
// Plain stays what the server itself works by: ids, times, roles, numbers, tags, labels of blocks, names of
// models and tools, reasons why turns end. Pure.
#pragma once

#include <functional>

#include "eventlog/event.h"
#include "eventlog/sealed_text.h"

namespace varve {

// A field is named by the column of the views that shows it ("messages.content"): a row opens as its event
// does.
using OnPersonalText = std::function<void(TextKind kind, std::string_view field, std::string& text)>;

void for_personal_texts(AgentSettings& settings, const OnPersonalText& visit);
void for_personal_texts(BlockValue& block, const OnPersonalText& visit);
void for_personal_texts(Message& message, const OnPersonalText& visit);
void for_personal_texts(Event& event, const OnPersonalText& visit);
// The options of a turn.
inline constexpr std::string_view kRequestField = "runs.request";

// The visitors of a seal. What cannot be opened stays as it is.
OnPersonalText sealing(const TextSeal& seal, std::string salt);
OnPersonalText opening(const TextSeal& seal);

// True if the event begins a stream whose texts are sealed.
bool begins_erasable(const Event& event);

}  // namespace varve
