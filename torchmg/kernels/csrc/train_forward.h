// Grouped convolution of a batch: one group of one pack of images after the other.
#pragma once

#include <atomic>
#include <vector>

#include "planes.h"
#include "pool.h"
#include "tile.h"
#include "train_table.h"

namespace TMG_NS {

TMG_INLINE float total(vec v) {
  float a[W];
  store(a, v);
#pragma GCC unroll 4
  for (int half = W / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) a[i] += a[i + half];
  return a[0];
}

// Weights (out, rows) as blocks of outputs, each with its outputs next to each other for every row.
inline void pack_weights(const float *w, int out, int rows, int64_t by_out, int64_t by_row, float *to) {
  for (int first = 0, size; first < out; first += size) {
    size = block_of(out - first);
    for (int r = 0; r < rows; ++r)
      for (int o = 0; o < size; ++o) *to++ = w[(first + o) * by_out + r * by_row];
  }
}

// One block of outputs at `vectors` vectors of positions, each output's to its own `next` floats of `to`.
inline void run_block(int outputs, int vectors, const float *x, const int32_t *offset, const float *w, int rows,
                      float *to, int64_t next) {
  for_outputs(outputs, vectors, StoreTiles<int32_t>{x, offset, w, rows, to, next});
}

// y of one channel of one image, while it is in the cache: adds the bias and the addend, and sums up.
struct Finish {
  const float *bias, *add, *start;
  double *sums;
  int channels;

