// After each of torch's operators OpenMP's threads spin for a while. Threads of our own would share processors with
// them, and a network of torch's operators and ours takes several times as long. So the run-time that torch has loaded
// is looked up, not linked: GCC's and Intel's both have these functions.
#include "openmp.h"

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>

namespace {

std::atomic<bool> forked{false};  // in a child OpenMP waits for threads that only the parent has

struct Runtime {
  void (*parallel)(void (*)(void *), void *, unsigned, unsigned);
  int (*threads)();
  int (*self)();

  template <class F>
  static void find(F &function, const char *name) {
    function = reinterpret_cast<F>(dlsym(RTLD_DEFAULT, name));
  }
  Runtime() {
    find(parallel, "GOMP_parallel");
    find(threads, "omp_get_num_threads");
    find(self, "omp_get_thread_num");
    pthread_atfork(nullptr, nullptr, [] { forked = true; });
  }
  bool found() const { return parallel && threads && self; }
};

const Runtime &runtime() {
  static const Runtime found;
  return found;
}

struct Region {
  int threads;
  void (*body)(void *, int);
  void *context;
  std::atomic<bool> short_of_threads{false};
};

void run(void *p) {
  Region &region = *static_cast<Region *>(p);
  if (runtime().threads() == region.threads) return region.body(region.context, runtime().self());
  region.short_of_threads = true;
}

}  // namespace

bool tmg_on_openmp(int threads, void (*body)(void *, int), void *context) {
  if (!runtime().found() || forked) return false;
  Region region{threads, body, context};
  runtime().parallel(run, &region, unsigned(threads), 0);
  return !region.short_of_threads;
}
