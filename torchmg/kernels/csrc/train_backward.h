// The gradients of a grouped convolution, both from one copy of y's gradient in padded planes.
#pragma once

#include "train_forward.h"

namespace TMG_NS {

// A tile of the weight gradient: O outputs times R rows (input channel, tap), a sum each, vectors along the pixels.
constexpr int TILE_OUTPUTS = MANY_REGISTERS ? 4 : 2, TILE_ROWS = MANY_REGISTERS ? 6 : 4;

template <int O, int R>
inline void weigh(const float *g, int64_t next, const float *x, const int32_t *offset, int vectors, vec *sums) {
  const float *gs[O], *xs[R];
  vec a[O][R];
#pragma GCC unroll 6
  for (int o = 0; o < O; ++o) {
    gs[o] = g + o * next;
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) a[o][r] = sums[o * R + r];
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) xs[r] = x + offset[r];
  for (int64_t i = 0; i < int64_t(vectors) * W; i += W) {
    vec y[O];
#pragma GCC unroll 6
    for (int o = 0; o < O; ++o) y[o] = load(gs[o] + i);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const vec v = load(xs[r] + i);
#pragma GCC unroll 6
      for (int o = 0; o < O; ++o) a[o][r] += v * y[o];
    }
  }
#pragma GCC unroll 6
  for (int o = 0; o < O; ++o)
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) sums[o * R + r] = a[o][r];
}

// Calls f(first output, outputs, first row, rows, sums of the tile) for all tiles, x's rows in the outer loop.
template <class F>
TMG_INLINE void for_weights(int out, int rows, vec *sums, const F &f) {
  for (int r = 0, m; r < rows; r += m) {
    m = std::min(TILE_ROWS, rows - r);
    for (int o = 0, n; o < out; o += n, sums += n * m) {
      n = out - o >= TILE_OUTPUTS ? TILE_OUTPUTS : out - o >= 2 ? 2 : 1;
      f(o, n, r, m, sums);
    }
  }
}

// Adds the products of `vectors` vectors of positions to all sums.
inline void weigh_all(const float *g, int64_t next, int out, const float *x, const int32_t *offset, int rows,
                      int vectors, vec *sums) {
  for_weights(out, rows, sums, [&](int o, int n, int r, int m, vec *to) {
    switch (n * 8 + m) {
#define TMG_CASE(O, R) \
  case O * 8 + R:      \
    if constexpr (O <= TILE_OUTPUTS && R <= TILE_ROWS) weigh<O, R>(g + o * next, next, x, offset + r, vectors, to); \
    break;
#define TMG_CASES(O) TMG_CASE(O, 1) TMG_CASE(O, 2) TMG_CASE(O, 3) TMG_CASE(O, 4) TMG_CASE(O, 5) TMG_CASE(O, 6)
      TMG_CASES(1) TMG_CASES(2) TMG_CASES(4)
#undef TMG_CASES
#undef TMG_CASE
    }
  });
}

// The pixels of one phase of the data gradient and the packed weights that lead to them.
struct Phase {
  Span y, x;
  int a, b, rows;
  int64_t weights, offsets;  // where its own begin
};

// The gradient of x through conv(relu?(scale x + shift)), one channel of one image; sums those of scale and shift.
TMG_INLINE void through_affine(float *g, const float *x, int64_t n, float scale, float shift, bool relu, double *gscale,
                               double *gshift) {
  const vec s = broadcast(scale), b = broadcast(shift);
  vec one = {}, two = {};
  auto step = [&](vec v, vec w) {
    if (relu) v = masked(v, reinterpret_cast<ivec>(w * s + b > 0));
    one += v * w, two += v;
    return v * s;
  };
  int64_t i = 0;
  for (; i + W <= n; i += W) store(g + i, step(load(g + i), load(x + i)));
  if (i < n) store_part(g + i, step(load_part(g + i, int(n - i)), load_part(x + i, int(n - i))), int(n - i));
  *gscale += total(one), *gshift += total(two);
}

struct Backward {
  const Conv &c;
  const tmg_train_call &t;
  Parts parts;
  Layouts l;
  int rows, in_channels, out_channels, vectors;
  bool direct;
  Phase *phases;
  int count = 0;
  int64_t weights = 0, offsets = 0;

  Backward(const Conv &conv, const tmg_train_call &call, Phase *room)
      : c(conv), t(call), parts(conv), l(layouts_of(conv, 1024, true)), rows(c.in * c.taps()),
        in_channels(c.groups * c.in), out_channels(c.groups * c.out),
        direct(c.pointwise() && !t.scale && !t.slope && !t.gadd),
        phases(room) {
    vectors = up(int(l.positions(c, l.x.images)), W);
    for (int a = 0; a < c.stride; ++a)
      for (int b = 0; b < c.stride; ++b) {
        const Span y(a, c.kernel_h, c.stride, c.pad_h, c.height), x(b, c.kernel_w, c.stride, c.pad_w, c.width);
        if (y.last < y.first || x.last < x.first) continue;
        phases[count++] = Phase{y, x, a, b, c.out * y.taps * x.taps, weights, offsets};
        weights += int64_t(c.in) * c.out * y.taps * x.taps, offsets += c.out * y.taps * x.taps;
      }
  }

