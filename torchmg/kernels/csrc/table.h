// The functions of one instruction set.
#pragma once

#include "train_table.h"

struct tmg_table {
#define TMG_FIELD(result, name, arguments) result(*name) arguments;
  TMG_TRAIN_TABLE(TMG_FIELD)
#undef TMG_FIELD
};

// Those in use.
const tmg_table *tmg_now();
