----------------------------- MODULE Ownership -----------------------------
(***************************************************************************)
(* One partition of the log, the nodes that want to own it, the clients    *)
(* that send commands to them and the operator who rules on poison.  It    *)
(* says what PartitionOwner and admission do: claims, commits of several   *)
(* parts, rulings, read-back, the three outcomes of an append.             *)
(*                                                                         *)
(* A commit has parts: the deciding stream with one event or more, and     *)
(* births (events from sequence 1 of new streams).  All of it is one       *)
(* record.  A stream has at most one record in flight, the partition       *)
(* InFlightMax.  A ruling takes an index like a commit and has no parts.   *)
(*                                                                         *)
(* A paused node is one that takes no step, a lost append one that never   *)
(* lands.  Appends land in any order, late, and CopiesMax times too often. *)
(* Anybody may claim at any time: assignment is only a hint.  No clocks.   *)
(***************************************************************************)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS
  Nodes, Commands, Streams,
  AppendsMax,   \* appends (landed and in the air) of one run
  ClaimsMax,    \* claims of one run
  CopiesMax,    \* extra copies that may land
  InFlightMax,  \* own records in flight per partition
  Window,       \* command ids that a stream remembers; 0 = all
  Broken        \* the rule that this run breaks, or "none"

CONSTANTS Plan(_)  \* what a command decides

(* needs: state of the deciding stream; births: streams it makes.          *)
Commit(on, needs, events, births) ==
  [kind |-> "commit", on |-> on, needs |-> needs, events |-> events, births |-> births, poison |-> FALSE]
Simple(on) == Commit(on, "any", 1, {})

OneStream(c)  == Simple("s")
TwoStreams(c) == IF c \in {"c1", "c3"} THEN Simple("s") ELSE Simple("t")
(* An agent is created with a block; then both are used.                   *)
Creation(c) == CASE c = "create" -> Commit("agent", "unborn", 2, {"block"})
                 [] c = "turn"   -> Commit("agent", "born", 2, {})
                 [] c = "edit"   -> Commit("block", "born", 1, {})
