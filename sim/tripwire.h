// Tripwire: catches simulated code that reaches for the real world. A program that links sim/tripwire.cpp
// defines the C library's functions for time, sleep, entropy, threads, files, sockets and the environment
// itself. While a run is armed, the first call of one of them prints a sentence with the function's name and
// a trace of the stack, and aborts; otherwise it is passed on to the C library, under sanitizers too.
//
// It sees calls of the program and of shared libraries such as libstdc++, not those inside of the C library
// (fopen's open, std::filesystem is seen by its stat and opendir) and no instructions: those are the jail's
// (sim/jail.h). Not together with mimalloc, which reads the clock when it gives memory back. Only in
// varve-sim and its probes. Threads: each is armed on its own; a simulated run has one.
#pragma once

namespace varve::sim {

class Tripwire {
 public:
  // Armed as long as one of these lives on this thread.
  class Armed {
   public:
    Armed();
    ~Armed();
    Armed(const Armed&) = delete;
    Armed& operator=(const Armed&) = delete;
  };
  // For what the run itself has to do in between, as a trace's file that is closed: not armed while it lives.
  class Disarmed {
   public:
    Disarmed();
    ~Disarmed();
    Disarmed(const Disarmed&) = delete;
    Disarmed& operator=(const Disarmed&) = delete;

   private:
    int depth_;
  };

  static bool armed();
};

// Of the calling thread, innermost first, to standard error. A place without a name has one for
// llvm-symbolizer-16 --obj=FILE OFFSET. Allocates nothing.
void print_stack();

}  // namespace varve::sim
