// Compiled once for every instruction set.
#include "steps.h"
#include "table.h"
#include "train_affine.h"
#include "train_conv.h"

#define TMG_STRING_(x) #x
#define TMG_STRING(x) TMG_STRING_(x)

extern "C" const tmg_table *TMG_JOIN(tmg_table_, TMG_ISA)() {
  static const tmg_table table = {TMG_STRING(TMG_ISA), TMG_NS::BLOCK, TMG_NS::W, TMG_NS::run_step,
#define TMG_FIELD(result, function, arguments) TMG_NS::function,
                                  TMG_TRAIN_TABLE(TMG_FIELD)
#undef TMG_FIELD
  };
  return &table;
}
