---------------------------- MODULE Generations ----------------------------
(***************************************************************************)
(* The views are kept in generations.  One is active: workers fold the log *)
(* into it, readers read it.  A rebuild fills the next one, finishes it    *)
(* (closings and indexes: before that its rows say nothing), and puts it   *)
(* in the active one's place: in one transaction that locks the active     *)
(* generation's checkpoints and finds new >= old in every partition.       *)
(*                                                                         *)
(* Two programs may want to rebuild; which of them does is a lease that    *)
(* can run out while its holder is paused.  Everybody may crash between    *)
(* any two steps: what is left is what is in the store.                    *)
(*                                                                         *)
(* A generation's partition is its checkpoint `next` and `ver`; `alien`    *)
(* says that rows are in it that its own fold of its prefix of the log     *)
(* does not give (another generation has another fold: that is what a      *)
(* rebuild is for).                                                        *)
(***************************************************************************)
EXTENDS Integers, FiniteSets, TLC

CONSTANTS
  Parts,      \* partitions
  Workers, Tools, Readers,
  LogMax,     \* records of a partition
  MadeMax,    \* generations that are begun, aborted ones too
  Broken      \* the rule that this run breaks, or "none"

VARIABLES
  end,        \* of the log, per partition
  gen,        \* what the store holds, per generation
  active,
  lease,      \* who makes the next generation
  made,
  w, tool, rd,
  told,       \* what a worker has said to be in the views
  shown,      \* what a reader was shown, the newest of each partition
  back        \* somebody was shown less, or found nothing where he had to read
vars == <<end, gen, active, lease, made, w, tool, rd, told, shown, back>>
Symmetry == Permutations(Workers) \cup Permutations(Tools)

Ids == 1..(MadeMax + 1)
Nobody == "nobody"
Max(a, b) == IF a > b THEN a ELSE b
MaxOf(f) == CHOOSE x \in { f[p] : p \in Parts } : \A p \in Parts : f[p] <= x

Place0 == [next |-> 0, ver |-> 0, alien |-> FALSE]
Absent == [there |-> FALSE, whole |-> FALSE, at |-> [p \in Parts |-> Place0]]
Fresh == [Absent EXCEPT !.there = TRUE]

IdleWorker == [st |-> "idle", g |-> 0, p |-> CHOOSE p \in Parts : TRUE, next |-> 0, ver |-> 0, upto |-> 0]
IdleTool == [st |-> "idle", g |-> 0, leased |-> FALSE, knows |-> FALSE]
IdleReader == [st |-> "idle", g |-> 0, floor |-> [p \in Parts |-> 0]]

Init ==
  /\ end = [p \in Parts |-> 0]
  /\ gen = [g \in Ids |-> IF g = 1 THEN [Fresh EXCEPT !.whole = TRUE] ELSE Absent]
  /\ active = 1 /\ lease = Nobody /\ made = 0
  /\ w = [x \in Workers |-> IdleWorker]
  /\ tool = [t \in Tools |-> IdleTool]
  /\ rd = [r \in Readers |-> IdleReader]
  /\ told = [p \in Parts |-> 0] /\ shown = [p \in Parts |-> 0] /\ back = FALSE

Grow(p) ==
  /\ end[p] < LogMax
  /\ end' = [end EXCEPT ![p] = @ + 1]
  /\ UNCHANGED <<gen, active, lease, made, w, tool, rd, told, shown, back>>

-----------------------------------------------------------------------------
(* Workers: which generation is active and its checkpoint in one read; a   *)
(* batch; a commit that names the generation it was folded for.            *)

Load(x, p) ==
  /\ w[x].st = "idle"
  /\ w' = [w EXCEPT ![x] = [st |-> "loaded", g |-> active, p |-> p, next |-> gen[active].at[p].next,
                            ver |-> gen[active].at[p].ver, upto |-> 0]]
  /\ UNCHANGED <<end, gen, active, lease, made, tool, rd, told, shown, back>>

Take(x) ==
  /\ w[x].st = "loaded"
  /\ \E u \in (w[x].next + 1)..end[w[x].p] : w' = [w EXCEPT ![x].st = "ready", ![x].upto = u]
  /\ UNCHANGED <<end, gen, active, lease, made, tool, rd, told, shown, back>>

Target(x) == IF Broken = "unnamed" THEN active ELSE w[x].g
Fits(x) == LET at == gen[Target(x)].at[w[x].p] IN
  gen[Target(x)].there /\ at.ver = w[x].ver /\ at.next = w[x].next
Landed(x) ==
  [gen EXCEPT ![Target(x)].at[w[x].p] =
     [next |-> w[x].upto, ver |-> w[x].ver + 1, alien |-> @.alien \/ Target(x) # w[x].g]]

Commit(x) ==
  /\ w[x].st = "ready"
  /\ \/ /\ Fits(x) /\ gen' = Landed(x)                                  \* and told so
        /\ told' = [told EXCEPT ![w[x].p] = Max(@, w[x].upto)]
        /\ w' = [w EXCEPT ![x].st = "loaded", ![x].next = w[x].upto, ![x].ver = @ + 1, ![x].upto = 0]
     \/ /\ Fits(x) /\ gen' = Landed(x) /\ w' = [w EXCEPT ![x] = IdleWorker]   \* the outcome is lost
        /\ UNCHANGED told
     \/ ~Fits(x) /\ w' = [w EXCEPT ![x] = IdleWorker] /\ UNCHANGED <<gen, told>>
  /\ UNCHANGED <<end, active, lease, made, tool, rd, shown, back>>

WorkerCrash(x) ==
  /\ w[x] # IdleWorker /\ w' = [w EXCEPT ![x] = IdleWorker]
  /\ UNCHANGED <<end, gen, active, lease, made, tool, rd, told, shown, back>>

-----------------------------------------------------------------------------
(* Who rebuilds.                                                           *)

Next1 == active + 1
MayTake(t) == lease \in {Nobody, t} \/ Broken = "two-rebuilds"

Begin(t) ==
  /\ tool[t].st = "idle" /\ Next1 \in Ids /\ MayTake(t)
  /\ IF gen[Next1].there THEN UNCHANGED <<gen, made>>
     ELSE made < MadeMax /\ made' = made + 1 /\ gen' = [gen EXCEPT ![Next1] = Fresh]
  /\ lease' = t
  /\ tool' = [tool EXCEPT ![t] = [st |-> "work", g |-> Next1, leased |-> TRUE, knows |-> gen'[Next1].whole]]
  /\ UNCHANGED <<end, active, w, rd, told, shown, back>>

(* It is not heard of for too long: crashed, or paused and yet to come.    *)
Expire ==
  /\ lease # Nobody /\ lease' = Nobody
  /\ tool' = [tool EXCEPT ![lease].leased = FALSE]
  /\ UNCHANGED <<end, gen, active, made, w, rd, told, shown, back>>

(* Whoever comes back and finds the lease free has it again.               *)
Keep(t) ==
  /\ tool[t].st = "work" /\ ~tool[t].leased /\ lease = Nobody /\ gen[tool[t].g].there
  /\ lease' = t /\ tool' = [tool EXCEPT ![t].leased = TRUE]
  /\ UNCHANGED <<end, gen, active, made, w, rd, told, shown, back>>

(* By compare-and-set, as workers do it: of a step and its attempt nothing *)
(* else is left.  One that was paused may come to another generation of    *)
(* the same number.                                                        *)
Fill(t, p) ==
  /\ tool[t].st = "work" /\ gen[tool[t].g].there
  /\ \E u \in (gen[tool[t].g].at[p].next + 1)..end[p] :
       gen' = [gen EXCEPT ![tool[t].g].at[p] = [@ EXCEPT !.next = u, !.ver = @ + 1]]
  /\ UNCHANGED <<end, active, lease, made, w, tool, rd, told, shown, back>>

Finish(t) ==
  /\ tool[t].st = "work" /\ ~tool[t].knows /\ gen[tool[t].g].there
  /\ gen' = [gen EXCEPT ![tool[t].g].whole = TRUE]
  /\ tool' = [tool EXCEPT ![t].knows = TRUE]
  /\ UNCHANGED <<end, active, lease, made, w, rd, told, shown, back>>

Reached(g) ==
  CASE Broken = "no-compare" -> TRUE
    [] Broken = "one-compared" ->
         \E p \in Parts : gen[g].at[p].next >= gen[active].at[p].next
    [] OTHER -> \A p \in Parts : gen[g].at[p].next >= gen[active].at[p].next

(* After it no batch that was folded for the old one fits anywhere.        *)
Ended(g) ==
  LET top == MaxOf([p \in Parts |-> gen[active].at[p].ver])
      new == [p \in Parts |-> [gen[g].at[p] EXCEPT !.ver = @ + (IF Broken = "unnamed" THEN 0 ELSE top)]]
      old == [p \in Parts |-> [gen[active].at[p] EXCEPT !.ver = @ + (IF Broken = "old-goes-on" THEN 0 ELSE 1)]]
  IN [gen EXCEPT ![g].at = new, ![active].at = old]

(* The switch: one transaction, which also looks whether the generation of *)
(* that number is finished: another may have begun it anew.  In "no-lock"  *)
(* it is two, and workers go on between what it has seen and what it does. *)
Switch(t) ==
  /\ tool[t].st = (IF Broken = "no-lock" THEN "seen" ELSE "work")
  /\ tool[t].knows
  /\ tool[t].g = active + 1 /\ gen[tool[t].g].there
  /\ gen[tool[t].g].whole \/ Broken = "shown-unfinished"
  /\ Broken = "no-lock" \/ Reached(tool[t].g)
  /\ gen' = Ended(tool[t].g)
  /\ active' = tool[t].g /\ lease' = Nobody
  /\ tool' = [[x \in Tools |-> [tool[x] EXCEPT !.leased = FALSE]] EXCEPT ![t] = [IdleTool EXCEPT !.st = "shown", !.g = tool[t].g]]
  /\ UNCHANGED <<end, made, w, rd, told, shown, back>>
Look(t) ==
  /\ Broken = "no-lock" /\ tool[t].st = "work" /\ tool[t].knows /\ gen[tool[t].g].there
  /\ Reached(tool[t].g)
  /\ tool' = [tool EXCEPT ![t].st = "seen"]
  /\ UNCHANGED <<end, gen, active, lease, made, w, rd, told, shown, back>>

(* The old ones go when it likes; also those that another has left.        *)
Drop(t) ==
  /\ tool[t].st = "shown"
  /\ gen' = [g \in Ids |-> IF g < active THEN Absent ELSE gen[g]]
  /\ tool' = [tool EXCEPT ![t] = IdleTool]
  /\ UNCHANGED <<end, active, lease, made, w, rd, told, shown, back>>

ToolCrash(t) ==
  /\ tool[t].st # "idle" /\ tool' = [tool EXCEPT ![t] = IdleTool]
  /\ UNCHANGED <<end, gen, active, lease, made, w, rd, told, shown, back>>

Torn(at) == [at EXCEPT !.alien = @ \/ at.next > 0]

(* It is gone, or it is empty, if whoever aborts dies on the way.  In      *)
(* "aborted-in-pieces" the newest pages went before the rest did.          *)
Abort(t) ==
  /\ Next1 \in Ids /\ gen[Next1].there /\ tool[t].st = "idle" /\ MayTake(t)
  /\ \/ gen' = [gen EXCEPT ![Next1] = Absent]
     \/ gen' = [gen EXCEPT ![Next1] =
                  IF Broken = "aborted-in-pieces"
                  THEN [@ EXCEPT !.at = [p \in Parts |-> Torn(gen[Next1].at[p])]]
                  ELSE Fresh]
  /\ lease' = Nobody
  /\ tool' = [x \in Tools |-> [tool[x] EXCEPT !.leased = FALSE]]
  /\ UNCHANGED <<end, active, made, w, rd, told, shown, back>>

