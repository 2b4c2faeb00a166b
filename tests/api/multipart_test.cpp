#include "api/multipart.h"

#include <gtest/gtest.h>

namespace varve {
namespace {

constexpr const char* kType = "multipart/form-data; boundary=XX";

std::string part(const std::string& headers, const std::string& text) {
  return "--XX\r\n" + headers + "\r\n\r\n" + text + "\r\n";
}

std::string field(const std::string& name, const std::string& text) {
  return part("Content-Disposition: form-data; name=\"" + name + "\"", text);
}

std::string refusal(const std::string& type, const std::string& body) {
  const auto parts = parse_multipart(type, body);
  return parts ? "fine" : parts.error().message;
}

TEST(Multipart, TakesFieldsAndFilesApart) {
  const std::string body = "to be ignored\r\n" + field("a", "1") +
                           part(
                               "content-type: application/json\r\nCONTENT-DISPOSITION: form-data; "
                               "filename=\"a \\\"b\\\".af\"; name=file",
                               "{\"k\":\r\n--X}") +
                           field("empty", "") + "--XX--\r\nignored too";
  const auto parts = parse_multipart(kType, body);
  ASSERT_TRUE(parts) << parts.error().message;
  ASSERT_EQ(3U, parts->size());
  EXPECT_EQ("1", find_part(*parts, "a")->text);
  const FormPart* file = find_part(*parts, "file");
  EXPECT_EQ("{\"k\":\r\n--X}", file->text);
  EXPECT_EQ("a \"b\".af", file->filename);
  EXPECT_EQ("application/json", file->content_type);
  EXPECT_EQ("", find_part(*parts, "empty")->text);
  EXPECT_EQ(nullptr, find_part(*parts, "zzz"));
}

TEST(Multipart, TheLastOfTwoPartsWithOneNameCounts) {
  const std::string body = field("a", "1") + field("a", "2") + "--XX--";
  const auto parts = parse_multipart("Multipart/Form-Data ;x=y; Boundary=\"XX\"", body);
  ASSERT_TRUE(parts) << parts.error().message;
  EXPECT_EQ("2", find_part(*parts, "a")->text);
}

TEST(Multipart, AnEmptyFormHasNoParts) {
  const auto parts = parse_multipart(kType, "--XX--");
  ASSERT_TRUE(parts);
  EXPECT_TRUE(parts->empty());
}

TEST(Multipart, SaysWhatDoesNotFit) {
  const std::string end = "--XX--";
  EXPECT_EQ("body: expected content-type multipart/form-data, got 'application/json'",
            refusal("application/json", "{}"));
  EXPECT_EQ("body: the content-type multipart/form-data needs a boundary of 1 to 70 characters",
            refusal("multipart/form-data", end));
  EXPECT_EQ("body: the content-type multipart/form-data needs a boundary of 1 to 70 characters",
            refusal("multipart/form-data; boundary=" + std::string(71, 'x'), end));
  EXPECT_EQ("body: the boundary 'XX' is nowhere in it", refusal(kType, "nothing"));
  EXPECT_EQ("body: a boundary is followed neither by a line end nor by '--'",
            refusal(kType, "--XXY\r\n" + end));
  EXPECT_EQ("body: part 1 ('a') has no end: the body is cut off",
            refusal(kType, field("a", "1").substr(0, field("a", "1").size() - 2)));
  EXPECT_EQ("body: part 1 has no content-disposition with a name",
            refusal(kType, part("content-type: text/plain", "x") + end));
  EXPECT_EQ("body: part 1 has no content-disposition with a name",
            refusal(kType, part("content-disposition: form-data; name=\"a", "x") + end));
  EXPECT_EQ("body: part 1 has a header line without a colon", refusal(kType, part("zzz", "x") + end));
}

TEST(Multipart, PartsAndTheirHeadersAreLimited) {
  std::string body;
  for (std::size_t i = 0; i < kPartsMax; ++i) body += field("f", "x");
  EXPECT_EQ("fine", refusal(kType, body + "--XX--"));
  EXPECT_EQ("body: it has more than 16 parts", refusal(kType, body + field("f", "x") + "--XX--"));
  const std::string named = "content-disposition: form-data; name=a\r\nx: ";
  const std::string largest = named + std::string(kPartHeaderBytesMax - named.size(), 'x');
  EXPECT_EQ("fine", refusal(kType, part(largest, "x") + "--XX--"));
  EXPECT_EQ("body: part 1 has no end of its headers within 8192 bytes",
            refusal(kType, part(largest + "x", "x") + "--XX--"));
}

}  // namespace
}  // namespace varve
