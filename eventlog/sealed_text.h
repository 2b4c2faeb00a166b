// Sealed text: how the personal texts of an erasable agent or block stand in the log, in snapshots and in the
// views. XChaCha20-Poly1305 under a key of the stream's own; who destroys the key destroys the text wherever
// it has been copied to.
//
//   varve-sealed:1:<base64 of nonce and ciphertext>      where the field is JSON: a JSON string of that
//
// Promises: the same text of the same command is sealed to the same bytes, in every attempt and in every run
// of a seed; another text never under the same nonce, for the nonce is a keyed hash of all that is sealed. A
// text opens only in the stream and the field that it was sealed for. Empty texts and empty JSON stay as they
// are: their length would tell as much. Never changes ids, times, roles, tags or labels (personal_texts.h
// says which fields are sealed). Pure.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "eventlog/ids.h"

namespace varve {

struct StreamKey {
  std::array<std::uint8_t, 32> bytes{};
  friend bool operator==(const StreamKey&, const StreamKey&) = default;
};
using StreamKeys = std::map<StreamId, StreamKey>;

enum class TextKind : unsigned char {
  text,
  json,  // Sealed, it is a JSON string.
};

// Whether a text has the form of a sealed one. Anybody can write such a text: only open() tells.
bool is_sealed(TextKind kind, std::string_view text);

class TextSeal {
 public:
  TextSeal(const StreamId& stream, const StreamKey& key);

  // `salt` tells commands apart, so that equal texts of different commands do not look equal.
  std::string seal(TextKind kind, std::string_view field, std::string_view salt, std::string_view text) const;
  // Nothing if it is not sealed by this key for this stream and field.
  std::optional<std::string> open(TextKind kind, std::string_view field, std::string_view text) const;

 private:
  std::string bound_to(std::string_view field) const;

  std::string stream_;
  StreamKey cipher_key_;
  StreamKey nonce_key_;
};

}  // namespace varve
