// What every instruction set offers under one name.
#pragma once

#include "program.h"

struct tmg_table {
  const char *name;
  int block;  // output channels of a tile, see tile.h
  int width;  // floats of a vector
  void (*run_step)(const tmg::Program &, const tmg::Step &, int part, const tmg::Place &);
};

// Null where the library was built without one.
extern "C" {
const tmg_table *tmg_table_avx512() __attribute__((weak));
const tmg_table *tmg_table_avx2() __attribute__((weak));
const tmg_table *tmg_table_baseline() __attribute__((weak));
const tmg_table *tmg_table_in_use();
}
