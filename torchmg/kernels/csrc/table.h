// The functions of one instruction set, behind one pointer.
#pragma once

struct tmg_table {
    const char *name;
};

// Weak: those that were not compiled are null.
__attribute__((weak)) const tmg_table *tmg_table_avx512();
__attribute__((weak)) const tmg_table *tmg_table_avx2();
__attribute__((weak)) const tmg_table *tmg_table_baseline();

const tmg_table *tmg_in_use();
