// How operations and outcomes are printed for people. Nothing is decided by these texts.
#include "sim/model.h"

namespace varve::sim {
namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

std::string joined(const Texts& texts) {
  std::string text = "[";
  for (const std::string& one : texts) text.append(text.size() == 1 ? "" : " ").append(one);
  return text + "]";
}

}  // namespace

const char* to_string(Answer answer) {
  switch (answer) {
    case Answer::ok:
      return "ok";
    case Answer::not_found:
      return "not found";
    case Answer::conflict:
      return "conflict";
    case Answer::refused:
      return "refused";
    case Answer::unknown:
      return "unknown";
  }
  return "?";
}

std::string describe(const Seen& seen) {
  std::string text;
  if (seen.name) text += " name=" + *seen.name;
  if (seen.tags) text += " tags=" + joined(*seen.tags);
  if (seen.label) text += " label=" + *seen.label;
  if (seen.value) text += " value=" + *seen.value;
  if (seen.texts && !seen.turns) text += " texts=" + joined(*seen.texts);
  if (seen.ids) text += " ids=" + joined(*seen.ids);
  if (seen.blocks) {
    text += " blocks=";
    for (const op::BlockBirth& block : *seen.blocks) text += block.block + "(" + block.value + ")";
  }
  if (seen.turns) {
    text += " turns=";
    for (const TurnSeen& turn : *seen.turns) text += turn.text + joined(turn.replies);
  }
  return text;
}

std::string describe(const Op& op) {
  const auto optional = [](const char* name, const std::optional<std::string>& value) {
    return value ? std::string(" ") + name + "=" + *value : std::string();
  };
  return std::visit(
      Overloaded{
          [](const op::CreateAgent& of) { return "CreateAgent " + of.agent + " name=" + of.name; },
          [&](const op::UpdateAgent& of) {
            return "UpdateAgent " + of.agent + optional("name", of.name) +
                   (of.tags ? " tags=" + joined(*of.tags) : std::string());
          },
          [](const op::DeleteAgent& of) { return "DeleteAgent " + of.agent; },
          [](const op::EraseAgent& of) { return "EraseAgent " + of.agent; },
          [](const op::AttachBlock& of) { return "AttachBlock " + of.agent + " " + of.block; },
          [](const op::DetachBlock& of) { return "DetachBlock " + of.agent + " " + of.block; },
          [](const op::SendMessage& of) { return "SendMessage " + of.agent + " '" + of.text + "'"; },
          [](const op::CancelTurn& of) { return "CancelTurn " + of.agent; },
          [](const op::ResetMessages& of) { return "ResetMessages " + of.agent; },
          [](const op::CreateBlock& of) { return "CreateBlock " + of.block + " value=" + of.value; },
          [&](const op::UpdateBlock& of) {
            return "UpdateBlock " + of.block + optional("label", of.label) + optional("value", of.value);
          },
          [](const op::AppendToBlock& of) { return "AppendToBlock " + of.block + " line=" + of.line; },
          [](const op::EditBlock& of) {
            return "EditBlock " + of.block + " '" + of.old_text + "' -> '" + of.text + "'";
          },
          [](const op::DeleteBlock& of) { return "DeleteBlock " + of.block; },
          [](const op::ReadAgent& of) { return "ReadAgent " + of.agent; },
          [](const op::ReadMessages& of) { return "ReadMessages " + of.agent; },
          [](const op::ReadBlock& of) { return "ReadBlock " + of.block; },
          [](const op::ListAgents& /*of*/) { return std::string("ListAgents"); },
          [](const op::TurnBegins& of) { return "TurnBegins " + of.agent + " '" + of.text + "'"; },
          [](const op::TurnEnds& of) { return "TurnEnds " + of.agent + " '" + of.text + "'"; },
      },
      op);
}

}  // namespace varve::sim