  TMG_INLINE void operator()(float *y, int64_t n, int channel) const {
    if (bias) {
      const float b = bias[channel];
      for (int64_t i = 0; i < n; ++i) y[i] += b;
    }
    if (add) {
      const float *a = add + (y - start);
      for (int64_t i = 0; i < n; ++i) y[i] += a[i];
    }
    if (!sums) return;
    vec one[2] = {}, two[2] = {};
    int64_t i = 0;
    for (; i + 2 * W <= n; i += 2 * W) {
      const vec a = load(y + i), b = load(y + i + W);
      one[0] += a, two[0] += a * a, one[1] += b, two[1] += b * b;
    }
    for (; i < n; i += W) {
      const vec a = i + W <= n ? load(y + i) : load_part(y + i, int(n - i));
      one[0] += a, two[0] += a * a;
    }
    sums[channel] += total(one[0] + one[1]);
    sums[channels + channel] += total(two[0] + two[1]);
  }
};

// Groups and parts of the batch, cut in the same way for any number of threads, so that sums are too.
struct Parts {
  int groups, parts, images;
  explicit Parts(const Conv &c)
      : groups(c.groups), parts(std::min(c.images, c.groups >= 8 ? 1 : 8)), images(c.images) {}
  int count() const { return groups * parts; }
  int group(int task) const { return task / parts; }
  int first(int task) const { return int64_t(images) * (task % parts) / parts; }
  int last(int task) const { return int64_t(images) * (task % parts + 1) / parts; }
};

// Adds the parts' rows of `size` doubles up, in order.
inline void add_parts(const double *parts, int count, int size, double *to) {
  std::fill(to, to + size, 0.0);
  for (int p = 0; p < count; ++p)
    for (int i = 0; i < size; ++i) to[i] += parts[int64_t(p) * size + i];
}

template <class F>
inline void parallel(int threads, int tasks, F &&f) {
  tmg_parallel(threads, tasks, [](void *c, int task, int) { (*static_cast<F *>(c))(task); }, &f);
}

// x of one group of a pack, normalised if so asked, in planes.
inline void fill_inputs(const Conv &c, const tmg_train_call &t, const Layouts &l, int group, int first, int images,
                        float *planes, float *row) {
  const float *end = t.x + int64_t(c.images) * c.groups * c.in * c.in_pixels;
  const int64_t next = int64_t(c.groups) * c.in * c.in_pixels;
  for (int i = 0; i < c.in; ++i) {
    const int channel = group * c.in + i;
    const Values values{t.x + (int64_t(first) * c.groups * c.in + channel) * c.in_pixels, end};
    float *plane = planes + i * l.phases * l.x.plane;
    auto fill = [&](const auto &source) {
      if (c.stride == 1) fill_plane(plane, l.x, source, images, next, c.height, c.width);
      else fill_phases(plane, l.x, c, source, images, row);
    };
    if (!t.scale) fill(values);
    else
      fill(Normalised{values, broadcast(t.scale[channel]), broadcast(t.shift[channel]),
                      broadcast(t.relu ? 0.0f : -__builtin_inff())});
  }
}

// Where every row (input channel, tap) of the weights reads in the planes of x.
inline void input_offsets(const Conv &c, const Layouts &l, int32_t *offset) {
  const int s = c.stride;
  for (int i = 0; i < c.in; ++i)
    for (int dy = 0; dy < c.kernel_h; ++dy)
      for (int dx = 0; dx < c.kernel_w; ++dx) {
        const int phase = dy % s * s + dx % s;
        *offset++ = int32_t((i * l.phases + phase) * l.x.plane + (dy / s) * l.x.row + dx / s);
      }
}

// A pointwise map of one image's group, straight from x to y: what does not fill a vector goes through a copy.
inline void map_pixels(const float *x, int in, const float *w, int out, int64_t pixels, const int32_t *offset,
                       const int32_t *tail_offset, float *y, float *tail) {
  const int vectors = int(pixels / W), rest = int(pixels % W);
  if (rest)
    for (int i = 0; i < in; ++i) store(tail + i * W, load_part(x + i * pixels + vectors * W, rest));
  float *sums = tail + in * W;
  for (int o = 0, size; o < out; o += size) {
    size = block_of(out - o);
    if (vectors) run_block(size, vectors, x, offset, w + o * in, in, y + o * pixels, pixels);
    if (!rest) continue;
    run_block(size, 1, tail, tail_offset, w + o * in, in, sums, W);
    for (int i = 0; i < size; ++i) store_part(y + (o + i) * pixels + vectors * W, load(sums + i * W), rest);
  }
}

// A pointwise map without statistics: image by image, so that memory is walked from one end to the other.
inline int32_t pixels_forward(const Conv &c, const tmg_train_call &t, int threads) {
  const int channels = c.groups * c.out, pieces = std::min(c.groups, up(4 * threads, c.images));
  std::vector<int32_t> offset(2 * c.in);  // of the pixels, then of what does not fill a vector
  for (int i = 0; i < c.in; ++i) offset[i] = int32_t(i * c.in_pixels), offset[c.in + i] = i * W;
  std::vector<float> weights(int64_t(channels) * c.in);
  for (int g = 0; g < c.groups; ++g) {
    const int64_t start = int64_t(g) * c.out * c.in;
    pack_weights(t.w + start, c.out, c.in, c.in, 1, weights.data() + start);
  }
  const Finish finish{t.bias, t.add, t.y, nullptr, channels};
  std::atomic<bool> failed{false};
  parallel(threads, c.images * pieces, [&](int task) {
    float *tail = tmg_scratch((c.in + BLOCK) * W);
    if (!tail) return failed.store(true);
    const int n = task / pieces, piece = task % pieces;
    for (int g = int64_t(c.groups) * piece / pieces; g < int64_t(c.groups) * (piece + 1) / pieces; ++g) {
      float *y = t.y + (int64_t(n) * channels + g * c.out) * c.out_pixels;
      const float *x = t.x + (int64_t(n) * c.groups + g) * c.in * c.in_pixels;
      map_pixels(x, c.in, weights.data() + int64_t(g) * c.out * c.in, c.out, c.in_pixels, offset.data(),
                 offset.data() + c.in, y, tail);
      for (int o = 0; o < c.out; ++o) finish(y + o * c.out_pixels, c.out_pixels, g * c.out + o);
    }
  });
  return failed ? -2 : 0;
}

inline int32_t planes_forward(const Conv &c, const tmg_train_call &t, int threads) {
  if (c.pointwise() && !t.scale && !t.sums) return pixels_forward(c, t, threads);
  const Parts parts(c);
  const int rows = c.in * c.taps(), channels = c.groups * c.out;
  const bool direct = c.pointwise() && !t.scale;
  const Layouts l = layouts_of(c, 512, false);
  const int vectors = up(int(l.positions(c, l.x.images)), W);
  const int64_t planes = direct ? (c.in + BLOCK) * W : c.in * l.phases * l.x.plane;
  const int64_t weights = up(c.out * rows, W) * W, sums = direct ? 0 : int64_t(BLOCK) * vectors * W;
  const int64_t row = up(c.width, W) * W;
  std::vector<int32_t> offset(2 * rows);  // of every group; direct: of the pixels, then of what does not fill a vector
  if (!direct) input_offsets(c, l, offset.data());
  for (int i = 0; direct && i < c.in; ++i) offset[i] = int32_t(i * c.in_pixels), offset[rows + i] = i * W;
  double *partial = t.sums ? new double[int64_t(parts.parts) * 2 * channels]() : nullptr;
  const Finish none{t.bias, t.add, t.y, nullptr, channels};
  std::atomic<bool> failed{false};
  parallel(threads, parts.count(), [&](int task) {
    float *memory = tmg_scratch(planes + weights + sums + row);
    if (!memory) return failed.store(true);
    float *x = memory, *w = x + planes, *to = w + weights, *line = to + sums;
    const int group = parts.group(task);
    Finish finish = none;
    if (partial) finish.sums = partial + int64_t(task % parts.parts) * 2 * channels;
    pack_weights(t.w + int64_t(group) * c.out * rows, c.out, rows, rows, 1, w);
    if (direct) {
      for (int n = parts.first(task); n < parts.last(task); ++n) {
        float *y = t.y + (int64_t(n) * channels + group * c.out) * c.out_pixels;
        map_pixels(t.x + (int64_t(n) * c.groups + group) * c.in * c.in_pixels, c.in, w, c.out, c.in_pixels,
                   offset.data(), offset.data() + rows, y, x);
        for (int o = 0; o < c.out; ++o) finish(y + o * c.out_pixels, c.out_pixels, group * c.out + o);
      }
      return;
    }
    for (int first = parts.first(task), images; first < parts.last(task); first += images) {
      images = std::min(l.x.images, parts.last(task) - first);
      fill_inputs(c, t, l, group, first, images, x, line);
      const int vectors = up(int(l.positions(c, images)), W);
      for (int o = 0, size; o < c.out; o += size) {
        size = block_of(c.out - o);
        run_block(size, vectors, x, offset.data(), w + o * rows, rows, to, vectors * W);
        for (int i = 0; i < size; ++i)
          for (int n = 0; n < images; ++n) {
            const int channel = group * c.out + o + i;
            float *y = t.y + (int64_t(first + n) * channels + channel) * c.out_pixels;
            copy_out(to + int64_t(i) * vectors * W, l.x, n, c.out_height, c.out_width, y);
            finish(y, c.out_pixels, channel);
          }
      }
    }
  });
  if (partial) add_parts(partial, parts.parts, 2 * channels, t.sums);
  delete[] partial;
  return failed ? -2 : 0;
}

}  // namespace TMG_NS
