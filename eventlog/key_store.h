// KeyStore: the keys that the texts of erasable streams are sealed with, one to a stream. They are the only
// thing that the log does not hold and that cannot be made again from it: a key that is lost is a text that
// is lost. That is what they are for.
//
// Promises: a key is drawn by whoever makes it from the system's entropy, never from the log. What was
// reported as made survives a power cut, so that a text may be sealed with it at once; what was reported as
// destroyed does not come back. Every implementation passes tests/projections/key_store_contract.h.
#pragma once

#include <vector>

#include "eventlog/sealed_text.h"
#include "runtime/task.h"

namespace varve {

class KeyStore {
 public:
  KeyStore() = default;
  KeyStore(const KeyStore&) = delete;
  KeyStore& operator=(const KeyStore&) = delete;
  virtual ~KeyStore() = default;

  // The keys of these streams, all of them; a key that is there stays what it is. Durable once reported, all
  // or none. Two that ask for the same at once get the same.
  virtual Task<StreamKeys> create(std::vector<StreamId> streams) = 0;
  // A stream without a key is left out.
  virtual Task<StreamKeys> read(std::vector<StreamId> streams) = 0;
  // A stream without a key is no error. Durable once reported.
  virtual Task<> destroy(std::vector<StreamId> streams) = 0;
};

}  // namespace varve
