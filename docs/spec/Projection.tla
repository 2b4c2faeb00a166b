----------------------------- MODULE Projection -----------------------------
(***************************************************************************)
(* Two workers fold one partition into a view and its checkpoint.  In the  *)
(* world "fencing" the log is adversarial: any claims and commits, also    *)
(* such as no right writer would make.  In the world "rulings" it is       *)
(* orderly, but holds events that the present code cannot fold, the        *)
(* operator's rulings on them, and later code that can.                    *)
(*                                                                         *)
(* A ruling at position j says that the event at position t is absent.     *)
(* What waited behind it in its stream is folded when the ruling is read,  *)
(* and valid from j on.  This holds for all code, also code that could     *)
(* fold the event: so a reader looks up the rulings of the log before it   *)
(* folds, takes an event that is ruled later as one that it cannot fold,   *)
(* and starts over when it meets a ruling on an event that it has folded.  *)
(***************************************************************************)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS
  Workers, LogMax, BatchMax,
  World,   \* "fencing" or "rulings"
  Broken   \* the rule that this run breaks, or "none"

VARIABLES log, store, w, repaired
vars == <<log, store, w, repaired>>
Symmetry == Permutations(Workers)

Streams == {"A", "B"}
Adm0 == [epoch |-> 0, n |-> 0]
Max(S) == CHOOSE x \in S : \A y \in S : y <= x

Counts(a, r) == IF r.kind = "claim" THEN r.epoch = a.epoch + 1
                ELSE r.epoch = a.epoch /\ r.n = a.n + 1
Step(a, r) == IF ~Counts(a, r) THEN a
              ELSE IF r.kind = "claim" THEN [epoch |-> r.epoch, n |-> 0] ELSE [a EXCEPT !.n = r.n]
RECURSIVE AdmAt(_)
AdmAt(p) == IF p = 0 THEN Adm0 ELSE Step(AdmAt(p - 1), log[p])

Admitted(i) == Counts(AdmAt(i - 1), log[i])
Event(i) == log[i].kind = "commit" /\ Admitted(i)
(* Positions of the rulings on the event at t, up to p.                    *)
RulingsOn(t, p) == { j \in 1..p : log[j].kind = "ruling" /\ log[j].on = t /\ Admitted(j) }
(* Of two rulings on one event the second says nothing new.                *)
SaysIt(j) == log[j].kind = "ruling" /\ Admitted(j)
             /\ (RulingsOn(log[j].on, j - 1) = {} \/ Broken = "ruling-said-twice")
(* An event is valid from its own position, or from the last ruling that   *)
(* let it pass.                                                            *)
ValidFrom(i, p) ==
  LET waited == { j \in (i + 1)..p : SaysIt(j) /\ log[j].on < i /\ log[log[j].on].s = log[i].s }
  IN IF waited = {} \/ Broken = "ruled-from-the-start" THEN i ELSE Max(waited)

-----------------------------------------------------------------------------
(* The fold of log[i..upto].  base: adm, parked, rows (new ones), over.    *)

Foldable(i, base, able) == (able \/ ~log[i].bad) /\ i \notin base.known

(* Folds the events of stream s in i..upto, behind its release.            *)
RECURSIVE Release(_, _, _, _, _, _)
Release(base, s, i, upto, at, able) ==
  IF i > upto THEN base
  ELSE IF ~(Event(i) /\ log[i].s = s) \/ RulingsOn(i, at) # {} THEN Release(base, s, i + 1, upto, at, able)
  ELSE IF ~Foldable(i, base, able) THEN [base EXCEPT !.parked[s] = i]
  ELSE Release([base EXCEPT !.rows[i] = ValidFrom(i, at)], s, i + 1, upto, at, able)

Ruled(base, j, able) ==
  LET t == log[j].on
      s == log[t].s
      b == [base EXCEPT !.known = @ \cup {t}]
  IN IF RulingsOn(t, j - 1) # {} THEN base                     \* said before
     ELSE IF base.parked[s] = t THEN Release([b EXCEPT !.parked[s] = 0], s, t + 1, j - 1, j, able)
     ELSE IF base.parked[s] # 0 /\ base.parked[s] < t THEN b    \* still waits
     ELSE IF Broken = "ruling-met-late" THEN b
     ELSE [b EXCEPT !.over = TRUE]                              \* it is folded: start over

Parks(base, i) == [base EXCEPT !.parked[log[i].s] = i]

RECURSIVE Fold(_, _, _, _)
Fold(base, i, upto, able) ==
  IF i > upto THEN base
  ELSE LET r == log[i]
           deaf == Broken = "parked-not-admitted" /\ r.kind = "commit" /\ base.parked[r.s] # 0
           counts == Counts(base.adm, r) /\ ~deaf
           b == [base EXCEPT !.adm = IF deaf THEN @ ELSE Step(@, r)]
       IN Fold(IF ~counts \/ r.kind = "claim" THEN b
               ELSE IF r.kind = "ruling" THEN Ruled(b, i, able)
               ELSE IF b.parked[r.s] # 0 THEN b
               ELSE IF ~Foldable(i, b, able) THEN Parks(b, i)
               ELSE [b EXCEPT !.rows[i] = i],
               i + 1, upto, able)

NoPark == [s \in Streams |-> 0]
NoRows == [i \in 1..LogMax |-> 0]
Idle == [st |-> "idle", next |-> 0, ver |-> 0, adm |-> Adm0, parked |-> NoPark, known |-> {},
         upto |-> 0, able |-> FALSE]

Init ==
  /\ log = <<[kind |-> "claim", epoch |-> 1]>>
  /\ store = [next |-> 0, ver |-> 0, adm |-> Adm0, parked |-> NoPark, rows |-> NoRows, times |-> NoRows]
  /\ w = [x \in Workers |-> Idle]
  /\ repaired = FALSE

Adversarial == [kind : {"claim"}, epoch : {1, 2}]
    \cup [kind : {"commit"}, epoch : {1, 2}, n : {1, 2}, s : {"A"}, bad : {FALSE}]
    \cup [kind : {"commit"}, epoch : {1, 2}, n : {1, 2}, s : {"B"}, bad : {TRUE}]
Orderly == LET n == AdmAt(Len(log)).n + 1 IN
  [kind : {"commit"}, epoch : {1}, n : {n}, s : {"B"}, bad : BOOLEAN]
    \cup [kind : {"ruling"}, epoch : {1}, n : {n}, on : { i \in 1..Len(log) : Event(i) /\ log[i].s = "B" /\ log[i].bad }]

Grow == /\ Len(log) < LogMax
        /\ \E r \in (IF World = "fencing" THEN Adversarial ELSE Orderly) : log' = Append(log, r)
        /\ UNCHANGED <<store, w, repaired>>

(* Everything in one read, then the rulings of the log.                    *)
Load(x) ==
  /\ w[x].st = "idle"
  /\ w' = [w EXCEPT ![x] = [Idle EXCEPT !.st = "loaded", !.next = store.next, !.ver = store.ver,
       !.adm = IF Broken = "epoch-only" THEN [store.adm EXCEPT !.n = 0] ELSE store.adm,
       !.parked = store.parked,
       !.known = { t \in 1..Len(log) : RulingsOn(t, Len(log)) # {} }]]
  /\ UNCHANGED <<log, store, repaired>>

Take(x) ==
  /\ w[x].st = "loaded"
  /\ \E u \in (w[x].next + 1)..Len(log) :
       /\ u <= w[x].next + BatchMax
       /\ w' = [w EXCEPT ![x].st = "ready", ![x].upto = u, ![x].able = repaired]
  /\ UNCHANGED <<log, store, repaired>>

Out(x) == Fold([adm |-> w[x].adm, parked |-> w[x].parked, known |-> w[x].known, rows |-> NoRows, over |-> FALSE],
               w[x].next + 1, w[x].upto, w[x].able)

CasOk(x) == CASE Broken = "offset-cas" -> w[x].next = store.next
              [] Broken = "no-cas" -> TRUE
              [] OTHER -> w[x].ver = store.ver

(* How often a row was written, and from where it is valid.                *)
Write(s, rows) ==
  [s EXCEPT !.rows = [i \in 1..LogMax |-> IF rows[i] # 0 THEN rows[i] ELSE @[i]],
            !.times = [i \in 1..LogMax |-> @[i] + (IF rows[i] # 0 THEN 1 ELSE 0)]]
Moved(s, x) ==
  LET f == Out(x) IN
  IF f.over
  THEN [next |-> 0, ver |-> s.ver + 1, adm |-> Adm0, parked |-> NoPark, rows |-> NoRows, times |-> NoRows]
  ELSE [s EXCEPT !.next = w[x].upto, !.ver = @ + 1, !.adm = f.adm,
                 !.parked = [t \in Streams |-> IF f.parked[t] # w[x].parked[t] THEN f.parked[t] ELSE @[t]]]
Committed(x) == IF Out(x).over THEN Moved(store, x) ELSE Write(Moved(store, x), Out(x).rows)

After(x) == IF Broken = "reread-offset-only"
            THEN [w[x] EXCEPT !.st = "loaded", !.next = store'.next, !.ver = store'.ver] ELSE Idle
Go(x) == LET f == Out(x) IN
  IF f.over THEN Idle
  ELSE [Idle EXCEPT !.st = "loaded", !.next = w[x].upto, !.ver = store'.ver, !.adm = f.adm,
                    !.parked = f.parked, !.known = f.known]

Commit(x) ==
  /\ w[x].st = "ready" /\ Broken # "two-transactions"
  /\ \/ CasOk(x) /\ store' = Committed(x) /\ w' = [w EXCEPT ![x] = Go(x)]     \* and told so
     \/ CasOk(x) /\ store' = Committed(x) /\ w' = [w EXCEPT ![x] = After(x)]  \* outcome lost
     \/ store' = store /\ w' = [w EXCEPT ![x] = After(x)]                     \* rolled back, race lost
  /\ UNCHANGED <<log, repaired>>

CommitRows(x) ==
  /\ w[x].st = "ready" /\ Broken = "two-transactions"
  /\ store' = Write(store, Out(x).rows)
  /\ w' = [w EXCEPT ![x].st = "half"]
  /\ UNCHANGED <<log, repaired>>
CommitCheckpoint(x) ==
  /\ w[x].st = "half"
  /\ IF CasOk(x) THEN store' = Moved(store, x) /\ w' = [w EXCEPT ![x] = Go(x)]
                 ELSE store' = store /\ w' = [w EXCEPT ![x] = After(x)]
  /\ UNCHANGED <<log, repaired>>

Crash(x) == /\ w[x] # Idle /\ w' = [w EXCEPT ![x] = Idle]
            /\ UNCHANGED <<log, store, repaired>>

Repair == /\ ~repaired /\ repaired' = TRUE /\ UNCHANGED <<log, store, w>>

(* The operator retries a parked stream: its events up to the checkpoint   *)
(* are folded by the present code and the stream is released, in one       *)
(* transaction that moves the version.  Not an event that is ruled in the  *)
(* log: the ruling would have to undo it, again and again.                 *)
Retry(s) ==
  /\ repaired /\ store.parked[s] # 0 /\ RulingsOn(store.parked[s], Len(log)) = {}
  /\ LET ruled == { t \in 1..Len(log) : RulingsOn(t, Len(log)) # {} }
         f == Release([parked |-> [store.parked EXCEPT ![s] = 0], known |-> ruled, rows |-> NoRows],
                      s, store.parked[s], store.next, store.next, TRUE)
     IN store' = Write([store EXCEPT !.ver = @ + 1, !.parked = f.parked], f.rows)
  /\ UNCHANGED <<log, w, repaired>>

Next == Grow \/ Repair \/ (\E s \in Streams : Retry(s))
        \/ \E x \in Workers : Load(x) \/ Take(x) \/ Commit(x) \/ CommitRows(x)
                              \/ CommitCheckpoint(x) \/ Crash(x)
Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
Shown(i) == /\ i <= store.next /\ Event(i) /\ RulingsOn(i, store.next) = {}
            /\ ~(store.parked[log[i].s] # 0 /\ i >= store.parked[log[i].s])
LastRuling(i, p) ==  \* ValidFrom, said again apart from what the fold uses
  Max({i} \cup { j \in 1..p : j > i /\ log[j].kind = "ruling" /\ Admitted(j)
                              /\ log[j].on < i /\ log[log[j].on].s = log[i].s
                              /\ ~\E k \in 1..(j - 1) : log[k].kind = "ruling" /\ Admitted(k) /\ log[k].on = log[j].on })
(* The rows are the fold of the admitted prefix, each written once, each   *)
(* valid from where every other reader says; with the checkpoint (I5).     *)
I4 == \A i \in 1..LogMax :
  IF i <= Len(log) /\ Shown(i) THEN store.rows[i] = LastRuling(i, store.next) /\ store.times[i] = 1
  ELSE store.rows[i] = 0
AdmissionCarried == store.adm = AdmAt(store.next)
(* A ruling releases its stream; nothing is parked that can be folded.     *)
ParkedForAReason == \A s \in Streams : LET t == store.parked[s] IN
  t # 0 => Event(t) /\ (log[t].bad \/ RulingsOn(t, Len(log)) # {}) /\ RulingsOn(t, store.next) = {}
=============================================================================
