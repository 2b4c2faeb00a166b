// Jail: the last guard of a simulated run. Once entered, the process can compute, allocate, print and end,
// and nothing else: a filter of the kernel refuses every other system call, and the processor's clock faults.
// Whatever is refused ends the process (SIGABRT) with a sentence that names the system call and a trace of
// the stack; for a thread that is started by SIGSYS alone, because the C library blocks signals then. It
// cannot be left: enter it after everything is set up, or in a forked child.
//
// It catches what the trip-wire (sim/tripwire.h) cannot see: calls inside of the C library, and rdtsc, by
// which clocks are read without any call. Neither sees std::random_device (an instruction as well):
// deploy/symbol_check.py does.
//
// Still allowed: write and writev to any open file, read of standard input, which a worker gets its seeds by.
// Thread: the process's only one. Not under sanitizers: their runtimes need the world.
#pragma once

namespace varve::sim {

// False in a build with sanitizers, and where the kernel has no such filters.
bool jail_available();

// For ever. Standard output is written to as before. A machine that cannot make the processor's clock fault
// says so on standard error; the rest holds there, too. Ends the process if the jail is not available.
void enter_jail();

}  // namespace varve::sim
