#include "sim/trace_html.h"

#include <algorithm>

#include "runtime/json.h"

namespace varve::sim {
namespace {

// A string of JSON that may stand in a script of HTML.
std::string quoted(const std::string& text) {
  std::string safe;
  for (const char letter : Json::string(text).dump()) {
    if (letter == '<') {
      safe += "\\u003c";
    } else {
      safe += letter;
    }
  }
  return safe;
}

// "[a,b]" of what is written one by one.
class List {
 public:
  void add(const std::string& item) { text_ += (text_.size() == 1 ? "" : ",\n") + item; }
  std::string take() { return std::move(text_) + "]"; }

 private:
  std::string text_ = "[";
};

std::string number(std::uint64_t value) {
  return std::to_string(value);
}

class Writer {
 public:
  explicit Writer(const TracePage& page) : page_(page), model_(model_of(page.lines)) {
    if (page.lines.size() > kTraceLinesMax) skipped_ = page.lines.size() - kTraceLinesMax;
    if (!page.lines.empty()) begin_ = page.lines[skipped_].at;
  }

  std::string data() {
    List violations;
    for (const Violation& violation : page_.violations) {
      violations.add("[" + quoted(violation.invariant) + "," + quoted(violation.what) + "]");
    }
    List lanes;
    for (const std::string& lane : model_.lanes) lanes.add(quoted(lane));
    List kinds;
    for (std::size_t i = 0; i < kTraceKinds; ++i) kinds.add(quoted(to_string(static_cast<TraceKind>(i))));
    return "{\"title\":" + quoted(page_.title) + ",\"config\":" + quoted(page_.config) +
           ",\"begin\":" + number(static_cast<std::uint64_t>(begin_.value())) +
           ",\"end\":" + (page_.lines.empty() ? "0" : time(page_.lines.back().at)) +
           ",\"left_out\":" + number(skipped_) + ",\"limit\":" + number(kTraceLinesMax) +
           ",\"violations\":" + violations.take() + ",\"lanes\":" + lanes.take() +
           ",\"kinds\":" + kinds.take() + ",\"lines\":" + lines() + ",\"messages\":" + messages() +
           ",\"bands\":" + bands() + "}";
  }

 private:
  // Nanoseconds since the page begins.
  std::string time(MonoTime at) const {
    return std::to_string(std::max<std::int64_t>((at - begin_).count(), 0));
  }

  // [time, step, lane, kind, text]
  std::string lines() const {
    List list;
    for (std::size_t i = skipped_; i < page_.lines.size(); ++i) {
      const TraceLine& line = page_.lines[i];
      list.add("[" + time(line.at) + "," + number(line.step) + "," + number(model_.lane_of[i]) + "," +
               number(static_cast<std::uint64_t>(model_.kind_of[i])) + "," + quoted(line.text) + "]");
    }
    return list.take();
  }

  // [time it left, lane, time it came, lane, is an answer, is lost, line of its end]
  std::string messages() const {
    List list;
    for (const TraceMessage& message : model_.messages) {
      if (message.came_line < skipped_) continue;
      const std::size_t left = message.answer ? message.came_line : message.sent_line;
      list.add("[" + time(page_.lines[left].at) + "," + number(message.from) + "," +
               time(page_.lines[message.came_line].at) + "," + number(message.to) + "," +
               (message.answer ? "1," : "0,") + (message.lost ? "1," : "0,") +
               number(message.came_line - skipped_) + "]");
    }
    return list.take();
  }

  // [lane, from, to, kind, label]
  std::string bands() const {
    List list;
    for (const TraceBand& band : model_.bands) {
      if (band.to < begin_) continue;
      list.add("[" + number(band.lane) + "," + time(band.from) + "," + time(band.to) + "," +
               quoted(to_string(band.kind)) + "," + quoted(band.label) + "]");
    }
    return list.take();
  }

  const TracePage& page_;
  TraceModel model_;
  std::size_t skipped_ = 0;
  MonoTime begin_{};
};

}  // namespace

std::string html_of(const TracePage& page) {
  std::string html = kTraceTemplate;
  html.replace(html.find(kDataHere), kDataHere.size(), Writer(page).data());
  return html;
}

}  // namespace varve::sim
