// SqliteKeyStore: the keys of erasable streams in a file of their own, keys.db, beside the log. It is made
// with the first key, readable by its owner only.
//
// Why not in control.db: that file may be lost at any time, and a power cut may take its newest rows. Keys
// may not: a rollback journal and synchronous=EXTRA make each of them durable before create() returns. And
// what is deleted here is overwritten with zeros (secure_delete), so that the bytes of a destroyed key are in
// no page of the file; the journal, which had them until the commit, is removed. What a file system or a disk
// keeps of removed files is beyond this program.
//
// Thread: the Env's; the file is used on Lane::store, by one job at a time.
#pragma once

#include <memory>
#include <string>

#include "eventlog/key_store.h"
#include "runtime/env.h"

namespace varve {

class SqliteKeyStore final : public KeyStore {
 public:
  // Opens keys.db in `directory` if it is there; blocks the caller meanwhile. `env` must outlive the store.
  // Errc::unavailable if it cannot be opened, Errc::corrupt if it is damaged or of a newer schema.
  static Result<std::unique_ptr<SqliteKeyStore>> open(Env& env, const std::string& directory);
  ~SqliteKeyStore() override;

  Task<StreamKeys> create(std::vector<StreamId> streams) override;
  Task<StreamKeys> read(std::vector<StreamId> streams) override;
  Task<> destroy(std::vector<StreamId> streams) override;

  static std::string path_of(const std::string& directory);

 private:
  class File;  // The connection; shared with the jobs that use it.
  SqliteKeyStore(Env& env, std::shared_ptr<File> file);

  Env& env_;
  std::shared_ptr<File> file_;
};

}  // namespace varve
