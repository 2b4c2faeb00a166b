// An owner's lines are read as they are written, and nothing else is.
#include "sim/owner_trace.h"

#include <gtest/gtest.h>

namespace varve::sim {
namespace {

TEST(OwnerTrace, EveryLineIsReadAsItWasWritten) {
  const std::string id = to_hex(command_id_from_text("one"));
  for (const std::string& text : {
           std::string("owner p=3 reading from=17"),
           "owner p=0 claim-sent e=2 id=" + id,
           std::string("owner p=0 read o=17 kind=commit v=admitted"),
           std::string("owner p=0 read o=18 kind=claim v=fenced"),
           std::string("owner p=0 read o=19 kind=ruling v=gap"),
           "owner p=1 serve e=2 id=" + id,
           std::string("owner p=1 stop e=2"),
           "owner p=0 commit-sent e=2 n=7 cmd=" + id + " stream=agent-1 seq=4 next=20",
           "owner p=0 done e=2 n=7 cmd=" + id + " o=20",
           "owner p=0 never e=2 n=8 cmd=" + id,
           "owner p=0 not-written e=2 n=8 cmd=" + id,
           "owner p=0 unknown e=2 n=9 cmd=" + id,
           std::string("owner p=0 end"),
       }) {
    const auto line = owner_line(text);
    ASSERT_TRUE(line.has_value()) << text;
    ASSERT_TRUE(line->has_value()) << text;
    EXPECT_EQ(text, to_text(**line));
  }
}

TEST(OwnerTrace, OtherLinesAreNobodysAndWrongOnesAreCorrupt) {
  EXPECT_EQ(std::nullopt, *owner_line("log: warning: something"));
  EXPECT_EQ(std::nullopt, *owner_line(""));
  for (const char* text :
       {"owner p=x end", "owner p=0 dances", "owner p=0 stop", "owner p=0 stop e=", "owner p=0 stop e=1x",
        "owner p=0 stop e=1 more", "owner p=0 serve e=1 id=12", "owner p=0 read o=1 kind=hat v=admitted",
        "owner p=0 read o=1 kind=claim v=perhaps", "owner p=4000000000000 end"}) {
    EXPECT_FALSE(owner_line(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace varve::sim
