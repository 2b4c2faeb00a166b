// A batch as one statement for PostgreSQL: one round trip, one transaction. Pure: nothing is executed.
//
//   WITH moved AS (the compare-and-set on the checkpoint),
//        closed_<view> AS (UPDATE .. of every stored row that the batch closes),
//        inserted_<view> AS (INSERT .. of every row of the batch, closed already if the batch closes it), ..
//   SELECT .. FROM moved
//
// The parts of such a statement all see the tables as they were before it, and run in the order in which one
// asks for another. Every part asks for `moved`, so the compare-and-set comes first and waits for the row
// lock of whoever is ahead; when it found no row nothing else does anything, and the statement gives back no
// row. Insertions ask how many rows the closings of their view met, so an entity's old version is closed
// before its new one comes. When a number of rows is not what the batch says, the statement fails (it divides
// by zero; or a unique index refuses a row): nothing is written. Which row it was tells the same batch done
// row by row.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "projections/postgres_query.h"

namespace varve {

// What the batch says of one view, in terms of what is stored before it.
struct ViewPlan {
  struct Insert {
    const Row* row = nullptr;
    std::optional<RowTo> to;  // As the row will be when the whole batch is done.
    // No open version of its entity may be stored, and no unique index says so.
    bool must_be_new = false;
  };
  std::vector<Insert> inserts;
  std::vector<const RowClose*> closes;  // Of stored rows; of one entity at most one.
};

// Points into the batch, which must outlive it.
struct BatchPlan {
  std::vector<ViewPlan> views;  // One per view.
  // The batch opens what it has opened, or closes what it has closed: whatever is stored, it does not fit.
  bool contradicts_itself = false;
};

BatchPlan plan_of(const Batch& batch);

// Whom a batch tells that it is in: those who listen to the channel (projections/postgres_listener.h).
struct BatchNews {
  std::string channel;  // Empty: nobody.
  std::uint64_t generation = 0;
};

// One row: the batch is in. No row: the stored checkpoint is another one, and nothing was written. `plan`
// must not contradict itself. The news are "PARTITION GENERATION", and leave with the commit.
PostgresStatement batch_statement(const ViewTables& tables, const Batch& batch, const BatchPlan& plan,
                                  const BatchNews& news);

// The same row by row, in the order of the batch, to find out what does not fit: never to be committed, the
// index of messages is left out. It begins with move_statement(), which gives back a row if the stored
// checkpoint is the expected one. An insert that gives back none has met an open version.
PostgresStatement move_statement(const ViewTables& tables, const Batch& batch);
PostgresStatement insert_statement(const ViewTables& tables, const RowInsert& insert);
// Gives back a row for every row that it closed.
PostgresStatement close_statement(const ViewTables& tables, Partition partition, const RowClose& close);
PostgresStatement release_statement(const ViewTables& tables, Partition partition,
                                    const std::vector<StreamId>& released);
PostgresStatement quarantine_statement(const ViewTables& tables, const QuarantineRow& row);
PostgresStatement times_statement(const ViewTables& tables, Partition partition, const TimesRow& row);

}  // namespace varve