-----------------------------------------------------------------------------
(* Readers: which generation is active, then that one, then whether it     *)
(* still is.  Whoever begins to read expects what was told or shown to     *)
(* anybody before.                                                         *)

Pick(r) ==
  /\ rd[r].st = "idle"
  /\ rd' = [rd EXCEPT ![r] = [st |-> "picked",
       g |-> IF Broken = "reader-remembers" /\ rd[r].g # 0 THEN rd[r].g ELSE active,
       floor |-> [p \in Parts |-> Max(told[p], shown[p])]]]
  /\ UNCHANGED <<end, gen, active, lease, made, w, tool, told, shown, back>>

Read(r) ==
  LET g == rd[r].g
      again == active # g /\ Broken # "reader-remembers"
  IN
  /\ rd[r].st = "picked"
  /\ IF again THEN rd' = [rd EXCEPT ![r] = IdleReader] /\ UNCHANGED <<shown, back>>
     ELSE /\ rd' = [rd EXCEPT ![r].st = "idle"]
          /\ shown' = [p \in Parts |-> Max(shown[p], gen[g].at[p].next)]
          /\ back' = (back \/ ~gen[g].there \/ \E p \in Parts : gen[g].at[p].next < rd[r].floor[p])
  /\ UNCHANGED <<end, gen, active, lease, made, w, tool, told>>

