// out = relu?(scale y + shift + add), or the ReLU before the addend, in one pass, and back in one.
#pragma once

#include "train_backward.h"

namespace TMG_NS {

constexpr int AFFINE_PARTS = 16;

inline int32_t affine_forward(const tmg_affine_call &t, int threads) {
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
