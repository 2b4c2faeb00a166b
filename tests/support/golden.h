// Golden files: expected text under tests/golden/, reviewed with git diff, rewritten by UPDATE_GOLDEN=1.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace varve::test {

inline std::string golden_path(const std::string& name) {
  return std::string(VARVE_SOURCE_DIR) + "/tests/golden/" + name;
}

inline testing::AssertionResult matches_golden(const std::string& name, const std::string& actual) {
  const std::string path = golden_path(name);
  if (std::getenv("UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path, std::ios::binary) << actual;
    return testing::AssertionSuccess();
  }
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return testing::AssertionFailure() << path << " is missing; run with UPDATE_GOLDEN=1 and review it";
  std::ostringstream expected;
  expected << file.rdbuf();
  if (expected.str() == actual) return testing::AssertionSuccess();
  return testing::AssertionFailure() << path << " differs.\nexpected:\n"
                                     << expected.str() << "\nactual:\n"
                                     << actual;
}

inline std::string read_golden(const std::string& name) {
  std::ifstream file(golden_path(name), std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace varve::test

#define EXPECT_GOLDEN(name, actual) EXPECT_TRUE(::varve::test::matches_golden(name, actual))
