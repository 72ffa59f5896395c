// The threads of torch, where these are OpenMP's.
#pragma once

// Calls body(context, 0 .. threads - 1) on as many of OpenMP's threads, all at the same time, and returns true when all
// are done; false, and nothing was called, where the process has no OpenMP or not that many threads are to be had.
bool tmg_on_openmp(int threads, void (*body)(void *context, int thread), void *context);
