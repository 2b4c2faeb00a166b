#include "projections/postgres_errors.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <pqxx/except>
#include <span>
#include <string>

namespace varve {

namespace {

struct Rule {
  std::string_view prefix;  // Of the SQLSTATE. The first rule that fits counts.
  Errc code;
  const char* sentence;
};

// The connection ends with these, or what became of the statement is not known: as if it had been lost.
constexpr std::array kLost{
    Rule{"08", Errc::unavailable, "the connection to PostgreSQL was lost"},
    Rule{"40003", Errc::unavailable, "PostgreSQL does not know what became of the statement"},
    Rule{"57P03", Errc::unavailable, "PostgreSQL is starting or stopping"},
    Rule{"57P04", Errc::unavailable, "the database was dropped"},
    Rule{"57P05", Errc::unavailable, "PostgreSQL ended an idle connection"},
    Rule{"57P", Errc::unavailable, "PostgreSQL is shutting down"},
    Rule{"25P03", Errc::unavailable, "PostgreSQL ended a transaction that was idle for too long"},
};

// The statement failed as a whole: certainly nothing was written.
constexpr std::array kRefused{
    Rule{"40", Errc::unavailable, "PostgreSQL rolled the transaction back because of another one"},
    Rule{"53100", Errc::unavailable, "the disk of PostgreSQL is full"},
    Rule{"53200", Errc::unavailable, "PostgreSQL is out of memory"},
    Rule{"53300", Errc::unavailable, "PostgreSQL has no connection left (its max_connections)"},
    Rule{"53", Errc::unavailable, "PostgreSQL lacks a resource"},
    Rule{"54", Errc::resource_exhausted, "a value or a statement is larger than PostgreSQL can store"},
    Rule{"55P03", Errc::unavailable, "another transaction holds the lock for too long"},
    Rule{"55", Errc::unavailable, "something in PostgreSQL is in use"},
    Rule{"57014", Errc::unavailable, "the statement took longer than it may, or was cancelled"},
    Rule{"57", Errc::unavailable, "PostgreSQL was interrupted by its operator"},
    Rule{"58", Errc::unavailable, "PostgreSQL cannot read or write its files"},
    Rule{"25006", Errc::unavailable,
         "PostgreSQL takes no writes at present (read-only: a standby, or set so)"},
    Rule{"25", Errc::unavailable, "the transaction had failed before"},
    Rule{"28P01", Errc::invalid_argument, "PostgreSQL refuses the password"},
    Rule{"28", Errc::invalid_argument, "PostgreSQL refuses this user (the user's name, or its pg_hba.conf)"},
    Rule{"3D", Errc::invalid_argument, "PostgreSQL has no such database"},
    Rule{"42501", Errc::invalid_argument, "PostgreSQL gives this user no right to do that"},
    Rule{"42P06", Errc::conflict, "PostgreSQL has something of that name already"},
    Rule{"42P07", Errc::conflict, "PostgreSQL has something of that name already"},
    Rule{"42710", Errc::conflict, "PostgreSQL has something of that name already"},
    Rule{"3F", Errc::corrupt, "the schema of the database is not this program's: run varve migrate"},
    Rule{"42", Errc::corrupt, "the schema of the database is not this program's: run varve migrate"},
    Rule{"23505", Errc::conflict, "PostgreSQL has a row with that key already"},
    Rule{"23", Errc::corrupt, "a row breaks a rule of the schema"},
    Rule{"22", Errc::invalid_argument, "PostgreSQL does not store such a value"},
    Rule{"0A", Errc::invalid_argument, "PostgreSQL does not support that"},
    Rule{"XX001", Errc::corrupt, "PostgreSQL found damaged data"},
    Rule{"XX002", Errc::corrupt, "PostgreSQL found a damaged index"},
    Rule{"XX", Errc::unavailable, "PostgreSQL failed inside"},
    Rule{"F0", Errc::unavailable, "PostgreSQL cannot read its configuration"},
    Rule{"", Errc::unavailable, "PostgreSQL refused the statement"},
};

const Rule* find(std::span<const Rule> rules, std::string_view sqlstate) {
  for (const Rule& rule : rules) {
    if (sqlstate.starts_with(rule.prefix)) return &rule;
  }
  return nullptr;
}

// Of "ERROR:  relation "x" does not exist\nLINE 1: ..": what stands behind the severity, one line of it.
std::string_view primary(std::string_view message) {
  message = message.substr(0, message.find('\n'));
  const auto mark = message.find(":  ");
  if (mark != std::string_view::npos && mark < message.find('"')) message.remove_prefix(mark + 3);
  return message;
}

std::string with_detail(std::string_view sentence, std::string_view detail) {
  std::string text{sentence};
  if (!detail.empty()) text.append(": ").append(detail);
  return text;
}

Error lost(AtStake stake, std::string_view detail) {
  if (stake == AtStake::nothing)
    return {Errc::unavailable, with_detail("the connection to PostgreSQL was lost", detail)};
  return {Errc::outcome_unknown,
          with_detail("the connection to PostgreSQL was lost before it said whether the statement was done",
                      detail)};
}

// Not what the server said: a bug of ours, or an answer of another shape than the statement asked for.
Error bug(const std::exception& thrown, AtStake stake) {
  const Errc code = stake == AtStake::commit ? Errc::outcome_unknown : Errc::corrupt;
  return {code, with_detail("libpqxx was used wrongly, or gave an answer of another shape", thrown.what())};
}

// libpqxx keeps the SQLSTATE of some errors only in the type of its exception.
std::string_view sqlstate_of(const std::exception& thrown) {
  if (dynamic_cast<const pqxx::serialization_failure*>(&thrown) != nullptr) return "40001";
  if (dynamic_cast<const pqxx::deadlock_detected*>(&thrown) != nullptr) return "40P01";
  if (dynamic_cast<const pqxx::statement_completion_unknown*>(&thrown) != nullptr) return "40003";
  if (dynamic_cast<const pqxx::transaction_rollback*>(&thrown) != nullptr) return "40000";
  if (dynamic_cast<const pqxx::too_many_connections*>(&thrown) != nullptr) return "53300";
  if (dynamic_cast<const pqxx::insufficient_privilege*>(&thrown) != nullptr) return "42501";
  if (dynamic_cast<const pqxx::disk_full*>(&thrown) != nullptr) return "53100";
  if (dynamic_cast<const pqxx::out_of_memory*>(&thrown) != nullptr) return "53200";
  if (dynamic_cast<const pqxx::insufficient_resources*>(&thrown) != nullptr) return "53000";
  if (dynamic_cast<const pqxx::unique_violation*>(&thrown) != nullptr) return "23505";
  if (dynamic_cast<const pqxx::integrity_constraint_violation*>(&thrown) != nullptr) return "23000";
  if (dynamic_cast<const pqxx::data_exception*>(&thrown) != nullptr) return "22000";
  if (dynamic_cast<const pqxx::syntax_error*>(&thrown) != nullptr) return "42000";
  if (dynamic_cast<const pqxx::feature_not_supported*>(&thrown) != nullptr) return "0A000";
  return {};
}

bool is_sqlstate(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isdigit(c) || std::isupper(c); });
}

}  // namespace