Next ==
  \/ \E p \in Parts : Grow(p)
  \/ \E x \in Workers : (\E p \in Parts : Load(x, p)) \/ Take(x) \/ Commit(x) \/ WorkerCrash(x)
  \/ Expire
  \/ \E t \in Tools : Begin(t) \/ Keep(t) \/ (\E p \in Parts : Fill(t, p)) \/ Finish(t) \/ Look(t) \/ Switch(t)
                      \/ Drop(t) \/ ToolCrash(t) \/ Abort(t)
  \/ \E r \in Readers : Pick(r) \/ Read(r)
Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* No read shows less than one before it, or than what was waited for.     *)
NeverBack == ~back
(* What is read is the fold of the log, whole; and never beyond the log.   *)
ActiveIsFold == /\ gen[active].there /\ gen[active].whole
                /\ \A p \in Parts : ~gen[active].at[p].alien /\ gen[active].at[p].next <= end[p]
(* So is what a rebuild goes on with.                                      *)
NextIsFold == \A g \in Ids : g > active /\ gen[g].there => \A p \in Parts : ~gen[g].at[p].alien
OneNext == \A g \in Ids : gen[g].there => g <= active + 1
OneRebuild == Cardinality({ t \in Tools : tool[t].leased }) <= 1
=============================================================================
