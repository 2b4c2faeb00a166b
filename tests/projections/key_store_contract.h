// The exam that every KeyStore takes. A test file names its implementation by a KeyStoreCase and instantiates
// KeyStoreContract; the questions are in key_store_contract.cpp.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "eventlog/key_store.h"
#include "runtime/real_env.h"
#include "tests/support/run.h"

namespace varve::test {

// What outlives a store object.
class KeyStoreWorld {
 public:
  virtual ~KeyStoreWorld() = default;
  virtual std::unique_ptr<KeyStore> open(Env& env) = 0;
};

struct KeyStoreCase {
  std::string name;
  std::function<std::unique_ptr<KeyStoreWorld>()> make_world;

  friend std::ostream& operator<<(std::ostream& out, const KeyStoreCase& store) { return out << store.name; }
};

inline std::string name_of_key_case(const ::testing::TestParamInfo<KeyStoreCase>& info) {
  return info.param.name;
}

class KeyStoreContract : public ::testing::TestWithParam<KeyStoreCase> {
 protected:
  KeyStoreContract() : world_(GetParam().make_world()), env_(std::make_unique<RealEnv>()) {
    store_ = world_->open(*env_);
  }
  void TearDown() override { env_->shut_down(); }

  void restart() {
    env_->shut_down();
    store_.reset();
    env_ = std::make_unique<RealEnv>();
    store_ = world_->open(*env_);
  }

  static std::vector<StreamId> streams(const std::vector<std::string>& names) {
    std::vector<StreamId> ids;
    for (const std::string& name : names) ids.emplace_back(name);
    return ids;
  }
  StreamKeys create(const std::vector<std::string>& names) {
    const auto keys = run(*env_, store_->create(streams(names)));
    EXPECT_TRUE(keys) << to_string(keys.error());
    return keys ? *keys : StreamKeys{};
  }
  StreamKeys read(const std::vector<std::string>& names) {
    const auto keys = run(*env_, store_->read(streams(names)));
    EXPECT_TRUE(keys) << to_string(keys.error());
    return keys ? *keys : StreamKeys{};
  }
  void destroy(const std::vector<std::string>& names) {
    const auto done = run(*env_, store_->destroy(streams(names)));
    EXPECT_TRUE(done) << to_string(done.error());
  }

  std::unique_ptr<KeyStoreWorld> world_;
  std::unique_ptr<RealEnv> env_;
  std::unique_ptr<KeyStore> store_;
};

}  // namespace varve::test
