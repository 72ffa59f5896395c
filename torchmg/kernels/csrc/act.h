// Activations of a vector of any length.
#pragma once

#include <cmath>

#include "program.h"
#include "simd.h"

namespace TMG_NS {

using namespace tmg;

// The ones with exponentials, one pixel after the other.
template <class V>
__attribute__((noinline)) V curved(V x, int act) {
  float lanes[sizeof(V) / sizeof(float)];
  std::memcpy(lanes, &x, sizeof(V));
  for (float &v : lanes) {
    if (act == GELU)
      v = 0.5f * v * (1 + std::erf(v * 0.70710678f));
    else
      v = (act == SILU ? v : 1.0f) / (1 + std::exp(-v));
  }
  std::memcpy(&x, lanes, sizeof(V));
  return x;
}

template <class V>
TMG_INLINE V activated(V x, int act) {
  if (act == NONE) return x;
  if (act == RELU) return maximum(x, V{});
  if (act == RELU6) return minimum(maximum(x, V{}), V{} + 6.0f);
  if (act != HARDSIGMOID && act != HARDSWISH) return curved(x, act);
  const V gate = minimum(maximum(x * (1.0f / 6) + 0.5f, V{}), V{} + 1.0f);
  return act == HARDSIGMOID ? gate : x * gate;
}

}  // namespace TMG_NS
