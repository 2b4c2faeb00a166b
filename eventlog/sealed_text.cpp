#include "eventlog/sealed_text.h"

#include <sodium.h>

#include "runtime/check.h"

namespace varve {
namespace {

constexpr std::string_view kPrefix = "varve-sealed:1:";
constexpr std::size_t kNonceBytes = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
constexpr std::size_t kTagBytes = crypto_aead_xchacha20poly1305_ietf_ABYTES;
constexpr int kBase64 = sodium_base64_VARIANT_ORIGINAL_NO_PADDING;
static_assert(crypto_aead_xchacha20poly1305_ietf_KEYBYTES == sizeof(StreamKey::bytes));

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* bytes_of(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

// A keyed hash, BLAKE2b.
void hash_into(unsigned char* out, std::size_t size, std::string_view text, const StreamKey& key) {
  const int done =
      crypto_generichash(out, size, bytes_of(text), text.size(), key.bytes.data(), key.bytes.size());
  CHECK(done == 0);
}

StreamKey derived(const StreamKey& key, std::string_view purpose) {
  StreamKey out;
  hash_into(out.bytes.data(), out.bytes.size(), purpose, key);
  return out;
}

// Length first, so that no two lists of texts are hashed alike.
void add_text(std::string& out, std::string_view text) {
  out.append(std::to_string(text.size())).append(":").append(text);
}

bool is_empty(TextKind kind, std::string_view text) {
  if (kind == TextKind::text) return text.empty();
  return text.empty() || text == "null" || text == "{}" || text == "[]" || text == "\"\"";
}

// Without the quotes of JSON; nothing if it has not the form of a sealed text.
std::optional<std::string_view> token_of(TextKind kind, std::string_view text) {
  if (kind == TextKind::json) {
    if (text.size() < 2 || text.front() != '"' || text.back() != '"') return std::nullopt;
    text = text.substr(1, text.size() - 2);
  }
  if (!text.starts_with(kPrefix)) return std::nullopt;
  return text.substr(kPrefix.size());
}

}  // namespace

bool is_sealed(TextKind kind, std::string_view text) {
  return token_of(kind, text).has_value();
}

TextSeal::TextSeal(const StreamId& stream, const StreamKey& key)
    : stream_(stream.value()),
      cipher_key_(derived(key, "varve sealed text: cipher")),
      nonce_key_(derived(key, "varve sealed text: nonce")) {}

std::string TextSeal::bound_to(std::string_view field) const {
  std::string bound;
  add_text(bound, stream_);
  add_text(bound, field);
  return bound;
}

std::string TextSeal::seal(TextKind kind, std::string_view field, std::string_view salt,
                           std::string_view text) const {
  if (is_empty(kind, text)) return std::string(text);
  const std::string bound = bound_to(field);
  std::string hashed = bound;
  add_text(hashed, salt);
  add_text(hashed, text);
  std::string box(kNonceBytes + text.size() + kTagBytes, '\0');
  hash_into(bytes_of(box), kNonceBytes, hashed, nonce_key_);
  unsigned long long length = 0;
  crypto_aead_xchacha20poly1305_ietf_encrypt(bytes_of(box) + kNonceBytes, &length, bytes_of(text),
                                             text.size(), bytes_of(bound), bound.size(), nullptr,
                                             bytes_of(box), cipher_key_.bytes.data());
  CHECK(length == text.size() + kTagBytes);
  std::string base64(sodium_base64_encoded_len(box.size(), kBase64), '\0');
  sodium_bin2base64(base64.data(), base64.size(), bytes_of(box), box.size(), kBase64);
  base64.pop_back();  // It counts a terminating zero.
  std::string sealed;
  sealed.reserve(kPrefix.size() + base64.size() + 2);
  if (kind == TextKind::json) sealed.push_back('"');
  sealed.append(kPrefix).append(base64);
  if (kind == TextKind::json) sealed.push_back('"');
  return sealed;
}

std::optional<std::string> TextSeal::open(TextKind kind, std::string_view field,
                                          std::string_view text) const {
  const auto token = token_of(kind, text);
  if (!token) return std::nullopt;
  std::string box(token->size() / 4 * 3 + 3, '\0');
  std::size_t size = 0;
  const char* end = nullptr;
  if (sodium_base642bin(bytes_of(box), box.size(), token->data(), token->size(), nullptr, &size, &end,
                        kBase64) != 0) {
    return std::nullopt;
  }
  if (end != token->data() + token->size() || size < kNonceBytes + kTagBytes) return std::nullopt;
  const std::string bound = bound_to(field);
  std::string opened(size - kNonceBytes - kTagBytes, '\0');
  unsigned long long length = 0;
  const int done = crypto_aead_xchacha20poly1305_ietf_decrypt(
      bytes_of(opened), &length, nullptr, bytes_of(box) + kNonceBytes, size - kNonceBytes, bytes_of(bound),
      bound.size(), bytes_of(box), cipher_key_.bytes.data());
  if (done != 0) return std::nullopt;
  opened.resize(length);
  return opened;
}

}  // namespace varve
