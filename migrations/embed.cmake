# Writes OUTPUT, a C++ file that holds the SQL files of FILES (named <number>_<series>[_what].sql) as string
# literals, ordered by number. STORE is sqlite (every series is a database of its own and counts from 1) or postgres
# (one database: all files count together). Run by the build whenever one of them changes.

string(REPLACE "," ";" FILES "${FILES}")
set(databases "")
foreach(file IN LISTS FILES)
  get_filename_component(name "${file}" NAME_WE)
  if(NOT name MATCHES "^([0-9][0-9][0-9][0-9])_([a-z]+)(_[a-z0-9_]+)?$")
    message(FATAL_ERROR "${file}: a migration is named <four digits>_<series>[_what].sql")
  endif()
  if(STORE STREQUAL "postgres")
    list(APPEND databases "postgres")
  else()
    list(APPEND databases "${CMAKE_MATCH_2}")
  endif()
endforeach()
list(REMOVE_DUPLICATES databases)
list(SORT databases)
list(SORT FILES)

set(tables "")
set(choices "")
foreach(database IN LISTS databases)
  set(expected 0)
  string(APPEND tables "constexpr Migration k_${database}[] = {\n")
  foreach(file IN LISTS FILES)
    get_filename_component(name "${file}" NAME_WE)
    string(REGEX MATCH "^([0-9]+)_([a-z]+)" matched "${name}")
    if(NOT STORE STREQUAL "postgres" AND NOT CMAKE_MATCH_2 STREQUAL database)
      continue()
    endif()
    set(number "${CMAKE_MATCH_1}")
    string(REGEX REPLACE "^0+" "" number "${number}")
    math(EXPR expected "${expected} + 1")
    if(NOT number EQUAL expected)
      message(FATAL_ERROR "${file}: the next migration of ${database} must have number ${expected}")
    endif()
    file(READ "${file}" sql)
    string(APPEND tables "    {${number}, \"${database}\", \"${name}\", R\"sql(${sql})sql\"},\n")
  endforeach()
  string(APPEND tables "};\n")
  string(APPEND choices "  if (database == \"${database}\") return k_${database};\n")
endforeach()

if(STORE STREQUAL "postgres")
  set(function "std::span<const Migration> postgres_migrations() {\n  return k_postgres;\n}")
else()
  set(function
    "std::span<const Migration> sqlite_migrations(std::string_view database) {\n${choices}  return {};\n}")
endif()

file(WRITE "${OUTPUT}.new"
"// Generated from migrations/${STORE} by migrations/embed.cmake.
#include \"migrations/migrations.h\"

namespace varve {
namespace {
${tables}}  // namespace

${function}

}  // namespace varve
")
file(RENAME "${OUTPUT}.new" "${OUTPUT}")
