// What every instruction set offers under one name.
#pragma once

#include "program.h"
#include "train_table.h"

struct tmg_table {
  const char *name;
  int block;  // output channels of a tile, see tile.h
  int width;  // floats of a vector
  void (*run_step)(const tmg::Program &, const tmg::Step &, int part, const tmg::Place &);
#define TMG_FIELD(result, function, arguments) result(*function) arguments;
  TMG_TRAIN_TABLE(TMG_FIELD)
#undef TMG_FIELD
};

// Null where the library was built without one.
extern "C" {
const tmg_table *tmg_table_avx512() __attribute__((weak));
const tmg_table *tmg_table_avx2() __attribute__((weak));
const tmg_table *tmg_table_baseline() __attribute__((weak));
}

// The one in use; null if this CPU has none of them.
const tmg_table *tmg_now();