(* A creation whose stream is chosen by each attempt: see Targets.         *)
Fresh(c) == Commit("s", "unborn", 1, {})
(* An event that nobody can read, the operator's ruling on it, and what    *)
(* comes after.                                                            *)
Poisoned(c) == CASE c = "poison" -> [Simple("s") EXCEPT !.poison = TRUE]
                 [] c = "rule"   -> [Simple("s") EXCEPT !.kind = "ruling", !.events = 0]
                 [] c = "after"  -> Simple("s")
                 [] c = "other"  -> Simple("t")

VARIABLES
  log,     \* sequence of records
  folds,   \* folds[i+1] = state of a reader after i records (a function of log)
  air,     \* records that may still land
  node,    \* volatile state of each node
  claims,  \* claims so far; the number is the claim's id
  copies,  \* extra copies landed so far
  acked,   \* commands whose client was told: done
  dead     \* records whose client was told: never
vars == <<log, folds, air, node, claims, copies, acked, dead>>
View == <<log, air, node, claims, copies, acked, dead>>
Symmetry == Permutations(Nodes)

Range(q) == { q[i] : i \in 1..Len(q) }
Without(q, x) == SelectSeq(q, LAMBDA y : y # x)
Touched(r) == {r.on} \cup { p.s : p \in Range(r.parts) }

-----------------------------------------------------------------------------
(* Admission: pure, the same for every reader.                             *)

Fold0 == [epoch |-> 0, n |-> 0, writer |-> 0, len |-> [s \in Streams |-> 0], past |-> << >>,
          verdict |-> "none"]

LenAfter(len, parts) ==
  [s \in Streams |-> LET mine == { p \in Range(parts) : p.s = s } IN
                     IF mine = {} THEN len[s] ELSE LET p == CHOOSE x \in mine : TRUE IN p.q + p.k - 1]

Take(f, r) ==
  [f EXCEPT !.n = IF Broken = "ruling-unindexed" /\ r.kind = "ruling" THEN @ ELSE r.n,
            !.len = LenAfter(@, r.parts), !.past = Append(@, <<r.c, Touched(r)>>), !.verdict = "admitted"]

Admit(f, r) ==
  IF r.kind = "claim"
  THEN IF r.epoch = f.epoch + 1
       THEN [f EXCEPT !.epoch = r.epoch, !.n = 0, !.writer = r.id, !.verdict = "claim"]
       ELSE [f EXCEPT !.verdict = "fenced"]
  ELSE IF r.epoch # f.epoch /\ Broken # "no-epoch" THEN [f EXCEPT !.verdict = "fenced"]
  ELSE IF Broken = "no-index" \/ (Broken = "ruling-unindexed" /\ r.kind = "ruling") THEN Take(f, r)
  ELSE IF r.n <= f.n THEN [f EXCEPT !.verdict = "duplicate"]
  ELSE IF r.n > f.n + 1 THEN [f EXCEPT !.verdict = "gap"]
  ELSE Take(f, r)

At(i) == folds[i + 1]
PastOf(past, s) == SelectSeq(past, LAMBDA x : s \in x[2])
AdmittedIn(r, i) == \E j \in 1..i : At(j).verdict = "admitted" /\ log[j] = r

(* A stream is corrupt from an event that nobody can read to the ruling.   *)
CorruptIn(past, s) ==
  \E i \in 1..Len(past) : /\ Plan(past[i][1]).poison /\ s \in past[i][2]
                          /\ ~\E j \in (i + 1)..Len(past) :
                               Plan(past[j][1]).kind = "ruling" /\ s \in past[j][2]

-----------------------------------------------------------------------------
Down == [phase |-> "down", pos |-> 0, id |-> 0, epoch |-> 0, out |-> << >>]

Init ==
  /\ log = << >> /\ folds = <<Fold0>> /\ air = {}
  /\ node = [x \in Nodes |-> Down]
  /\ claims = 0 /\ copies = 0 /\ acked = {} /\ dead = {}

Room(k) == Len(log) + Cardinality(air) + k <= AppendsMax

(* The fate of what a node still waits for, once an admitted claim of a    *)
(* higher epoch lies in 1..i.                                              *)
Done(x, i)  == { r.c : r \in { y \in Range(node[x].out) : AdmittedIn(y, i) } }
Never(x, i) == { y \in Range(node[x].out) : ~AdmittedIn(y, i) }

(* Claims one more than the newest epoch of any prefix that it has read.   *)
Claim(x) ==
  /\ node[x].phase # "serving" /\ claims < ClaimsMax /\ Room(1)
  /\ \E p \in 0..Len(log) :
       LET r == [kind |-> "claim", epoch |-> At(p).epoch + 1, id |-> claims + 1,
                 node |-> IF Broken = "claim-by-shared-name" THEN "same" ELSE x] IN
       /\ air' = air \cup {r}
       /\ node' = [node EXCEPT ![x].phase = "claiming", ![x].pos = 0, ![x].id = claims + 1,
                               ![x].epoch = r.epoch]
  /\ claims' = claims + 1
  /\ UNCHANGED <<log, folds, copies, acked, dead>>

(* Its reader admits the claim with its own current id.                    *)
Serve(x) ==
  /\ node[x].phase = "claiming"
  /\ \E i \in 1..Len(log) :
       /\ log[i].kind = "claim"
       /\ CASE Broken = "claim-unadmitted" -> log[i].id = node[x].id
            [] Broken \in {"claim-by-name", "claim-by-shared-name"} ->
                 log[i].node \in {x, "same"} /\ At(i).verdict = "claim"
            [] OTHER -> log[i].id = node[x].id /\ At(i).verdict = "claim"
       /\ acked' = acked \cup Done(x, i)
       /\ dead' = dead \cup Never(x, i)
       /\ node' = [node EXCEPT ![x] = [phase |-> "serving", pos |-> i, id |-> log[i].id,
                                       epoch |-> log[i].epoch, out |-> << >>]]
  /\ UNCHANGED <<log, folds, air, claims, copies>>

