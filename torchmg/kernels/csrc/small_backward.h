// The gradients of a grouped convolution of small maps: vectors along images.
#pragma once

#include "small_maps.h"
#include "train_backward.h"

namespace TMG_NS {

// Pixels of y's gradient whose tap reads pixels of x, both from here on: offsets in floats, length in vectors.
struct Meeting {
  int32_t g, x, vectors;
};

// For every tap, all its meetings.
struct Meetings {
  std::vector<Meeting> all;
  std::vector<Start> starts;

  Meetings(const Conv &c, int images) {
    for (int dy = 0; dy < c.kernel_h; ++dy)
      for (int dx = 0; dx < c.kernel_w; ++dx) {
        starts.push_back({int(all.size())});
        for (int y = 0; y < c.out_height; ++y) {
          const int from = y * c.stride + dy - c.pad_h;
          if (from < 0 || from >= c.height) continue;
          for (int x = 0; x < c.out_width; ++x) {
            const int at = x * c.stride + dx - c.pad_w;
            if (at < 0 || at >= c.width) continue;
            const Meeting m{(y * c.out_width + x) * images, (from * c.width + at) * images, images / W};
            if (int(all.size()) > starts.back().at && follows(all.back(), m)) all.back().vectors += m.vectors;
            else all.push_back(m);
          }
        }
      }
    starts.push_back({int(all.size())});
  }

  const Meeting *of(int tap) const { return all.data() + starts[tap].at; }
  int count(int tap) const { return starts[tap + 1].at - starts[tap].at; }

  static bool follows(const Meeting &a, const Meeting &b) {
    return a.g + a.vectors * W == b.g && a.x + a.vectors * W == b.x;
  }
};

// O outputs times R inputs of one tap, a sum each; `fresh`: from zero.
template <int O, int R>
inline void weigh_meetings(const float *g, int64_t g_next, const float *x, int64_t x_next, const Meeting *meetings,
                           int count, bool fresh, vec *sums) {
  vec a[O][R];
#pragma GCC unroll 6
  for (int o = 0; o < O; ++o)
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) a[o][r] = fresh ? vec{} : sums[o * R + r];
  for (int m = 0; m < count; ++m) {
    const float *gs = g + meetings[m].g, *xs = x + meetings[m].x;
    for (int v = 0; v < meetings[m].vectors; ++v, gs += W, xs += W) {
      vec y[O];
#pragma GCC unroll 6
      for (int o = 0; o < O; ++o) y[o] = load(gs + o * g_next);
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) {
        const vec input = load(xs + r * x_next);
#pragma GCC unroll 6
        for (int o = 0; o < O; ++o) a[o][r] += input * y[o];
      }
    }
  }
#pragma GCC unroll 6
  for (int o = 0; o < O; ++o)
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) sums[o * R + r] = a[o][r];
}

// Calls f(first output, outputs, first input, inputs, tap, sums of the tile) for all tiles, taps in the inner loop;
// those that are nowhere inside the map have none.
template <class F, class Sum>
TMG_INLINE void for_products(const Conv &c, const Meetings &meetings, Sum *sums, const F &f) {
  const int chunks = up(c.in, TILE_ROWS);
  for (int o = 0, n; o < c.out; o += n) {
    n = c.out - o >= TILE_OUTPUTS ? TILE_OUTPUTS : c.out - o >= 2 ? 2 : 1;
    for (int i = 0, chunk = 0, m; chunk < chunks; ++chunk, i += m) {
      m = c.in / chunks + (chunk < c.in % chunks);
      for (int tap = 0; tap < c.taps(); ++tap)
        if (meetings.count(tap)) f(o, n, i, m, tap, sums), sums += n * m;
    }
  }
}

// Adds the products of one pack to all sums, the first's to zero.
inline void weigh_pack(const Conv &c, const Meetings &meetings, const float *g, const float *x, int pack, bool fresh,
                       vec *sums) {
  const int64_t g_next = c.out_pixels * pack, x_next = c.in_pixels * pack;
  for_products(c, meetings, sums, [&](int o, int n, int i, int m, int tap, vec *to) {
    const Meeting *first = meetings.of(tap);
    const int count = meetings.count(tap);
    switch (n * 8 + m) {
#define TMG_CASE(O, R)                                                                                       \
  case O * 8 + R:                                                                                            \
    if constexpr (O <= TILE_OUTPUTS && R <= TILE_ROWS)                                                       \
      weigh_meetings<O, R>(g + o * g_next, g_next, x + i * x_next, x_next, first, count, fresh, to);         \
    break;
#define TMG_CASES(O) TMG_CASE(O, 1) TMG_CASE(O, 2) TMG_CASE(O, 3) TMG_CASE(O, 4) TMG_CASE(O, 5) TMG_CASE(O, 6)
      TMG_CASES(1) TMG_CASES(2) TMG_CASES(4)
#undef TMG_CASES
#undef TMG_CASE
    }
  });
}

// Each vector's sum, to where the vectors are, W at a time.
inline void totals(const vec *sums, int64_t count, float *to) {
  for (int64_t i = 0; i < count; i += W) {
    vec a[W];
#pragma GCC unroll 16
    for (int j = 0; j < W; ++j) a[j] = i + j < count ? sums[i + j] : vec{};
    turn(a);
#pragma GCC unroll 4
    for (int half = W / 2; half; half /= 2)
#pragma GCC unroll 8
      for (int j = 0; j < half; ++j) a[j] += a[j + half];
    store(to + i, a[0]);
  }
}