  int phase_vectors(const Phase &p, int images) const {
    return up(int(l.y.at(images - 1, p.y.last - p.y.first) + p.x.last - p.x.first + 1), W);
  }

  int most_vectors() const {
    int most = 0;
    for (int i = 0; i < count; ++i) most = std::max(most, phase_vectors(phases[i], l.y.images));
    return most;
  }

  // Packs the weights of one group, input channels as outputs.
  void pack(int group, float *w, int32_t *offset) const {
    for (int i = 0; i < count; ++i) {
      const Phase &p = phases[i];
      float *to = w + p.weights;
      int32_t *at = offset + p.offsets;
      for (int o = 0; o < c.out; ++o)
        for (int ty = 0; ty < p.y.taps; ++ty)
          for (int tx = 0; tx < p.x.taps; ++tx)
            *at++ = int32_t(direct ? o * c.out_pixels : o * l.y.plane - (ty * l.y.row + tx));
      for (int first = 0, size; first < c.in; first += size) {
        size = block_of(c.in - first);
        for (int o = 0; o < c.out; ++o)
          for (int ty = 0; ty < p.y.taps; ++ty)
            for (int tx = 0; tx < p.x.taps; ++tx) {
              const int tap = (p.a + ty * c.stride) * c.kernel_w + p.b + tx * c.stride;
              const float *from = t.w + (int64_t(group) * c.out + o) * rows + tap;
              for (int k = 0; k < size; ++k) *to++ = from[(first + k) * c.taps()];
            }
      }
    }
  }

  void fill_gradients(int group, int first, int images, float *planes) const {
    const float *end = t.gy + int64_t(c.images) * out_channels * c.out_pixels;
    const int64_t next = int64_t(out_channels) * c.out_pixels;
    for (int o = 0; o < c.out; ++o) {
      const int channel = group * c.out + o;
      const int64_t start = (int64_t(first) * out_channels + channel) * c.out_pixels;
      const Values values{t.gy + start, end};
      float *plane = planes + o * l.y.plane;
      if (!t.slope) fill_plane(plane, l.y, values, images, next, c.out_height, c.out_width);
      else
        fill_plane(plane, l.y,
                   Effective{values, t.y + start, broadcast(t.constant[channel]), broadcast(t.slope[channel])}, images,
                   next, c.out_height, c.out_width);
      for (int n = 0; t.gadd && n < images; ++n)
        copy_out(plane + l.y.lead, l.y, n, c.out_height, c.out_width, t.gadd + start + n * next);
    }
  }

  float *gx_at(int image, int group, int i) const {
    return t.gx + ((int64_t(image) * c.groups + group) * c.in + i) * c.in_pixels;
  }

  void finish(int image, int group, int i, double *affine) const {
    if (!t.scale) return;
    float *g = gx_at(image, group, i);
    const int channel = group * c.in + i;
    through_affine(g, t.x + (g - t.gx), c.in_pixels, t.scale[channel], t.shift[channel], t.relu, affine + channel,
                   affine + in_channels + channel);
  }

  void data(int group, int first, int images, const float *planes, const float *w, const int32_t *offset, float *to,
            double *affine) const {
    if (c.stride > 1)
      for (int n = 0; n < images; ++n)
        std::memset(gx_at(first + n, group, 0), 0, sizeof(float) * c.in * c.in_pixels);
    for (int i = 0; i < count; ++i) {
      const Phase &p = phases[i];
      const int vectors = phase_vectors(p, images), height = p.y.last - p.y.first + 1, width = p.x.last - p.x.first + 1;
      const float *base = planes + l.y.lead + int64_t(p.y.first) * l.y.row + p.x.first;
      for (int k = 0, size; k < c.in; k += size) {
        size = block_of(c.in - k);
        run_block(size, vectors, base, offset + p.offsets, w + p.weights + int64_t(k) * p.rows, p.rows, to,
                  vectors * W);
        for (int j = 0; j < size; ++j)
          for (int n = 0; n < images; ++n) {
            float *g = gx_at(first + n, group, k + j);
            const float *from = to + int64_t(j) * vectors * W;
            if (c.stride == 1) {
              copy_out(from, l.y, n, height, width, g);
              finish(first + n, group, k + j, affine);
              continue;
            }
            const int y0 = p.y.first * c.stride + p.a - c.pad_h, x0 = p.x.first * c.stride + p.b - c.pad_w;
            for (int y = 0; y < height; ++y) {
              float *row = g + int64_t(y0 + y * c.stride) * c.width + x0;
              const float *line = from + l.y.at(n, y);
              for (int x = 0; x < width; ++x) row[x * c.stride] = line[x];
            }
          }
      }
    }
    if (c.stride > 1)
      for (int n = 0; n < images; ++n)
        for (int k = 0; k < c.in; ++k) finish(first + n, group, k, affine);
  }