(* A stopped node learns the fate of its appends from anybody's claim.     *)
Settle(x) ==
  /\ node[x].phase # "serving" /\ node[x].out # << >>
  /\ \E i \in 1..Len(log) :
       /\ \/ At(i).verdict = "claim" /\ \A r \in Range(node[x].out) : log[i].epoch > r.epoch
          \/ Broken = "fate-by-timeout" /\ i = Len(log)
       /\ acked' = acked \cup Done(x, i)
       /\ dead' = dead \cup Never(x, i)
  /\ node' = [node EXCEPT ![x].out = << >>]
  /\ UNCHANGED <<log, folds, air, claims, copies>>

Known(f, s) ==
  LET p == PastOf(f.past, s)
      from == IF Window = 0 \/ Len(p) <= Window THEN 1 ELSE Len(p) - Window + 1
  IN { p[i][1] : i \in from..Len(p) }

FirstFree(out, from) ==
  CHOOSE n \in from..(from + InFlightMax) :
    (\A r \in Range(out) : r.n # n) /\ \A m \in from..(n - 1) : \E r \in Range(out) : r.n = m

(* Derived from the command's id: always the same.                         *)
Targets(c) == IF Broken = "fresh-id" THEN Streams ELSE {Plan(c).on}

(* The record of a command, decided on read-back state.                    *)
RecordOf(x, c, on, parts, behind) ==
  LET f == At(node[x].pos) IN
  [kind |-> Plan(c).kind, epoch |-> node[x].epoch, id |-> node[x].id, c |-> c, on |-> on, parts |-> parts,
   n |-> IF Broken = "refill" THEN FirstFree(node[x].out, f.n + 1)
         ELSE f.n + Len(node[x].out) + 1 + behind,
   past |-> f.past \o [i \in 1..Len(node[x].out) |-> <<node[x].out[i].c, Touched(node[x].out[i])>>]]

Decide(x, c) ==
  LET me == node[x]
      f == At(me.pos)
      plan == Plan(c)
      busy == UNION { Touched(r) : r \in Range(me.out) }
  IN
  /\ me.phase = "serving" /\ Len(me.out) < InFlightMax
  /\ \E on \in Targets(c) :
       /\ c \notin Known(f, on)
       /\ (busy \cap ({on} \cup plan.births) = {} \/ Broken = "retry-in-flight")
       /\ plan.needs = "unborn" => f.len[on] = 0
       /\ plan.needs = "born" => f.len[on] > 0
       /\ IF plan.kind = "ruling" THEN CorruptIn(f.past, on)
          ELSE ~CorruptIn(f.past, on) \/ Broken = "ruling-unlogged"
       /\ LET first == IF plan.events = 0 THEN << >>
                       ELSE <<[s |-> on, k |-> plan.events,
                               q |-> f.len[on] + 1 - (IF Broken = "sequence-per-commit" /\ f.len[on] > 1
                                                      THEN 1 ELSE 0)]>>
              born == IF plan.births = {} THEN << >>
                      ELSE <<[s |-> CHOOSE s \in plan.births : TRUE, k |-> 1, q |-> 1]>>
          IN IF Broken = "one-record-per-part" /\ born # << >>
             THEN /\ Room(2)
                  /\ LET a == RecordOf(x, c, on, first, 0)
                         b == RecordOf(x, c, on, born, 1)
                     IN /\ air' = air \cup {a, b}
                        /\ node' = [node EXCEPT ![x].out = @ \o <<a, b>>]
             ELSE /\ Room(1)
                  /\ LET r == RecordOf(x, c, on, first \o born, 0) IN
                     /\ air' = air \cup {r}
                     /\ node' = [node EXCEPT ![x].out = Append(@, r)]
  /\ UNCHANGED <<log, folds, claims, copies, acked, dead>>

(* A retry of a remembered command is answered from the folded state.      *)
AnswerOld(x, c) ==
  /\ node[x].phase = "serving" /\ c \notin acked
  /\ c \in Known(At(node[x].pos), Plan(c).on)
  /\ acked' = acked \cup {c}
  /\ UNCHANGED <<log, folds, air, node, claims, copies, dead>>

Land(r) ==
  /\ log' = Append(log, r)
  /\ folds' = Append(folds, Admit(At(Len(log)), r))
  /\ \/ air' = air \ {r} /\ copies' = copies
     \/ copies < CopiesMax /\ Room(1) /\ air' = air /\ copies' = copies + 1
  /\ acked' \in (IF Broken = "ack-on-append" /\ r.kind # "claim"
                    /\ \E x \in Nodes : node[x].phase = "serving" /\ r \in Range(node[x].out)
                 THEN {acked \cup {r.c}} ELSE {acked})
  /\ UNCHANGED <<node, claims, dead>>

Unknown(x) ==
  /\ node[x].phase = "serving"
  /\ \E r \in Range(node[x].out) :
       IF Broken = "retry-same-epoch"
       THEN /\ node' = [node EXCEPT ![x].out = Without(@, r)]
            /\ dead' = dead \cup {r}
       ELSE /\ node' = [node EXCEPT ![x].phase = "down", ![x].pos = 0]
            /\ dead' = dead
  /\ UNCHANGED <<log, folds, air, claims, copies, acked>>

(* The log says that it was not written and never will be.  Alone: the     *)
(* next record takes its index.  Else: stop.                               *)
NotWritten(x) ==
  /\ node[x].phase = "serving"
  /\ \E r \in Range(node[x].out) :
       LET rest == Without(node[x].out, r)
           goes_on == rest = << >> \/ Broken = "refill"
       IN /\ r \in air /\ ~\E i \in 1..Len(log) : log[i] = r
          /\ IF Broken = "not-written-falsely"
             THEN air' = air /\ dead' = dead \cup {r}
             ELSE air' = air \ {r} /\ dead' = dead
          /\ node' = [node EXCEPT ![x].out = rest,
                                  ![x].pos = IF goes_on THEN @ ELSE 0,
                                  ![x].phase = IF goes_on THEN "serving" ELSE "down"]
  /\ UNCHANGED <<log, folds, claims, copies, acked>>

Read(x) ==
  LET me == node[x]
      i == me.pos + 1
  IN
  /\ me.phase = "serving" /\ me.pos < Len(log)
  /\ LET r == log[i]
         v == At(i).verdict
         mine == r.kind # "claim" /\ r \in Range(me.out)
     IN CASE v = "claim" /\ r.epoch > me.epoch ->  \* fenced; everything is settled
               /\ acked' = acked \cup Done(x, i)
               /\ dead' = dead \cup Never(x, i)
               /\ node' = [node EXCEPT ![x] = Down]
          [] v = "admitted" /\ mine ->             \* read back: apply and answer
               /\ acked' = IF Broken = "ack-on-append" THEN acked ELSE acked \cup {r.c}
               /\ node' = [node EXCEPT ![x].out = Without(@, r), ![x].pos = i]
               /\ dead' = dead
          [] v # "admitted" /\ mine /\ Broken = "skip-means-failed" ->
               /\ node' = [node EXCEPT ![x].out = Without(@, r), ![x].pos = i]
               /\ dead' = dead \cup {r}
               /\ acked' = acked
          [] v # "admitted" /\ mine /\ Broken # "skip-means-failed" ->
               /\ node' = [node EXCEPT ![x].phase = "down", ![x].pos = 0]
               /\ UNCHANGED <<acked, dead>>
          [] OTHER ->
               /\ node' = [node EXCEPT ![x].pos = i]
               /\ UNCHANGED <<acked, dead>>
  /\ UNCHANGED <<log, folds, air, claims, copies>>

Crash(x) ==
  /\ node[x] # Down
  /\ node' = [node EXCEPT ![x] = Down]
  /\ UNCHANGED <<log, folds, air, claims, copies, acked, dead>>

(* A log that shows records before they are durable loses its end.         *)
LoseEnd ==
  /\ Broken = "unstable-log" /\ log # << >>
  /\ LET m == Len(log) - 1 IN
     /\ log' = SubSeq(log, 1, m) /\ folds' = SubSeq(folds, 1, m + 1)
     /\ node' = [x \in Nodes |-> [node[x] EXCEPT !.pos = IF @ > m THEN m ELSE @]]
  /\ UNCHANGED <<air, claims, copies, acked, dead>>

Next ==
  \/ \E x \in Nodes : Claim(x) \/ Serve(x) \/ Settle(x) \/ Unknown(x) \/ NotWritten(x) \/ Read(x) \/ Crash(x)
  \/ \E x \in Nodes, c \in Commands : Decide(x, c) \/ AnswerOld(x, c)
  \/ \E r \in air : Land(r)
  \/ LoseEnd
Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
Ok == { i \in 1..Len(log) : At(i).verdict = "admitted" }

I1 == \A c \in acked : \E i \in Ok : log[i].c = c
I2 == \A c \in Commands : Cardinality({ i \in Ok : log[i].c = c }) <= 1
(* Every admitted part goes on where its stream ended; a birth begins one. *)
I3seq == \A i \in Ok : \A j \in 1..Len(log[i].parts) :
           LET p == log[i].parts[j] IN
           /\ p.q = At(i - 1).len[p.s] + 1
           /\ p.s # log[i].on => p.q = 1
I3epoch == \A i, j \in Ok : i < j => log[i].epoch <= log[j].epoch
NoLateEffect == \A i \in Ok : log[i] \notin dead
(* Decided on exactly the history that it follows, of its own streams;     *)
(* ...All: of the whole partition.                                         *)
DecidedOn == \A i \in Ok : \A s \in Touched(log[i]) : PastOf(log[i].past, s) = PastOf(At(i - 1).past, s)
DecidedOnAll == \A i \in Ok : log[i].past = At(i - 1).past
OneWriter == \A i \in Ok : log[i].id = At(i).writer
(* No reader ever sees a part of a commit without the others.              *)
AllOrNothing == \A i \in Ok :
  { p.s : p \in Range(log[i].parts) } = Plan(log[i].c).births
      \cup (IF Plan(log[i].c).events > 0 THEN {log[i].on} ELSE {})
(* Nothing is built on an event that nobody can read, before a ruling that *)
(* every reader sees.                                                      *)
RuledFirst == \A i \in Ok : log[i].kind = "commit" => ~CorruptIn(At(i - 1).past, log[i].on)

(* Readers that start at any position with what a checkpoint carries.      *)
RECURSIVE Verdicts(_, _)
Verdicts(f, i) == IF i > Len(log) THEN << >>
                  ELSE LET g == Admit(f, log[i]) IN <<g.verdict>> \o Verdicts(g, i + 1)
Truth(p) == [j \in 1..(Len(log) - p) |-> At(p + j).verdict]
Agree(epoch, n, p) == Verdicts([Fold0 EXCEPT !.epoch = epoch, !.n = n], p + 1) = Truth(p)
AgreePair == \A p \in 0..Len(log) : Agree(At(p).epoch, At(p).n, p)
AgreeNoIndex == \A p \in 0..Len(log) : Agree(At(p).epoch, 0, p)
AgreeNoEpoch == \A p \in 0..(Len(log) - 1) :  \* takes the first epoch it sees
  LET r == log[p + 1] IN Agree(IF r.kind = "claim" THEN r.epoch - 1 ELSE r.epoch, At(p).n, p)
=============================================================================
