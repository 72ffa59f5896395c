// A grouped convolution and its gradients, in the layout that wastes least; addends go with planes only.
#pragma once

#include "small_backward.h"

namespace TMG_NS {

inline int32_t conv_forward(const Conv &c, const tmg_train_call &t, int threads) {
  return small_maps(c, !t.scale) && !t.add ? small_forward(c, t, threads) : planes_forward(c, t, threads);
}

inline int32_t conv_backward(const Conv &c, const tmg_train_call &t, int threads) {
  const bool small = small_maps(c, !t.scale && !t.slope) && !t.gadd;
  return small ? small_backward(c, t, threads) : planes_backward(c, t, threads);
}

}  // namespace TMG_NS
