// Compiled once for each instruction set, with TMG_ISA its name.
#include "table.h"
#include "train_affine.h"

extern const tmg_table TMG_JOIN(tmg_table_, TMG_ISA);
const tmg_table TMG_JOIN(tmg_table_, TMG_ISA) = {
#define TMG_FIELD(result, name, arguments) TMG_NS::name,
    TMG_TRAIN_TABLE(TMG_FIELD)
#undef TMG_FIELD
};
