// The functions of one instruction set, behind one pointer.
#pragma once

#include "train_table.h"

struct tmg_table {
    const char *name;
#define TMG_FIELD(result, name, arguments) result(*name) arguments;
    TMG_TRAIN_TABLE(TMG_FIELD)
#undef TMG_FIELD
};

// Weak: those that were not compiled are null.
__attribute__((weak)) const tmg_table *tmg_table_avx512();
__attribute__((weak)) const tmg_table *tmg_table_avx2();
__attribute__((weak)) const tmg_table *tmg_table_baseline();

const tmg_table *tmg_in_use();
