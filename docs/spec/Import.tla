------------------------------- MODULE Import -------------------------------
(***************************************************************************)
(* Imports that are larger than one record.  Requests with an idempotency  *)
(* key send commands to the stream of the agent that they make: begin (it  *)
(* bears the agent's blocks), append record 1, 2, .., seal.  A request may *)
(* die after any command, come again, or run twice at once, also with      *)
(* another file; every command that was ever sent may take effect again.   *)
(* That one command takes effect at most once where it is decided, and     *)
(* what was acknowledged stays, is Ownership's business: here a command is *)
(* one step.  What must hold is about the whole import.                    *)
(***************************************************************************)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS
  Requests,   \* requests that may run at once
  Keys, Files,
  Length,     \* records of a file
  Broken      \* the rule that this run breaks, or "none"

VARIABLES
  agent,   \* state of the stream of each agent
  request, \* what each request is about and what it sends next
  sent,    \* commands that were ever sent
  done,    \* <<key, file>>: a client was told that its import is done
  gone,    \* agents of which a client was told that the import is over
  day      \* agents whose day has passed, by the clock that decides
vars == <<agent, request, sent, done, gone, day>>
Symmetry == Permutations(Requests)

(* The agent's id comes from the key: a retry finds it.                    *)
Ids == Keys \X (Requests \cup {"-"})
IdOf(r, key) == <<key, IF Broken = "fresh-agent" THEN r ELSE "-">>

Unborn == [file |-> "none", records |-> << >>, sealed |-> FALSE]
Nobody == [key |-> "-", file |-> "-", step |-> 0, id |-> << >>]
Begin == 0
Seal == Length + 1

Init ==
  /\ agent = [a \in Ids |-> Unborn]
  /\ request = [r \in Requests |-> Nobody]
  /\ sent = {} /\ done = {} /\ gone = {} /\ day = {}

Over(a) == a \in day /\ ~agent[a].sealed

(* What a command comes to: the answer, and the next state.                *)
Answer(a, file, step) ==
  LET s == agent[a] IN
  IF s.file = "none" THEN IF step = Begin THEN "ok" ELSE "no such agent"
  ELSE IF Over(a) THEN "gone"
  ELSE IF step = Begin THEN IF s.file = file \/ Broken = "hash-unchecked" THEN "ok" ELSE "conflict"
  ELSE IF s.sealed THEN "ok"
  ELSE IF step = Seal
       THEN IF Len(s.records) >= Length \/ Broken = "seal-uncounted" THEN "ok" ELSE "conflict"
  ELSE IF step <= Len(s.records) + 1 \/ Broken = "append-ahead" THEN "ok" ELSE "conflict"
After(a, file, step) ==
  LET s == agent[a] IN
  IF Answer(a, file, step) # "ok" \/ s.sealed THEN s
  ELSE IF step = Begin THEN IF s.file = "none" THEN [s EXCEPT !.file = file] ELSE s
  ELSE IF step = Seal THEN [s EXCEPT !.sealed = TRUE]
  ELSE IF (step > Len(s.records) \/ Broken = "append-again") /\ Len(s.records) <= Length
       THEN [s EXCEPT !.records = Append(@, <<file, step>>)] ELSE s

Arrive(r, key, file) ==
  /\ request[r] = Nobody
  /\ request' = [request EXCEPT ![r] = [key |-> key, file |-> file, step |-> Begin, id |-> IdOf(r, key)]]
  /\ UNCHANGED <<agent, sent, done, gone, day>>

(* The request's next command, decided and answered.                       *)
Send(r) ==
  LET q == request[r] IN
  /\ q # Nobody
  /\ agent' = [agent EXCEPT ![q.id] = After(q.id, q.file, q.step)]
  /\ sent' = sent \cup {<<q.id, q.file, q.step>>}
  /\ LET answer == Answer(q.id, q.file, q.step) IN
     /\ request' = [request EXCEPT ![r] = IF answer = "ok" /\ q.step # Seal THEN [q EXCEPT !.step = @ + 1]
                                          ELSE Nobody]
     /\ done' = IF answer = "ok" /\ q.step = Seal THEN done \cup {<<q.key, q.file>>} ELSE done
     /\ gone' = IF answer = "gone" THEN gone \cup {q.id} ELSE gone
  /\ day' = day

(* Goes on although its command is lost: the numbers must notice it.  Only *)
(* the begin must be answered first: it compares the files.                *)
GoOn(r) ==
  LET q == request[r] IN
  /\ q # Nobody /\ q.step \notin {Begin, Seal}
  /\ sent' = sent \cup {<<q.id, q.file, q.step>>}
  /\ request' = [request EXCEPT ![r].step = @ + 1]
  /\ UNCHANGED <<agent, done, gone, day>>

(* A copy of a command, or one whose answer was lost.                      *)
Stray(c) ==
  /\ agent' = [agent EXCEPT ![c[1]] = After(c[1], c[2], c[3])]
  /\ UNCHANGED <<request, sent, done, gone, day>>

Die(r) ==
  /\ request[r] # Nobody
  /\ request' = [request EXCEPT ![r] = Nobody]
  /\ UNCHANGED <<agent, sent, done, gone, day>>

DayPasses(a) ==
  /\ agent[a].file # "none" /\ ~agent[a].sealed
  /\ day' = day \cup {a}
  /\ UNCHANGED <<agent, request, sent, done, gone>>

(* A new owner whose clock is behind.  The decision must not go by it.     *)
ClockBack(a) ==
  /\ Broken = "clock-back" /\ a \in day
  /\ day' = day \ {a}
  /\ UNCHANGED <<agent, request, sent, done, gone>>

Next ==
  \/ \E r \in Requests : Send(r) \/ GoOn(r) \/ Die(r) \/ \E key \in Keys, file \in Files : Arrive(r, key, file)
  \/ \E c \in sent : Stray(c)
  \/ \E a \in Ids : DayPasses(a) \/ ClockBack(a)
Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
(* What lists, reads and block queries show.                               *)
Visible(a) == IF Broken = "shown-when-begun" THEN agent[a].file # "none" ELSE agent[a].sealed

(* Nobody sees less than a whole agent, or one made of two files.          *)
WholeWhenVisible == \A a \in Ids :
  Visible(a) => agent[a].records = [i \in 1..Length |-> <<agent[a].file, i>>]
DoneIsThere == \A d \in done : \E a \in Ids : a[1] = d[1] /\ Visible(a) /\ agent[a].file = d[2]
OnePerKey == \A k \in Keys : Cardinality({ a \in Ids : a[1] = k /\ Visible(a) }) <= 1
(* An import that a client was told is over is never there again.          *)
GoneStays == \A a \in gone : ~Visible(a)
=============================================================================
