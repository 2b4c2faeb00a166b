#include "projections/postgres_key_store.h"

#include <sodium.h>

#include <array>

#include "projections/postgres_session.h"
#include "runtime/check.h"

namespace varve {
namespace {

constexpr std::size_t kKeyBytes = sizeof(StreamKey::bytes);

// From the system's entropy.
StreamKey drawn() {
  StreamKey key;
  static_assert(crypto_aead_xchacha20poly1305_ietf_KEYBYTES == kKeyBytes);
  crypto_aead_xchacha20poly1305_ietf_keygen(key.bytes.data());
  return key;
}

std::string hex_of(const StreamKey& key) {
  std::string hex(2 * kKeyBytes + 1, '\0');
  sodium_bin2hex(hex.data(), hex.size(), key.bytes.data(), kKeyBytes);
  hex.pop_back();
  return hex;
}

Result<StreamKey> key_from(std::string_view hex) {
  StreamKey key;
  std::size_t size = 0;
  const int done =
      sodium_hex2bin(key.bytes.data(), kKeyBytes, hex.data(), hex.size(), nullptr, &size, nullptr);
  if (done == 0 && size == kKeyBytes) return key;
  return Error{Errc::corrupt, "a key in the table stream_keys is damaged"};
}

std::string array_of(const std::vector<StreamId>& streams) {
  std::vector<std::optional<std::string>> items;
  items.reserve(streams.size());
  for (const StreamId& stream : streams) items.emplace_back(stream.value());
  return postgres_array(items);
}

Result<StreamKeys> keys_in(const PostgresRows& rows) {
  StreamKeys keys;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const auto key = key_from(rows.text(row, 1));
    if (!key) return key.error();
    keys.emplace(StreamId{std::string{rows.text(row, 0)}}, *key);
  }
  return keys;
}

Result<StreamKeys> read_keys(PostgresSession& session, const std::vector<StreamId>& streams) {
  const auto rows =
      session.ask("SELECT stream, encode(key, 'hex') FROM stream_keys WHERE stream = ANY ($1::text[])",
                  {array_of(streams)});
  if (!rows) return rows.error();
  return keys_in(*rows);
}

// Those that are there stay: whoever came second reads what the first has made.
Result<StreamKeys> create_keys(PostgresSession& session, const std::vector<StreamId>& streams) {
  std::vector<std::optional<std::string>> fresh;
  for (std::size_t i = 0; i < streams.size(); ++i) {
    fresh.emplace_back(hex_of(drawn()));
  }
  const auto written = session.write(
      "INSERT INTO stream_keys (stream, key) SELECT stream, decode(key, 'hex') "
      "FROM unnest($1::text[], $2::text[]) AS n (stream, key) ORDER BY stream ON CONFLICT DO NOTHING",
      {array_of(streams), postgres_array(fresh)});
  if (!written) return written.error();
  auto keys = read_keys(session, streams);
  if (!keys) return keys;
  for (const StreamId& stream : streams) {
    if (!keys->contains(stream)) {
      return Error{Errc::unavailable, "the key of '" + stream.value() + "' was destroyed meanwhile"};
    }
  }
  return keys;
}

Status destroy_keys(PostgresSession& session, const std::vector<StreamId>& streams) {
  const auto gone =
      session.write("DELETE FROM stream_keys WHERE stream = ANY ($1::text[])", {array_of(streams)});
  return gone ? ok() : Status{gone.error()};
}

}  // namespace

PostgresKeyStore::PostgresKeyStore(PostgresPool& pool) : pool_(pool) {
  // Now, while nobody seals or opens yet: it chooses how all of the library works. It aborts rather than to
  // draw without entropy.
  CHECK(sodium_init() >= 0);
}

Task<StreamKeys> PostgresKeyStore::create(std::vector<StreamId> streams) {
  std::function<Result<StreamKeys>(PostgresSession&)> job =
      [streams = std::move(streams)](PostgresSession& session) { return create_keys(session, streams); };
  co_return co_await pool_.run<StreamKeys>(how(), std::move(job));
}

Task<StreamKeys> PostgresKeyStore::read(std::vector<StreamId> streams) {
  std::function<Result<StreamKeys>(PostgresSession&)> job =
      [streams = std::move(streams)](PostgresSession& session) { return read_keys(session, streams); };
  co_return co_await pool_.run<StreamKeys>(how(), std::move(job));
}

Task<> PostgresKeyStore::destroy(std::vector<StreamId> streams) {
  std::function<Status(PostgresSession&)> job = [streams = std::move(streams)](PostgresSession& session) {
    return destroy_keys(session, streams);
  };
  co_return co_await pool_.run<Unit>(how(), std::move(job));
}

}  // namespace varve
