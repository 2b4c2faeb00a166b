// Addresses of the real Kafka and PostgreSQL that CTest started for the tests labelled `services`, or that
// `./dev services start` did. Tests share them: use topics and databases of your own. Never starts anything.
#pragma once

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

#include "runtime/json.h"

namespace varve::test {

struct ServiceAddresses {
  std::string kafka;  // HOST:PORT,HOST:PORT.. in plain text; everybody may do everything.
  std::string
      kafka_sasl;  // With SASL/PLAIN: users varve (varve-sasl) and stranger (stranger-sasl, no rights).
  std::string postgres_url;
};

// Throws if they do not run: a test that needs them fails, and never passes without them.
inline ServiceAddresses service_addresses() {
  const char* given = std::getenv("VARVE_SERVICES");
  const std::string path = given != nullptr ? given : VARVE_SOURCE_DIR "/build/services/services.json";
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto json = Json::parse(text);
  if (!json) throw std::runtime_error("no addresses in " + path + ": ./dev services start");
  const auto member = [&](const char* service, const char* name) {
    const Json* of_service = json->find(service);
    const Json* value = of_service == nullptr ? nullptr : of_service->find(name);
    if (value == nullptr || !value->is_string()) throw std::runtime_error(path + " lacks an address");
    return value->as_string();
  };
  return {.kafka = member("kafka", "bootstrap"),
          .kafka_sasl = member("kafka", "sasl"),
          .postgres_url = member("postgres", "url")};
}

}  // namespace varve::test
