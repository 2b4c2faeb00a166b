#include "sim/shown.h"

#include <algorithm>
#include <vector>

namespace varve::sim {

std::string member_text(const Json& object, std::string_view key) {
  const Json* found = object.find(key);
  if (found == nullptr || found->is_null()) return "-";
  return found->is_string() ? found->as_string() : found->dump();
}

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
    if (plain) {
      out += c;
    } else {
      out += '%';
      out += kDigits[byte / 16];
      out += kDigits[byte % 16];
    }
  }
  return out;
}

std::string shown_agent(const Json& agent) {
  std::string text;
  for (const char* key : {"description", "system", "agent_type", "tags", "metadata"}) {
    text += std::string(key) + "=" + member_text(agent, key) + "\n";
  }
  std::vector<std::string> blocks;
  const Json* all = agent.find("blocks");
  for (const Json& block : all != nullptr ? all->items() : std::vector<Json>{}) {
    blocks.push_back("block " + member_text(block, "label") + "=" + member_text(block, "value") + "\n");
  }
  std::sort(blocks.begin(), blocks.end());
  for (const std::string& block : blocks) text += block;
  return text;
}

std::string shown_messages(const Json& messages) {
  std::string text;
  for (const Json& message : messages.items()) {
    text += member_text(message, "message_type");
    for (const char* key : {"content", "reasoning", "tool_return", "status"})
      text += " " + member_text(message, key);
    text += "\n";
  }
  return text;
}

}  // namespace varve::sim