Error postgres_error_of(std::string_view sqlstate, std::string_view message, AtStake stake) {
  if (const Rule* rule = find(kLost, sqlstate)) {
    return {stake == AtStake::commit ? Errc::outcome_unknown : rule->code,
            with_detail(rule->sentence, primary(message))};
  }
  const Rule* rule = find(kRefused, sqlstate);
  return {rule->code, with_detail(rule->sentence, primary(message))};
}

Error postgres_error(const std::exception& thrown, AtStake stake) {
  if (dynamic_cast<const pqxx::in_doubt_error*>(&thrown) != nullptr) return lost(AtStake::commit, {});
  if (const auto* refused = dynamic_cast<const pqxx::sql_error*>(&thrown)) {
    const std::string_view sqlstate = refused->sqlstate().empty() ? sqlstate_of(thrown) : refused->sqlstate();
    return postgres_error_of(sqlstate, thrown.what(), stake);
  }
  if (const std::string_view sqlstate = sqlstate_of(thrown); !sqlstate.empty()) {
    return postgres_error_of(sqlstate, thrown.what(), stake);
  }
  // broken_connection says nothing that helps; failure is what libpqxx throws when there is no answer at all.
  if (dynamic_cast<const pqxx::broken_connection*>(&thrown) != nullptr) return lost(stake, {});
  if (dynamic_cast<const pqxx::failure*>(&thrown) != nullptr) return lost(stake, primary(thrown.what()));
  return bug(thrown, stake);
}

Error postgres_connect_error(std::string_view text) {
  // .. failed: FATAL:  28P01: password authentication failed for user "x"\nLOCATION:  ..
  for (std::size_t mark = text.find(":  "); mark != std::string_view::npos;
       mark = text.find(":  ", mark + 1)) {
    const std::string_view behind = text.substr(mark + 3);
    if (behind.size() < 7 || behind.substr(5, 2) != ": " || !is_sqlstate(behind.substr(0, 5))) continue;
    const std::string_view detail = behind.substr(7, behind.find('\n') - 7);
    return postgres_error_of(behind.substr(0, 5), detail, AtStake::nothing);
  }
  std::string detail{text};
  while (!detail.empty() && detail.back() == '\n') detail.pop_back();
  std::replace(detail.begin(), detail.end(), '\n', ' ');
  return {Errc::unavailable, with_detail("cannot connect to PostgreSQL", detail)};
}

}  // namespace varve
