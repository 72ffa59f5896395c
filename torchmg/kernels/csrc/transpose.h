// Matrices turned round, W x W floats at a time in registers.
#pragma once

#include <algorithm>
#include <utility>

#include "simd.h"

namespace TMG_NS {

// a[at] b[at] a[at + 1] b[at + 1] ...
template <int at, int... I>
TMG_INLINE vec woven(vec a, vec b, std::integer_sequence<int, I...>) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, (at + I / 2 + I % 2 * W)...);
#else
  return __builtin_shuffle(a, b, ivec{(at + I / 2 + I % 2 * W)...});
#endif
}

// Each round of weaving the first half with the second rotates the bits of (row, column) by one.
TMG_INLINE void turn(vec *a) {
  constexpr std::make_integer_sequence<int, W> all{};
#pragma GCC unroll 4
  for (int round = 1; round < W; round *= 2) {
    vec b[W];
#pragma GCC unroll 16
    for (int i = 0; i < W / 2; ++i) {
      b[2 * i] = woven<0>(a[i], a[i + W / 2], all);
      b[2 * i + 1] = woven<W / 2>(a[i], a[i + W / 2], all);
    }
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) a[i] = b[i];
  }
}

// `values` floats of each of `rows` rows, of which source(row, first, floats) loads a vector, to [values][pitch], zeros
// behind the rows; pitch is a multiple of W. What does not fill a vector at the end is read with what is before it.
template <class Source>
inline void turn_in(const Source &source, int rows, int values, float *to, int pitch) {
  const int some = std::min(values, W);
  for (int r = 0; r < pitch; r += W) {
    const int there = std::clamp(rows - r, 0, W);
    for (int i = 0; i < values; i += W) {
      const int first = std::min(i, values - some);
      vec a[W];
#pragma GCC unroll 16
      for (int j = 0; j < W; ++j) a[j] = j < there ? source(r + j, first, some) : vec{};
      turn(a);
      float *at = to + int64_t(first) * pitch + r;
#pragma GCC unroll 16
      for (int j = 0; j < W; ++j)
        if (j < some) store(at + int64_t(j) * pitch, a[j]);
    }
  }
}

// And back: to rows `next` floats apart.
inline void turn_out(const float *from, int pitch, int rows, int values, float *to, int64_t next) {
  const int some = std::min(values, W);
  for (int r = 0; r < rows; r += W) {
    const int there = std::min(rows - r, W);
    for (int i = 0; i < values; i += W) {
      const int first = std::min(i, values - some);
      const float *at = from + int64_t(first) * pitch + r;
      vec a[W];
#pragma GCC unroll 16
      for (int j = 0; j < W; ++j) a[j] = j < some ? load(at + int64_t(j) * pitch) : vec{};
      turn(a);
      float *row = to + r * next + first;
#pragma GCC unroll 16
      for (int j = 0; j < W; ++j)
        if (j < there) store_some(row + j * next, a[j], some);
    }
  }
}

}  // namespace TMG_NS
