// Everything that is compiled once for each instruction set; `TMG_ISA` names the one at hand.
#include "simd.h"
#include "table.h"
#include "train_affine.h"

#define TMG_TEXT_(a) #a
#define TMG_TEXT(a) TMG_TEXT_(a)

const tmg_table *TMG_JOIN(tmg_table_, TMG_ISA)() {
    static const tmg_table table = {
        TMG_TEXT(TMG_ISA),
#define TMG_FIELD(result, name, arguments) TMG_NS::name,
        TMG_TRAIN_TABLE(TMG_FIELD)
#undef TMG_FIELD
    };
    return &table;
}
