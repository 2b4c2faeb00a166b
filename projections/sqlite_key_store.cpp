#include "projections/sqlite_key_store.h"

#include <sodium.h>

#include <algorithm>
#include <filesystem>

#include "projections/sqlite_migrate.h"
#include "projections/sqlite_view_reader.h"
#include "runtime/suspend.h"

namespace varve {
namespace {

std::string_view bytes_of(const StreamKey& key) {
  return {reinterpret_cast<const char*>(key.bytes.data()), key.bytes.size()};
}

// From the system's entropy.
StreamKey drawn() {
  StreamKey key;
  static_assert(crypto_aead_xchacha20poly1305_ietf_KEYBYTES == sizeof(key.bytes));
  crypto_aead_xchacha20poly1305_ietf_keygen(key.bytes.data());
  return key;
}

}  // namespace

// Its methods run on Lane::store, one at a time.
class SqliteKeyStore::File {
 public:
  explicit File(std::string path) : path_(std::move(path)) {}

  Status open_if_there() {
    std::error_code fault;
    const bool there = std::filesystem::exists(path_, fault);
    if (fault) return Error{Errc::unavailable, "cannot look for " + path_ + ": " + fault.message()};
    return there ? open(sqlite::Access::read_write) : ok();
  }

  Result<StreamKeys> create(const std::vector<StreamId>& streams) {
    if (!connection_.is_open()) {
      if (const auto opened = open(sqlite::Access::create); !opened) return opened.error();
    }
    StreamKeys made;
    const Status done = in_transaction([this, &streams, &made]() -> Status {
      for (const StreamId& stream : streams) {
        auto key = key_of(stream);
        if (!key) return key.error();
        if (!*key) {
          *key = drawn();
          if (const auto written = write(stream, **key); !written) return written;
        }
        made.emplace(stream, **key);
      }
      return ok();
    });
    if (!done) return done.error();
    return made;
  }

  Result<StreamKeys> read(const std::vector<StreamId>& streams) {
    StreamKeys found;
    if (!connection_.is_open()) return found;
    for (const StreamId& stream : streams) {
      const auto key = key_of(stream);
      if (!key) return key.error();
      if (*key) found.emplace(stream, **key);
    }
    return found;
  }

  Status destroy(const std::vector<StreamId>& streams) {
    if (!connection_.is_open()) return ok();
    return in_transaction([this, &streams]() -> Status {
      for (const StreamId& stream : streams) {
        const auto prepared = connection_.statement("DELETE FROM stream_keys WHERE stream = ?");
        if (!prepared) return prepared.error();
        (*prepared)->bind_text(1, stream.value());
        if (const auto done = (*prepared)->run(); !done) return done;
      }
      return ok();
    });
  }

 private:
  Status open(sqlite::Access access) {
    if (const auto opened = connection_.open(path_, access); !opened) return opened;
    const Status ready = prepare();
    if (!ready) connection_ = SqliteConnection{};
    return ready;
  }

  Status prepare() {
    for (const char* pragma :
         {"PRAGMA journal_mode = DELETE", "PRAGMA synchronous = EXTRA", "PRAGMA secure_delete = ON"}) {
      if (const auto set = connection_.db().exec(pragma); !set) return set;
    }
    if (const auto migrated = migrate(connection_.db(), "keys", path_); !migrated) return migrated;
    std::error_code fault;
    using std::filesystem::perms;
    std::filesystem::permissions(path_, perms::owner_read | perms::owner_write, fault);
    if (fault) return Error{Errc::unavailable, "cannot protect " + path_ + ": " + fault.message()};
    return ok();
  }

  Result<std::optional<StreamKey>> key_of(const StreamId& stream) {
    const auto prepared = connection_.statement("SELECT key FROM stream_keys WHERE stream = ?");
    if (!prepared) return prepared.error();
    sqlite::Statement& found = **prepared;
    found.bind_text(1, stream.value());
    const auto stepped = found.step();
    if (!stepped) return stepped.error();
    std::optional<StreamKey> key;
    if (*stepped) {
      const std::string_view bytes = found.blob(0);
      if (bytes.size() != sizeof(StreamKey::bytes)) {
        found.reset();
        return Error{Errc::corrupt, "the key of '" + stream.value() + "' in " + path_ + " is damaged"};
      }
      key.emplace();
      std::copy(bytes.begin(), bytes.end(), key->bytes.begin());
    }
    found.reset();
    return key;
  }

  Status write(const StreamId& stream, const StreamKey& key) {
    const auto prepared = connection_.statement("INSERT INTO stream_keys (stream, key) VALUES (?, ?)");
    if (!prepared) return prepared.error();
    (*prepared)->bind_text(1, stream.value()).bind_blob(2, bytes_of(key));
    return (*prepared)->run();
  }

  // A COMMIT that fails may have happened. That is no matter: what is asked again finds it.
  template <class Work>
  Status in_transaction(const Work& work) {
    if (const auto begun = connection_.run("BEGIN IMMEDIATE"); !begun) return begun;
    Status done = work();
    if (done) done = connection_.run("COMMIT");
    if (!done && connection_.db().in_transaction()) {
      ignore_error(connection_.run("ROLLBACK"), "without COMMIT nothing is written, whatever this says");
    }
    return done;
  }

  std::string path_;
  SqliteConnection connection_;
};

SqliteKeyStore::SqliteKeyStore(Env& env, std::shared_ptr<File> file) : env_(env), file_(std::move(file)) {}
SqliteKeyStore::~SqliteKeyStore() = default;

std::string SqliteKeyStore::path_of(const std::string& directory) {
  return directory + "/keys.db";
}

Result<std::unique_ptr<SqliteKeyStore>> SqliteKeyStore::open(Env& env, const std::string& directory) {
  // Now, while nobody seals or opens yet: it chooses how all of the library works.
  if (sodium_init() < 0) return Error{Errc::unavailable, "no key can be made: libsodium does not start"};
  auto file = std::make_shared<File>(path_of(directory));
  if (const auto opened = file->open_if_there(); !opened) return opened.error();
  return std::unique_ptr<SqliteKeyStore>(new SqliteKeyStore{env, std::move(file)});
}

Task<StreamKeys> SqliteKeyStore::create(std::vector<StreamId> streams) {
  std::function<Result<StreamKeys>()> job = [file = file_, streams = std::move(streams)] {
    return file->create(streams);
  };
  co_return co_await offload<StreamKeys>(env_, Lane::store, std::move(job));
}

Task<StreamKeys> SqliteKeyStore::read(std::vector<StreamId> streams) {
  std::function<Result<StreamKeys>()> job = [file = file_, streams = std::move(streams)] {
    return file->read(streams);
  };
  co_return co_await offload<StreamKeys>(env_, Lane::store, std::move(job));
}

Task<> SqliteKeyStore::destroy(std::vector<StreamId> streams) {
  std::function<Status()> job = [file = file_, streams = std::move(streams)] {
    return file->destroy(streams);
  };
  co_return co_await offload<Unit>(env_, Lane::store, std::move(job));
}

}  // namespace varve
