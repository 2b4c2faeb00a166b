// One record of the log as `varve log dump` and `varve log tail` print it. Pure.
#pragma once

#include <string>

#include "eventlog/admission.h"
#include "eventlog/event_log.h"

namespace varve {

// Without the line's end. Text names the events of a commit on lines of their own, JSON is one line.
std::string line_of_record(Partition partition, const LogRecord& read, Verdict verdict, const Record& record,
                           bool json);

}  // namespace varve
