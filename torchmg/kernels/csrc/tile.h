// The one inner loop: a few output channels of many neighbouring pixels, as a product of weights and shifted planes.
//
// A convolution over a flattened zero-padded image is  y_o[p] = sum_r w[r][o] x[p + offset[r]],  r over input channels
// and taps: every tap is a shift. Vectors lie along the pixels, so that small groups fill them as well as large ones.
#pragma once

#include "simd.h"

namespace TMG_NS {

// Most vectors of pixels for O output channels: O * V sums, V inputs and a weight stay in registers, with which
// compilers are wasteful where there are 16 of them.
template <int O>
constexpr int most_vectors() {
  return MANY_REGISTERS ? (O == 8 ? 3 : O == 4 ? 6 : 8) : (O == 8 ? 1 : O == 4 ? 2 : O == 2 ? 4 : 6);
}

// Output channels of one tile: as many as leave two vectors of pixels at least.
constexpr int BLOCK = MANY_REGISTERS ? 8 : 4;

// Where a row of the weights reads.
struct Tap {
  int32_t offset, row;
};

template <int O, int V>
struct Tile {
  vec sums[O][V];

  // x points at the first pixel in the first plane; w holds O weights a row.
  TMG_INLINE void multiply(const float *__restrict x, const int32_t *__restrict offset, const float *__restrict w,
                           int rows) {
    accumulate(x, w, rows, [offset](int r) { return Tap{offset[r], r}; });
  }

  // Only the rows that `taps` names.
  TMG_INLINE void multiply(const float *__restrict x, const Tap *__restrict taps, const float *__restrict w,
                           int count) {
    accumulate(x, w, count, [taps](int r) { return taps[r]; });
  }

 private:
  template <class TapOf>
  TMG_INLINE void accumulate(const float *__restrict x, const float *__restrict w, int rows, const TapOf &tap_of) {
    vec a[O][V];
#pragma GCC unroll 8
    for (int o = 0; o < O; ++o)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) a[o][v] = vec{};
    for (int r = 0; r < rows; ++r) {
      const Tap tap = tap_of(r);
      const float *p = x + tap.offset, *weights = w + int64_t(tap.row) * O;
      vec inputs[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) inputs[v] = load(p + v * W);
#pragma GCC unroll 8
      for (int o = 0; o < O; ++o) {
        const vec weight = broadcast(weights[o]);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) a[o][v] += weight * inputs[v];
      }
    }
#pragma GCC unroll 8
    for (int o = 0; o < O; ++o)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sums[o][v] = a[o][v];
  }
};

// Calls body.run<O, V>(first vector) for all of `vectors`, in chunks of like size.
template <int O, class Body>
TMG_INLINE void in_chunks(int vectors, const Body &body) {
  constexpr int most = most_vectors<O>();
  const int chunks = (vectors + most - 1) / most;
  for (int i = 0, first = 0; i < chunks; ++i) {
    const int size = vectors / chunks + (i < vectors % chunks);
    switch (size) {
#define TMG_CASE(n) \
  case n: \
    if constexpr (n <= most) body.template run<O, n>(first); \
    break;
      TMG_CASE(1) TMG_CASE(2) TMG_CASE(3) TMG_CASE(4) TMG_CASE(5) TMG_CASE(6) TMG_CASE(7) TMG_CASE(8)
#undef TMG_CASE
    }
    first += size;
  }
}

// Calls in_chunks for 1, 2, 4 or 8 output channels.
template <class Body>
TMG_INLINE void for_outputs(int outputs, int vectors, const Body &body) {
  switch (outputs) {
    case 1: return in_chunks<1>(vectors, body);
    case 2: return in_chunks<2>(vectors, body);
    case 4: return in_chunks<4>(vectors, body);
    case 8: return in_chunks<8>(vectors, body);
  }
}

// The body that stores: `rows` rows of `taps`, offsets or Taps, each output to its own `next` floats of `to`.
template <class Taps>
struct StoreTiles {
  const float *x;
  const Taps *taps;
  const float *w;
  int rows;
  float *to;
  int64_t next;

  template <int O, int V>
  TMG_INLINE void run(int first) const {
    Tile<O, V> tile;
    tile.multiply(x + first * W, taps, w, rows);
#pragma GCC unroll 8
    for (int o = 0; o < O; ++o)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) store(to + o * next + (first + v) * W, tile.sums[o][v]);
  }
};

// How many of `left` output channels the next tile takes.
constexpr int block_of(int left) {
  return left >= BLOCK ? BLOCK : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

}  // namespace TMG_NS