  // Pointwise and with nothing on the way: from tensor to tensor.
  void pointwise(int group, int image, const float *w, const int32_t *offset, const int32_t *x_offset,
                 const int32_t *tail_offset, float *tail, vec *sums) const {
    const float *g = t.gy + (int64_t(image) * out_channels + group * c.out) * c.out_pixels;
    if (t.gx) map_pixels(g, c.out, w, c.in, c.in_pixels, offset, tail_offset, gx_at(image, group, 0), tail);
    if (!t.gw) return;
    const float *x = t.x + (int64_t(image) * in_channels + group * c.in) * c.in_pixels;
    const int vectors = int(c.in_pixels / W), rest = int(c.in_pixels % W);
    if (vectors) weigh_all(g, c.out_pixels, c.out, x, x_offset, c.in, vectors, sums);
    if (!rest) return;
    float *x_tail = tail + c.out * W;
    for (int o = 0; o < c.out; ++o) store(tail + o * W, load_part(g + o * c.out_pixels + vectors * W, rest));
    for (int i = 0; i < c.in; ++i) store(x_tail + i * W, load_part(x + i * c.in_pixels + vectors * W, rest));
    weigh_all(tail, W, c.out, x_tail, tail_offset, c.in, 1, sums);
  }

  bool run(int task, double *affine, float *gw) const {
    const int64_t y_planes = direct ? 0 : c.out * l.y.plane;
    const int64_t x_planes = direct ? (c.in + c.out + BLOCK) * W : t.gw ? c.in * l.phases * l.x.plane : 0;
    const int64_t temporary = direct ? 0 : int64_t(BLOCK) * most_vectors() * W, line = up(c.width, W) * W;
    const int64_t products = t.gw ? int64_t(c.out) * rows * W : 0;
    const int64_t room = up(int(weights + offsets + rows + std::max(c.in, c.out)), W) * W;
    float *memory = tmg_scratch(y_planes + x_planes + temporary + line + products + room);
    if (!memory) return false;
    float *g = memory, *x = g + y_planes, *to = x + x_planes, *row = to + temporary, *w = row + line + products;
    vec *sums = reinterpret_cast<vec *>(row + line);
    int32_t *offset = reinterpret_cast<int32_t *>(w + weights), *x_offset = offset + offsets, *tail = x_offset + rows;
    const int group = parts.group(task);
    std::fill(row + line, row + line + products, 0.0f);
    if (t.gx) pack(group, w, offset);
    if (direct)
      for (int i = 0; i < c.in; ++i) x_offset[i] = int32_t(i * c.in_pixels);
    else input_offsets(c, l, x_offset);
    for (int i = 0; i < std::max(c.in, c.out); ++i) tail[i] = i * W;
    for (int first = parts.first(task), images; first < parts.last(task); first += images) {
      images = direct ? 1 : std::min(l.x.images, parts.last(task) - first);
      if (direct) {
        pointwise(group, first, w, offset, x_offset, tail, x, sums);
        continue;
      }
      fill_gradients(group, first, images, g);
      if (t.gw) {
        fill_inputs(c, t, l, group, first, images, x, row);
        weigh_all(g + l.y.lead, l.y.plane, c.out, x, x_offset, rows, up(int(l.positions(c, images)), W), sums);
      }
      if (t.gx) data(group, first, images, g, w, offset, to, affine);
    }
    if (t.gw)
      for_weights(c.out, rows, sums, [&](int o, int n, int r, int m, vec *tile) {
        for (int i = 0; i < n; ++i)
          for (int j = 0; j < m; ++j) gw[(int64_t(group) * c.out + o + i) * rows + r + j] = total(tile[i * m + j]);
      });
    return true;
  }
};

inline int32_t planes_backward(const Conv &c, const tmg_train_call &t, int threads) {
  Phase *phases = static_cast<Phase *>(::operator new(sizeof(Phase) * c.stride * c.stride));
  const Backward backward(c, t, phases);
  const int parts = backward.parts.parts;
  const int64_t affine = 2 * backward.in_channels, size = int64_t(backward.out_channels) * backward.rows;
  double *sums = t.affine ? new double[parts * affine]() : nullptr;
  float *gw = t.gw && parts > 1 ? new float[parts * size] : nullptr;
  std::atomic<bool> failed{false};
  parallel(threads, backward.parts.count(), [&](int task) {
    const int part = task % parts;
    if (!backward.run(task, sums ? sums + part * affine : nullptr, gw ? gw + part * size : t.gw)) failed = true;
  });
  if (sums) add_parts(sums, parts, int(affine), t.affine);
  if (gw)
    for (int64_t i = 0; i < size; ++i) {
      float a = 0;
      for (int p = 0; p < parts; ++p) a += gw[p * size + i];
      t.gw[i] = a;
    }
  delete[] sums;
  delete[] gw;
  ::operator delete(phases);
  return failed ? -2 : 0;
}

}  // namespace TMG_NS
