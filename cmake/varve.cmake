# Everything that a target of ours needs, said once.

find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(SQLite3 3.40 REQUIRED)
find_package(tl-expected REQUIRED)
find_package(RapidJSON REQUIRED)
find_package(CLI11 REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd>=1.4)
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
pkg_check_modules(RDKAFKA REQUIRED IMPORTED_TARGET rdkafka>=2.0)
pkg_check_modules(PQXX REQUIRED IMPORTED_TARGET libpqxx>=6.4)
pkg_check_modules(PQ REQUIRED IMPORTED_TARGET libpq)  # Below libpqxx: how a connection is made.
find_package(prometheus-cpp REQUIRED)  # 1.0; its file names no version.
pkg_check_modules(TOMLPLUSPLUS REQUIRED tomlplusplus>=3.3)  # Headers alone; nothing to link.

add_library(varve_options INTERFACE)
target_include_directories(varve_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(varve_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast -Wnon-virtual-dtor
  -Wno-missing-field-initializers -fno-omit-frame-pointer)
target_compile_definitions(varve_options INTERFACE
  BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION
  BOOST_ASIO_DISABLE_BOOST_COROUTINE RAPIDJSON_HAS_STDSTRING=1)
if(VARVE_WERROR)
  target_compile_options(varve_options INTERFACE -Werror)
endif()
if(VARVE_SANITIZE)
  # RapidJSON 1.1 compares null with an offset of null; recycled coroutine frames would hide errors from ASan.
  target_compile_options(varve_options INTERFACE -fsanitize=${VARVE_SANITIZE})
  target_link_options(varve_options INTERFACE -fsanitize=${VARVE_SANITIZE})
  target_compile_definitions(varve_options INTERFACE BOOST_ASIO_DISABLE_AWAITABLE_FRAME_RECYCLING)
  if(VARVE_SANITIZE MATCHES "undefined")
    target_compile_options(varve_options INTERFACE -fno-sanitize=pointer-overflow -fno-sanitize-recover=undefined)
  endif()
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_link_options(varve_options INTERFACE -fuse-ld=lld)
endif()
target_link_libraries(varve_options INTERFACE Threads::Threads)

# varve_library(<folder> SOURCES ... DEPS ...): one folder, one target, one list of what it may use.
function(varve_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC varve_options ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
endfunction()

# varve_test(<folder> SOURCES ... DEPS ...): one test binary per folder, labelled, so `ctest -L actors` works.
function(varve_test folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  set(target test_${folder})
  add_executable(${target} ${ARG_SOURCES})
  target_link_libraries(${target} PRIVATE varve_options test_support ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  target_precompile_headers(${target} PRIVATE <gtest/gtest.h> <string> <vector> <functional> <memory>)
  target_compile_definitions(${target} PRIVATE VARVE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  add_test(NAME ${folder} COMMAND ${target})
  set_tests_properties(${folder} PROPERTIES LABELS ${folder} TIMEOUT 600)
endfunction()
