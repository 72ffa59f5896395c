// Which instruction set is used: the best that was compiled and that this processor has.
#include "table.h"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace {

bool has(const char *isa) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (!std::strcmp(isa, "avx2")) return avx2;
    if (!std::strcmp(isa, "avx512"))
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
#endif
    return !std::strcmp(isa, "baseline");
}

const std::vector<const tmg_table *> &usable() {
    static const auto found = [] {
        std::vector<const tmg_table *> tables;
        if (tmg_table_avx512 && has("avx512")) tables.push_back(tmg_table_avx512());
        if (tmg_table_avx2 && has("avx2")) tables.push_back(tmg_table_avx2());
        if (tmg_table_baseline && has("baseline")) tables.push_back(tmg_table_baseline());
        return tables;
    }();
    return found;
}

std::atomic<const tmg_table *> chosen{nullptr};

}  // namespace

const tmg_table *tmg_in_use() {
    const tmg_table *table = chosen.load(std::memory_order_acquire);
    return table || usable().empty() ? table : usable().front();
}

#define TMG_API extern "C" __attribute__((visibility("default")))

TMG_API int32_t tmg_version(void) { return 1; }

TMG_API const char *tmg_isa(void) { return tmg_in_use() ? tmg_in_use()->name : ""; }

TMG_API const char *tmg_isas(void) {
    static const std::string names = [] {
        std::string joined;
        for (const tmg_table *table : usable()) joined += (joined.empty() ? "" : ",") + std::string(table->name);
        return joined;
    }();
    return names.c_str();
}

TMG_API int32_t tmg_use_isa(const char *isa) {
    for (const tmg_table *table : usable())
        if (isa && !std::strcmp(table->name, isa)) {
            chosen.store(table, std::memory_order_release);
            return 0;
        }
    return -1;
}
