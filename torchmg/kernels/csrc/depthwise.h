// A depthwise convolution row by row: each row that is loaded serves all output rows that its taps reach.
//
// With one input a group there is one product for every load of the flattened form, and shifted loads are what it waits
// for. Here they are shared, and vectors of eight fit rows of 7 and 14 pixels.
#pragma once

#include "act.h"

namespace TMG_NS {

constexpr int LANES = W < 8 ? W : 8;
typedef float row_vec __attribute__((vector_size(4 * LANES)));
typedef float row_vec_at __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t row_mask __attribute__((vector_size(4 * LANES)));
typedef int32_t row_mask_at __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

struct DepthwiseCall {
  const float *x, *w;  // the weight of tap t at w[t * step]
  int step;
  float bias;
  const float *add0, *add1;
  float *y;
  int row, height, width, act;  // floats from one row to the next, of all tensors
};

// -1 as often as there are lanes, and then as many zeros.
struct RowMasks {
  int32_t values[2 * LANES] = {};
  constexpr RowMasks() {
    for (int i = 0; i < LANES; ++i) values[i] = -1;
  }
};

// R output rows from `top` on, from their right ends to the left: what hangs over the end of a row is zero, and the
// pixels of the next row that it hits are written after it.
template <int K, int R>
TMG_INLINE void depthwise_rows(const DepthwiseCall &call, const row_vec (&w)[K * K], int top) {
  static constexpr RowMasks masks;
  const float *x = call.x + (top - K / 2) * call.row - K / 2;
  for (int left = (call.width - 1) / LANES * LANES; left >= 0; left -= LANES) {
    row_vec sums[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sums[r] = call.bias - row_vec{};
#pragma GCC unroll 16
    for (int i = 0; i < R + K - 1; ++i) {
#pragma GCC unroll 8
      for (int dx = 0; dx < K; ++dx) {
        const row_vec in = *reinterpret_cast<const row_vec_at *>(x + i * call.row + left + dx);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
          if (i - r >= 0 && i - r < K) sums[r] += w[(i - r) * K + dx] * in;
      }
    }
    const int full = call.width - left < LANES ? call.width - left : LANES;
    const row_mask mask = *reinterpret_cast<const row_mask_at *>(masks.values + LANES - full);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const int at = (top + r) * call.row + left;
      row_vec s = sums[r];
      if (call.add0) s += *reinterpret_cast<const row_vec_at *>(call.add0 + at);
      s = activated(s, call.act);
      if (call.add1) s += *reinterpret_cast<const row_vec_at *>(call.add1 + at);
      *reinterpret_cast<row_vec_at *>(call.y + at) =
          reinterpret_cast<row_vec>(reinterpret_cast<row_mask>(s) & mask);
    }
  }
}

template <int K>
void depthwise_channel(const DepthwiseCall &call) {
  row_vec w[K * K];
#pragma GCC unroll 32
  for (int t = 0; t < K * K; ++t) w[t] = call.w[t * call.step] - row_vec{};
  // Pads of the rows that nothing hangs over; the pixels of the next row that this hits are written after it.
  for (int x = (call.width + LANES - 1) / LANES * LANES; x < call.row; x += LANES)
    for (int y = 0; y < call.height; ++y)
      *reinterpret_cast<row_vec_at *>(call.y + y * call.row + x) = row_vec{};
  int top = 0;
  for (; top + 4 <= call.height; top += 4) depthwise_rows<K, 4>(call, w, top);
  switch (call.height - top) {
    case 3: return depthwise_rows<K, 3>(call, w, top);
    case 2: return depthwise_rows<K, 2>(call, w, top);
    case 1: return depthwise_rows<K, 1>(call, w, top);
  }
}

// For kernels of this size, or null.
inline void (*depthwise(int kernel_h, int kernel_w))(const DepthwiseCall &) {
  if (kernel_h != kernel_w) return nullptr;
  return kernel_h == 3 ? depthwise_channel<3> : kernel_h == 5 ? depthwise_channel<5> : nullptr;
}

}  // namespace TMG_NS
