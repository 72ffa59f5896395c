// Threads that stay, and memory that each of them keeps.
#pragma once

#include <cstddef>

extern "C" {

// Calls task(context, index, thread) for index 0 .. tasks - 1 on up to `threads` threads, the caller among them, and
// returns when all are done. With tasks == threads, index == thread and all run at the same time, so that they may wait
// for each other. Callers from several threads take turns; a call from within a task runs its tasks one by one.
void tmg_parallel(int threads, int tasks, void (*task)(void *context, int index, int thread), void *context);
}

// At least `floats` of this thread's own memory, aligned to 64 bytes, with whatever it held before. Each slot (0 or 1)
// is one piece. Null if there is no such memory.
float *tmg_scratch(std::size_t floats, int slot = 0);
