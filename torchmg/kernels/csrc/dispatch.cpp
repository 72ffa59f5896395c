#include <atomic>
#include <cstring>

#include "table.h"

extern const tmg_table tmg_table_avx512, tmg_table_avx2, tmg_table_baseline;

namespace {
struct Choice {
  const char *name;
  const tmg_table *table;
  bool here;
};
const Choice *choices() {
  static const Choice all[] = {
      {"avx512", &tmg_table_avx512, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")},
      {"avx2", &tmg_table_avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
      {"baseline", &tmg_table_baseline, true},
  };
  return all;
}
std::atomic<const Choice *> now{nullptr};
const Choice *current() {
  const Choice *c = now.load();
  if (!c) {
    c = choices();
    while (!c->here) ++c;
    now = c;
  }
  return c;
}
}  // namespace

const tmg_table *tmg_now() { return current()->table; }
extern "C" {
int32_t tmg_version(void) { return 1; }
const char *tmg_isa(void) { return current()->name; }
const char *tmg_isas(void) {
  return choices()[0].here ? "avx512,avx2,baseline" : choices()[1].here ? "avx2,baseline" : "baseline";
}
int32_t tmg_use_isa(const char *name) {
  for (int i = 0; i < 3; ++i)
    if (!std::strcmp(choices()[i].name, name) && choices()[i].here) {
      now = choices() + i;
      return 0;
    }
  return -1;
}
}
