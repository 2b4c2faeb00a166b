------------------------------ MODULE Recovery ------------------------------
(***************************************************************************)
(* Snapshots and the recovery row of one partition.  The log holds         *)
(* admitted records only: commits, which may bear a second stream, and     *)
(* rulings.  Snapshots are written by nodes that may stand anywhere in the *)
(* log (a zombie far behind), rows may fail their hash.                    *)
(*                                                                         *)
(* An event may be one that old code cannot read: from there the stream is *)
(* corrupt, until a ruling says that the event is absent, for all code.    *)
(* A ruling changes the stream like an event, without a sequence.          *)
(*                                                                         *)
(* In the world "losing" a shard runs while rows vanish, and older ones    *)
(* come back.  It goes by what it remembers: of each stream where its last *)
(* record is, as far as it has come.                                       *)
(***************************************************************************)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS
  LogMax,
  Codes,   \* code that runs, as the bad events (positions) that it can read
  Rulings, \* TRUE: bad events and rulings on them
  Losing,  \* TRUE: a shard runs, and rows vanish meanwhile
  Broken   \* the rule that this run breaks, or "none"

Streams == {"s1", "s2"}

VARIABLES
  log,
  snap,  \* the row of each stream
  rec,   \* the recovery row
  cand,  \* one that was computed and is not stored yet
  seen,  \* what a recovering shard has read first
  run    \* of a running shard: from where it has its tail, and what it remembers of each stream
vars == <<log, snap, rec, cand, seen, run>>

RulingsOn(t, p) == { j \in 1..p : log[j].kind = "ruling" /\ log[j].on = t }
EventOf(s, i) == log[i].kind = "commit" /\ s \in {log[i].on} \cup log[i].births
Touches(s, i) == EventOf(s, i) \/ (log[i].kind = "ruling" /\ log[log[i].on].on = s)
Touched(s, p) == { i \in 1..p : Touches(s, i) }
Events(s, p) == { i \in 1..p : EventOf(s, i) }
Least(S) == CHOOSE x \in S : \A y \in S : x <= y
Most(S) == IF S = {} THEN 0 ELSE CHOOSE x \in S : \A y \in S : y <= x

(* The state of a stream: its events, and the first that is not readable.  *)
Empty == [ids |-> << >>, bad |-> 0]
RECURSIVE Fold(_, _, _, _, _)
Fold(st, s, i, p, code) ==
  IF i > p THEN st
  ELSE Fold(IF ~EventOf(s, i) \/ st.bad # 0 \/ RulingsOn(i, p) # {} THEN st
            ELSE IF log[i].bad /\ log[i].on = s /\ i \notin code THEN [st EXCEPT !.bad = i]
            ELSE [st EXCEPT !.ids = Append(@, i)],
            s, i + 1, p, code)
