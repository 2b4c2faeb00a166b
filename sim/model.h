// Model: what the API does, one operation at a time, with nothing else going on: the specification that
// histories of clients are compared with. Maps and vectors, written apart from the code that it judges: it
// knows no events, no streams and no log.
//
// Ids are known beforehand (they derive from the command's id, which the client chooses). The text of a
// message is different from that of every other message of its agent: it names the turn. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace varve::sim {

using Texts = std::vector<std::string>;

// What clients do.
namespace op {

struct BlockBirth {
  std::string block;
  std::string label;
  std::string value;
  friend bool operator==(const BlockBirth&, const BlockBirth&) = default;
};

struct CreateAgent {
  std::string agent;
  std::string name;
  Texts tags;
  std::vector<BlockBirth> blocks;  // With labels that differ.
  Texts history;                   // Messages that it comes with, as an imported agent does.
};
struct UpdateAgent {
  std::string agent;
  std::optional<std::string> name;
  std::optional<Texts> tags;
};
struct DeleteAgent {
  std::string agent;
};
struct EraseAgent {  // Also of one that was deleted, or erased, before.
  std::string agent;
};
struct AttachBlock {
  std::string agent;
  std::string block;
};
struct DetachBlock {
  std::string agent;
  std::string block;
};
struct SendMessage {  // A whole turn: TurnBegins, then TurnEnds.
  std::string agent;
  std::string text;
  bool waits = true;  // False: answered when the turn has begun; it ends at any later time.
};
struct CancelTurn {  // Ends the agent's open turn, if there is one.
  std::string agent;
};
struct ResetMessages {  // Empties the context, which nobody sees; not while a turn is open.
  std::string agent;
};
struct CreateBlock {
  std::string block;
  std::string label;
  std::string value;
};
struct UpdateBlock {
  std::string block;
  std::optional<std::string> label;
  std::optional<std::string> value;
};
struct AppendToBlock {  // A new last line, as a tool of the agent's memory writes it.
  std::string block;
  std::string line;
};
struct EditBlock {  // As a tool of the agent's memory does it.
  enum class How : unsigned char { append, insert_first, replace };  // Lines; a text that occurs once.
  std::string block;
  How how = How::append;
  std::string old_text;
  std::string text;
};
struct DeleteBlock {
  std::string block;
};
struct ReadAgent {
  std::string agent;
};
struct ReadMessages {  // All of them, oldest first.
  std::string agent;
};
struct ReadBlock {
  std::string block;
};
struct ListAgents {};  // All of them.

// The halves of SendMessage. A history holds SendMessage only; who checks it takes it apart.
struct TurnBegins {
  std::string agent;
  std::string text;
};
struct TurnEnds {
  std::string agent;
  std::string text;
  std::optional<Texts> replies;  // Nothing: not known.
};

}  // namespace op

using Op = std::variant<op::CreateAgent, op::UpdateAgent, op::DeleteAgent, op::EraseAgent, op::AttachBlock,
                        op::DetachBlock, op::SendMessage, op::CancelTurn, op::CreateBlock, op::UpdateBlock,
                        op::AppendToBlock, op::DeleteBlock, op::ReadAgent, op::ReadMessages, op::ReadBlock,
                        op::ListAgents, op::TurnBegins, op::TurnEnds, op::ResetMessages, op::EditBlock>;

// "UpdateBlock block-1 value=.."
std::string describe(const Op& op);

struct TurnSeen {
  std::string text;
  Texts replies;  // Whatever came after the user's message, in the order in which it is listed.
  friend bool operator==(const TurnSeen&, const TurnSeen&) = default;
};

// What a success shows. What is absent is not compared.
struct Seen {
  std::optional<std::string> name;
  std::optional<Texts> tags;                          // Sorted.
  std::optional<std::vector<op::BlockBirth>> blocks;  // Attached, in the order of attaching.
  std::optional<std::string> label;
  std::optional<std::string> value;
  std::optional<std::vector<TurnSeen>> turns;  // Of SendMessage: the one turn.
  std::optional<Texts> texts;                  // Of all turns, where their replies are not shown.
  std::optional<Texts> ids;                    // Of a list, sorted.
};
std::string describe(const Seen& seen);

enum class Answer : unsigned char {
  ok,
  not_found,
  conflict,
  refused,  // Certainly without effect, for a reason that the model does not know.
  unknown,  // It may have taken effect, or may do so later, once.
};
const char* to_string(Answer answer);

struct Outcome {
  Answer answer = Answer::unknown;
  Seen seen;
  // Its effect is in the views (`ack=view`, and not marked as behind): whoever reads later sees it.
  bool settled = true;
};

// ---- states ----

struct TurnState {
  std::string text;
  bool open = true;
  std::optional<Texts> replies;
  friend bool operator==(const TurnState&, const TurnState&) = default;
};

// One agent, as if its blocks were always there: labels are the affair of Model.
struct AgentModel {
  bool exists = false;
  bool deleted = false;
  std::string name;
  Texts tags;
  Texts blocks;
  std::vector<TurnState> turns;
  friend bool operator==(const AgentModel&, const AgentModel&) = default;

  // What `op` answers, and its effect. Of TurnBegins and TurnEnds: `conflict` = not now.
  Outcome apply(const Op& op);
  bool turn_open() const { return !turns.empty() && turns.back().open; }
};

struct BlockModel {
  bool exists = false;
  bool deleted = false;
  std::string label;
  std::string value;
  friend bool operator==(const BlockModel&, const BlockModel&) = default;

  Outcome apply(const Op& op);
};

// Of a state, for comparing many.
std::string fingerprint(const AgentModel& agent);
std::string fingerprint(const BlockModel& block);

// True if `actual` can be what a client sees where the model says `expected`: the same answer, and everything
// that is shown agrees. An open turn may show any part of its replies, one whose replies are not known
// anything.
bool agrees(const Outcome& expected, const Outcome& actual, const AgentModel* agent);

// Everything together.
class Model {
 public:
  Outcome apply(const Op& op);
  // The turns of an agent that may be shown in part.
  const AgentModel* agent(const std::string& id) const;

 private:
  Outcome attach(const op::AttachBlock& op);
  bool block_exists(const std::string& id) const;
  Outcome shown(const std::string& agent) const;

  std::map<std::string, AgentModel> agents_;
  std::map<std::string, BlockModel> blocks_;
};

}  // namespace varve::sim
