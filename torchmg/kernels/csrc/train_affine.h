// out = relu?(scale y + shift + add), or the ReLU before the addend, in one pass, and back in one.
#pragma once

#include "train_backward.h"

namespace TMG_NS {

constexpr int AFFINE_PARTS = 16;

// Whether a channel has so few pixels that vectors run on into the next one: each float then has its own coefficients.
inline bool runs_on(const tmg_affine_call &t) { return t.pixels < 4 * W; }

// Each channel's number for every one of its pixels.
inline float *spread(const tmg_affine_call &t, const float *of_channel) {
  float *to = new float[t.channels * t.pixels];
  for (int64_t c = 0; c < t.channels; ++c) std::fill(to + c * t.pixels, to + (c + 1) * t.pixels, of_channel[c]);
  return to;
}

inline int32_t affine_rows_forward(const tmg_affine_call &t, int threads) {
  const int parts = std::min(AFFINE_PARTS, t.images);
  const int64_t size = t.channels * t.pixels;
  float *scale = spread(t, t.scale), *shift = spread(t, t.shift);
  const vec none = broadcast(-__builtin_inff()), zero = {};
  const vec early = t.relu == TMG_BEFORE_ADD ? zero : none, late = t.relu == TMG_LAST ? zero : none;
  parallel(threads, parts, [&](int part) {
    for (int64_t n = int64_t(t.images) * part / parts; n < int64_t(t.images) * (part + 1) / parts; ++n)
      for (int64_t i = 0; i < size; i += W) {
        const int some = int(std::min<int64_t>(W, size - i));
        const int64_t at = n * size + i;
        vec v = load_some(t.y + at, some) * load_some(scale + i, some) + load_some(shift + i, some);
        v = maximum(early, v);
        if (t.add) v += load_some(t.add + at, some);
        store_some(t.out + at, maximum(late, v), some);
      }
  });
  delete[] scale;
  delete[] shift;
  return 0;
}

inline int32_t affine_rows_backward(const tmg_affine_call &t, int threads) {
  const int parts = std::min(AFFINE_PARTS, t.images), row = 2 * t.channels;
  const int64_t size = t.channels * t.pixels;
  float *scale = spread(t, t.scale), *shift = t.relu == TMG_BEFORE_ADD ? spread(t, t.shift) : nullptr;
  double *sums = new double[int64_t(parts) * row]();
  std::atomic<bool> failed{false};
  parallel(threads, parts, [&](int part) {
    float *ones = tmg_scratch(2 * (size + W)), *twos = ones + size + W;
    if (!ones) return failed.store(true);
    const int64_t start = int64_t(t.images) * part / parts, end = int64_t(t.images) * (part + 1) / parts;
    for (int64_t i = 0; i < size; i += W) {
      const int some = int(std::min<int64_t>(W, size - i));
      const vec s = load_some(scale + i, some), b = shift ? load_some(shift + i, some) : vec{};
      vec one = {}, two = {};
      for (int64_t at = start * size + i; at < end * size; at += size) {
        vec g = load_some(t.gout + at, some);
        const vec y = load_some(t.y + at, some);
        if (t.relu == TMG_LAST) g = masked(g, reinterpret_cast<ivec>(load_some(t.out + at, some) > 0));
        if (shift) g = masked(g, reinterpret_cast<ivec>(y * s + b > 0));
        if (t.gadd) store_some(t.gadd + at, g, some);
        one += g * y, two += g;
        store_some(t.gy + at, g * s, some);
      }
      store(ones + i, one), store(twos + i, two);
    }
    double *mine = sums + int64_t(part) * row;
    for (int64_t c = 0, i = 0; c < t.channels; ++c) {
      float one = 0, two = 0;
      for (int64_t p = 0; p < t.pixels; ++p, ++i) one += ones[i], two += twos[i];
      mine[c] = one, mine[t.channels + c] = two;
    }
  });
  add_parts(sums, parts, row, t.affine);
  delete[] sums;
  delete[] scale;
  delete[] shift;
  return failed ? -2 : 0;
}

inline int32_t affine_forward(const tmg_affine_call &t, int threads) {
  if (runs_on(t)) return affine_rows_forward(t, threads);
  const int parts = std::min(AFFINE_PARTS, t.images);
  parallel(threads, parts, [&](int part) {
    for (int64_t n = int64_t(t.images) * part / parts; n < int64_t(t.images) * (part + 1) / parts; ++n)
      for (int c = 0; c < t.channels; ++c) {
        const int64_t at = (n * t.channels + c) * t.pixels;
        const vec scale = broadcast(t.scale[c]), shift = broadcast(t.shift[c]);
        const vec none = broadcast(-__builtin_inff()), zero = {};
        const vec early = t.relu == TMG_BEFORE_ADD ? zero : none, late = t.relu == TMG_LAST ? zero : none;
        int64_t i = at;
        for (; i + W <= at + t.pixels; i += W) {
          vec v = maximum(early, load(t.y + i) * scale + shift);
          if (t.add) v += load(t.add + i);
          store(t.out + i, maximum(late, v));
        }
        if (const int rest = int(at + t.pixels - i)) {
          vec v = maximum(early, load_part(t.y + i, rest) * scale + shift);
          if (t.add) v += load_part(t.add + i, rest);
          store_part(t.out + i, maximum(late, v), rest);
        }
      }
  });
  return 0;
}

inline int32_t affine_backward(const tmg_affine_call &t, int threads) {
  if (runs_on(t)) return affine_rows_backward(t, threads);
  const int parts = std::min(AFFINE_PARTS, t.images), row = 2 * t.channels;
  double *sums = new double[int64_t(parts) * row]();
  parallel(threads, parts, [&](int part) {
    double *mine = sums + int64_t(part) * row;
    for (int64_t n = int64_t(t.images) * part / parts; n < int64_t(t.images) * (part + 1) / parts; ++n)
      for (int c = 0; c < t.channels; ++c) {
        const int64_t at = (n * t.channels + c) * t.pixels;
        const vec scale = broadcast(t.scale[c]), shift = broadcast(t.relu == TMG_BEFORE_ADD ? t.shift[c] : 0.0f);
        vec one = {}, two = {};
        int64_t i = at;
        for (; i + W <= at + t.pixels; i += W) {
          vec g = load(t.gout + i);
          const vec y = load(t.y + i);
          if (t.relu == TMG_LAST) g = masked(g, reinterpret_cast<ivec>(load(t.out + i) > 0));
          if (t.relu == TMG_BEFORE_ADD) g = masked(g, reinterpret_cast<ivec>(y * scale + shift > 0));
          if (t.gadd) store(t.gadd + i, g);
          one += g * y, two += g;
          store(t.gy + i, g * scale);
        }
        if (const int rest = int(at + t.pixels - i)) {
          vec g = load_part(t.gout + i, rest);
          const vec y = load_part(t.y + i, rest);
          if (t.relu == TMG_LAST) g = masked(g, reinterpret_cast<ivec>(load_part(t.out + i, rest) > 0));
          if (t.relu == TMG_BEFORE_ADD) g = masked(g, reinterpret_cast<ivec>(y * scale + shift > 0));
          if (t.gadd) store_part(t.gadd + i, g, rest);
          one += g * y, two += g;
          store_part(t.gy + i, g * scale, rest);
        }
        mine[c] += total(one), mine[t.channels + c] += total(two);
      }
  });
  add_parts(sums, parts, row, t.affine);
  delete[] sums;
  return 0;
}

}  // namespace TMG_NS
