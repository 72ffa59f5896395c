#include "pool.h"

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "openmp.h"

namespace {

// About 20 microseconds: longer than the pause between two layers, shorter than anybody minds.
constexpr int SPINS = 4000;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

struct Signal {
  std::atomic<unsigned> value{0};
  std::mutex mutex;
  std::condition_variable changed;

  void set(unsigned to) {
    {
      std::lock_guard<std::mutex> lock(mutex);
      value.store(to, std::memory_order_release);
    }
    changed.notify_one();
  }

  void await(unsigned wanted) {
    for (int i = 0; i < SPINS; ++i) {
      if (value.load(std::memory_order_acquire) == wanted) return;
      relax();
    }
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return value.load(std::memory_order_acquire) == wanted; });
  }
};

struct Job {
  void (*task)(void *, int, int);
  void *context;
  int tasks, threads;
  std::atomic<int> next{0}, working{0};
};

thread_local bool inside = false;

void work(Job &job, int thread) {
  inside = true;
  if (job.tasks == job.threads) {
    job.task(job.context, thread, thread);
  } else {
    for (int i; (i = job.next.fetch_add(1, std::memory_order_relaxed)) < job.tasks;) job.task(job.context, i, thread);
  }
  inside = false;
}

// Threads of our own, where there is no OpenMP.
struct Pool {
  std::mutex turn;
  std::deque<Signal> starts;  // one for each worker: how many jobs it was given
  Signal done;                // the number of the last job that all workers have left
  Job *job = nullptr;
  unsigned jobs = 0;

  void serve(Signal *mine_alone, int thread) {
    Signal &start = *mine_alone;
    for (unsigned given = 1;; ++given) {
      start.await(given);
      Job &mine = *job;
      const unsigned number = jobs;
      work(mine, thread);
      if (mine.working.fetch_sub(1, std::memory_order_acq_rel) == 1) done.set(number);
    }
  }

  bool grow(int workers) {
    while (static_cast<int>(starts.size()) < workers) {
      starts.emplace_back();
      try {
        std::thread(&Pool::serve, this, &starts.back(), static_cast<int>(starts.size())).detach();
      } catch (const std::system_error &) {
        starts.pop_back();
        return false;
      }
    }
    return true;
  }

  void run(Job &mine) {
    std::lock_guard<std::mutex> lock(turn);
    const int workers = mine.threads - 1;
    if (!grow(workers)) {  // no more threads to be had: whoever wants them all at once cannot be served
      if (mine.tasks == mine.threads) std::abort();
      mine.threads = 1;
      return work(mine, 0);
    }
    job = &mine;
    const unsigned number = ++jobs;
    mine.working.store(workers, std::memory_order_relaxed);
    for (int i = 0; i < workers; ++i) starts[i].set(starts[i].value.load(std::memory_order_relaxed) + 1);
    work(mine, 0);
    done.await(number);
  }
};

// Never destroyed: workers sleep in it when the process ends. After a fork the child has none of the workers.
alignas(Pool) unsigned char storage[sizeof(Pool)];
Pool *pool() {
  static Pool *const made = [] {
    pthread_atfork(nullptr, nullptr, [] { new (storage) Pool; inside = false; });
    return new (storage) Pool;
  }();
  return made;
}

struct Memory {
  float *start = nullptr;
  std::size_t size = 0;
  ~Memory() { std::free(start); }
};
thread_local Memory memory[2];

}  // namespace

extern "C" void tmg_parallel(int threads, int tasks, void (*task)(void *, int, int), void *context) {
  if (tasks < threads) threads = tasks;
  if (threads <= 1 || inside) {
    for (int i = 0; i < tasks; ++i) task(context, i, threads == tasks ? i : 0);
    return;
  }
  Job job;
  job.task = task, job.context = context, job.tasks = tasks, job.threads = threads;
  const auto body = [](void *mine, int thread) { work(*static_cast<Job *>(mine), thread); };
  if (!tmg_on_openmp(threads, body, &job)) pool()->run(job);
}

float *tmg_scratch(std::size_t floats, int slot) {
  Memory &mine = memory[slot];
  if (mine.size < floats) {
    std::free(mine.start);
    mine.size = (floats + 1023) / 1024 * 1024;
    mine.start = static_cast<float *>(std::aligned_alloc(64, mine.size * sizeof(float)));
    if (!mine.start) mine.size = 0;
  }
  return mine.start;
}
