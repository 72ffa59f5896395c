// Which of the compiled instruction sets is used.
#include <atomic>
#include <cstring>
#include <string>

#include "api.h"
#include "table.h"

namespace {

typedef const tmg_table *(*Maker)();

const tmg_table *usable(const char *name) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!std::strcmp(name, "avx512")) {
    const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                     __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
                     __builtin_cpu_supports("fma");
    return has && tmg_table_avx512 ? tmg_table_avx512() : nullptr;
  }
  if (!std::strcmp(name, "avx2"))
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && tmg_table_avx2 ? tmg_table_avx2()
                                                                                              : nullptr;
#endif
  return !std::strcmp(name, "baseline") && tmg_table_baseline ? tmg_table_baseline() : nullptr;
}

const char *const NAMES[] = {"avx512", "avx2", "baseline"};

const tmg_table *best() {
  for (const char *name : NAMES)
    if (const tmg_table *table = usable(name)) return table;
  return nullptr;
}

std::atomic<const tmg_table *> in_use{nullptr};

}  // namespace

const tmg_table *tmg_now() {
  const tmg_table *table = in_use.load();
  if (!table) in_use.store(table = best());
  return table;
}

// Grows when a caller of an older one could no longer use the library.
TMG_API int32_t tmg_version() { return 2; }

TMG_API const char *tmg_isa() {
  const tmg_table *table = tmg_now();
  return table ? table->name : "";
}

TMG_API const char *tmg_isas() {
  static const std::string all = [] {
    std::string names;
    for (const char *name : NAMES)
      if (usable(name)) names += (names.empty() ? "" : ",") + std::string(name);
    return names;
  }();
  return all.c_str();
}

TMG_API int32_t tmg_use_isa(const char *name) {
  const tmg_table *table = usable(name);
  if (!table) return -1;
  in_use.store(table);
  return 0;
}