// gy + constant + slope y, which are given for every float of a row.
struct Reaching {
  Plain gy, y, constant, slope;
  TMG_INLINE vec operator()(int row, int first, int floats) const {
    return gy(row, first, floats) + constant(0, first, floats) + slope(0, first, floats) * y(row, first, floats);
  }
};

// Weights of one group in blocks of inputs, rows as a `Walk` counts them: output, tap.
inline void pack_transposed(const Conv &c, const float *w, float *to) {
  const int taps = c.taps();
  for (int first = 0, size; first < c.in; first += size) {
    size = block_of(c.in - first);
    for (int o = 0; o < c.out; ++o)
      for (int tap = 0; tap < taps; ++tap)
        for (int i = 0; i < size; ++i) *to++ = w[(int64_t(o) * c.in + first + i) * taps + tap];
  }
}

inline int32_t small_backward(const Conv &c, const tmg_train_call &t, int threads) {
  const Packs packs(c);
  const Walk walk(c, true, packs.pack);
  const Meetings meetings(c, packs.pack);
  const int rows = c.in * c.taps(), in_channels = c.groups * c.in, pack = packs.pack;
  const int64_t x_size = c.in * c.in_pixels, y_size = c.out * c.out_pixels, products = int64_t(c.out) * rows;
  int live = 0;
  for (int tap = 0; tap < c.taps(); ++tap) live += meetings.count(tap) ? c.in * c.out : 0;
  const int64_t affine = 2 * in_channels, all = c.groups * products;
  const bool through = t.scale && t.gx, reads = t.gw || through, both = t.gw && t.scale;
  const int64_t floats = (y_size + (t.gx ? x_size : 0) + (reads ? x_size : 0) + (both ? x_size : 0)) * pack;
  double *sums_affine = through ? new double[packs.parts * affine]() : nullptr;
  float *gw = t.gw && packs.parts > 1 ? new float[packs.parts * all] : nullptr;
  std::atomic<bool> failed{false};
  parallel(threads, packs.tasks(), [&](int task) {
    const int64_t flat = up(int(y_size), W) * W, weights = t.gx ? up(int(products), W) * W : 0;
    float *memory = tmg_scratch(floats + (t.slope ? 2 * flat : 0) + weights + (t.gw ? products * W : 0));
    if (!memory) return failed.store(true);
    vec *sums = reinterpret_cast<vec *>(memory);
    float *g = memory + (t.gw ? products * W : 0), *gx = g + y_size * pack, *x = gx + (t.gx ? x_size * pack : 0);
    float *normal = x + (reads ? x_size * pack : 0), *w = normal + (both ? x_size * pack : 0);
    float *constant = w + weights, *slope = constant + flat;
    const int group = packs.group(task), part = task % packs.parts;
    if (!both) normal = x;
    if (t.gx) pack_transposed(c, t.w + group * products, w);
    for (int64_t i = 0; t.slope && i < y_size; ++i) {
      const int64_t channel = group * c.out + i / c.out_pixels;
      constant[i] = t.constant[channel], slope[i] = t.slope[channel];
    }
    for (int p = packs.first(task); p < packs.last(task); ++p) {
      const int there = packs.there(p);
      const int64_t first = int64_t(p) * pack * c.groups + group;
      const Plain gy{t.gy + first * y_size, c.groups * y_size};
      if (!t.slope) turn_in(gy, there, int(y_size), g, pack);
      else {
        const Plain y{t.y + first * y_size, c.groups * y_size};
        turn_in(Reaching{gy, y, {constant, 0}, {slope, 0}}, there, int(y_size), g, pack);
      }
      if (reads) turn_in(Plain{t.x + first * x_size, c.groups * x_size}, there, int(x_size), x, pack);
      if (t.gw) {
        if (both) normalise(x, normal, t, group * c.in, c.in, c.in_pixels, pack, there);
        weigh_pack(c, meetings, g, normal, pack, p == packs.first(task), sums);
      }
      if (!t.gx) continue;
      run_walk(walk, c.in, c.out * c.taps(), g, w, gx, pack);
      for (int i = 0; through && i < c.in; ++i) {
        const int channel = group * c.in + i;
        double *to = sums_affine + part * affine + channel;
        const int64_t at = i * c.in_pixels * pack;
        through_affine(gx + at, x + at, c.in_pixels * pack, t.scale[channel], t.shift[channel], t.relu, to,
                       to + in_channels);
      }
      turn_out(gx, pack, there, int(x_size), t.gx + first * x_size, c.groups * x_size);
    }
    if (!t.gw) return;
    float *to = (gw ? gw + part * all : t.gw) + group * products;
    totals(sums, live, memory);
    std::fill(to, to + products, 0.0f);
    for_products(c, meetings, memory, [&](int o, int n, int i, int m, int tap, const float *tile) {
      for (int a = 0; a < n; ++a)
        for (int b = 0; b < m; ++b) to[(int64_t(o + a) * c.in + i + b) * c.taps() + tap] = tile[a * m + b];
    });
  });
  if (sums_affine) add_parts(sums_affine, packs.parts, int(affine), t.affine);
  if (gw)
    for (int64_t i = 0; i < all; ++i) {
      float a = 0;
      for (int p = 0; p < packs.parts; ++p) a += gw[p * all + i];
      t.gw[i] = a;
    }
  delete[] sums_affine;
  delete[] gw;
  return failed ? -2 : 0;
}

}  // namespace TMG_NS