State(s, p, code) == Fold(Empty, s, 1, p, code)
(* Its sequence; the absent event has had one.                             *)
SequenceOf(st, s, p) == Cardinality(Events(s, IF st.bad # 0 THEN st.bad - 1 ELSE p))

None == [key |-> 0, off |-> 0, last |-> 0, born |-> 0, good |-> TRUE, st |-> Empty]
Rec0 == [p |-> 0, streams |-> 0]
Nothing == [s \in Streams |-> 0]
(* known: the last records that the rows had seen when it began.  gone: up *)
(* to where a stream's tail was dropped, with its state in the store.      *)
Off == [on |-> FALSE, p |-> 0, known |-> Nothing, gone |-> Nothing]

Init == /\ log = << >> /\ snap = [s \in Streams |-> None] /\ rec = Rec0 /\ cand = Rec0
        /\ seen = [rec |-> Rec0, snap |-> snap] /\ run = Off

Commit(on, births, bad) == [kind |-> "commit", on |-> on, births |-> births, bad |-> bad]
Emit ==
  /\ Len(log) < LogMax
  /\ \E r \in { Commit(s, {}, FALSE) : s \in Streams }
              \cup (IF Touched("s2", Len(log)) = {} /\ ~Rulings THEN {Commit("s1", {"s2"}, FALSE)} ELSE {})
              \cup (IF Rulings THEN {Commit("s1", {}, TRUE)} ELSE {})
              \cup { [kind |-> "ruling", on |-> t] :
                     t \in { i \in Events("s1", Len(log)) : log[i].bad /\ RulingsOn(i, Len(log)) = {} } } :
       log' = Append(log, r)
  /\ UNCHANGED <<snap, rec, cand, seen, run>>

(* A row is only replaced by one that has seen more of its stream: events  *)
(* and rulings.  A bad one also by one that has seen as much, a corrupt one *)
(* by a sound one that has.                                                *)
Replaces(x, old) ==
  CASE Broken = "unguarded" -> TRUE
    [] Broken = "bad-row-replaced-by-any" -> x.key > old.key \/ ~old.good
    [] OTHER -> x.key > old.key \/ (x.key = old.key /\ (~old.good \/ (old.st.bad # 0 /\ x.st.bad = 0)))
Row(s, p, code) ==
  LET st == State(s, p, code)
      t == IF Broken = "speculative" THEN [st EXCEPT !.ids = Append(@, 0)] ELSE st
  IN [key |-> IF Broken = "guard-by-sequence" THEN SequenceOf(st, s, p) ELSE Most(Touched(s, p)),
      off |-> p, last |-> Most(Touched(s, p)), born |-> Least(Touched(s, p)), good |-> TRUE, st |-> t]
Snapshot(s, p, code) ==
  /\ Touched(s, p) # {}
  /\ LET x == Row(s, p, code) IN
     /\ x.key > 0 /\ Replaces(x, snap[s])
     /\ snap' = [snap EXCEPT ![s] = x]
  /\ UNCHANGED <<log, rec, cand, seen, run>>

(* The recovery row may move to p if every stream whose last record lies   *)
(* before p has a snapshot of that state.                                  *)
Counted(s, p) ==
  { i \in Touched(s, p) : /\ (Broken = "ruling-is-no-record" => log[i].kind = "commit")
                          /\ (Broken = "births-not-counted" => log[i].on = s) }
Covered(s, p) == Counted(s, p) = {} \/ (snap[s].good /\ snap[s].last >= Most(Counted(s, p)))
Compute(p) ==
  /\ p > cand.p /\ \A s \in Streams : Covered(s, p)
  /\ cand' = [p |-> p, streams |-> Cardinality({ s \in Streams : Counted(s, p) # {} })]
  /\ UNCHANGED <<log, snap, rec, seen, run>>
Move == /\ cand.p > rec.p /\ rec' = cand
        /\ UNCHANGED <<log, snap, cand, seen, run>>

Damage(s) ==
  /\ snap[s] # None /\ snap[s].good
  /\ snap' = [snap EXCEPT ![s] = IF Broken = "rows-vanish" THEN None ELSE [@ EXCEPT !.good = FALSE]]
  /\ UNCHANGED <<log, rec, cand, seen, run>>

(* A recovering shard reads the recovery row first, snapshots later.       *)
Look == /\ IF Broken = "snapshots-first" THEN seen' = [seen EXCEPT !.snap = snap]
           ELSE seen' = [seen EXCEPT !.rec = rec]
        /\ UNCHANGED <<log, snap, rec, cand, run>>

(* In the world "losing": it lists the rows and runs.  If one is missing,  *)
(* it reads the log from its start.                                        *)
Counts(rows, p) == Cardinality({ s \in Streams : rows[s].key > 0 /\ rows[s].born <= p })
Start ==
  /\ Losing /\ ~run.on
  /\ LET whole == Counts(snap, seen.rec.p) >= seen.rec.streams IN
     run' = [Off EXCEPT !.on = TRUE, !.p = IF whole THEN seen.rec.p ELSE 0,
                        !.known = [s \in Streams |-> IF whole /\ snap[s].born <= seen.rec.p THEN snap[s].last ELSE 0]]
  /\ UNCHANGED <<log, snap, rec, cand, seen>>
(* An idle stream is saved and forgotten, but for the place of its last    *)
(* record.                                                                 *)
Passivate(s, p, code) ==
  /\ run.on /\ p >= run.p /\ p > run.gone[s] /\ Touched(s, p) # {}
  /\ LET x == Row(s, p, code) IN snap' = IF Replaces(x, snap[s]) THEN [snap EXCEPT ![s] = x] ELSE snap
  /\ run' = [run EXCEPT !.gone[s] = p]
  /\ UNCHANGED <<log, rec, cand, seen>>
Lose(s) ==
  /\ run.on /\ snap[s] # None
  /\ snap' = [snap EXCEPT ![s] = None]
  /\ UNCHANGED <<log, rec, cand, seen, run>>

Next == \/ Emit \/ Look \/ Move \/ Start
        \/ \E p \in 1..Len(log) : Compute(p) \/ \E s \in Streams, code \in Codes :
             Snapshot(s, p, code) \/ Passivate(s, p, code)
        \/ \E s \in Streams : Damage(s) \/ Lose(s)
Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* What a shard that has read to c believes about stream s.                *)
R == IF Broken = "snapshots-first" THEN rec ELSE seen.rec
S == IF Broken = "snapshots-first" THEN seen.snap ELSE snap

(* The row plus what follows it behind the recovery row.  A ruling in the  *)
(* tail on an event of the row, or a jump: the stream is read from the     *)
(* start.  `st' is behind record `last' of its stream.                     *)
RECURSIVE FoldTail(_, _, _, _, _, _)
FoldTail(st, last, s, i, c, code) ==
  IF i > c THEN st
  ELSE IF i <= last \/ ~Touches(s, i) THEN FoldTail(st, last, s, i + 1, c, code)
  ELSE IF log[i].kind = "ruling" THEN State(s, c, code)
  ELSE IF Most(Events(s, i - 1)) > last /\ Broken # "jump-unnoticed" THEN State(s, c, code)
  ELSE FoldTail(IF st.bad # 0 THEN st
            ELSE IF log[i].bad /\ log[i].on = s /\ i \notin code THEN [st EXCEPT !.bad = i]
            ELSE [st EXCEPT !.ids = Append(@, i)], i, s, i + 1, c, code)

Found == Counts(S, R.p)
Recovered(s, c, code) ==
  IF R.p > c \/ (S[s].key > 0 /\ ~S[s].good) \/ Found < R.streams THEN State(s, c, code)
  ELSE FoldTail(S[s].st, S[s].last, s, R.p + 1, c, code)

(* Snapshot and tail = full replay, for an owner, who goes on reading: a   *)
(* newer owner's snapshot may put it ahead of its position (it will find   *)
(* itself fenced), never behind and never outside the log.  Until there is *)
(* a ruling, old and new code may differ about a bad event; then not.      *)
Right(s, c, st) ==
  \E readable \in SUBSET { i \in 1..c : EventOf(s, i) /\ log[i].bad } : st = State(s, c, readable)
I7Owner == \A s \in Streams, code \in Codes, c \in R.p..Len(log) :
  LET ahead == S[s].good /\ S[s].off > c IN
  Right(s, IF ahead /\ Recovered(s, c, code) = S[s].st THEN S[s].off ELSE c, Recovered(s, c, code))
(* For a reader that stops anywhere (`as_of', replay): it must not use a   *)
(* snapshot.  Expected to fail.                                            *)
I7 == \A s \in Streams, code \in Codes, c \in R.p..Len(log) : Right(s, c, Recovered(s, c, code))

(* What a running shard believes that has come to c.  A row that has seen  *)
(* less than it remembers, or none where it remembers one: that stream is  *)
(* read from the start.                                                    *)
Base(s) == IF run.gone[s] > 0 THEN run.gone[s] ELSE run.p
Needed(s) == CASE Broken = "vanished-is-unborn" -> 0
               [] run.gone[s] > 0 -> Most(Touched(s, run.gone[s]))
               [] OTHER -> run.known[s]
Believed(s, c, code) ==
  IF snap[s].last < Needed(s) \/ (snap[s].key > 0 /\ ~snap[s].good) THEN State(s, c, code)
  ELSE FoldTail(snap[s].st, snap[s].last, s, Base(s) + 1, c, code)
I7Running == run.on => \A s \in Streams, code \in Codes : \A c \in Base(s)..Len(log) :
  LET ahead == snap[s].good /\ snap[s].off > c IN
  Right(s, IF ahead /\ Believed(s, c, code) = snap[s].st THEN snap[s].off ELSE c, Believed(s, c, code))
=============================================================================
