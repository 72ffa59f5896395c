// Small maps: vectors along images.
//
// Rows of a small map end within a vector of pixels, and what pads them is computed in vain. With a batch at least as
// wide as a vector, [image][channel][pixel] is turned to [channel][pixel][image]. Then nothing is padded, a tap is
// still a shift, by whole pixels, and at the borders only the taps that are inside are computed.
#pragma once

#include <vector>

#include "train_forward.h"
#include "transpose.h"

namespace TMG_NS {

// What a position of one axis reads: taps first, first + step ... at source, source + turn ...
struct Reach {
  int first, count, source;
  bool alike(const Reach &o) const { return first == o.first && count == o.count; }
};

// One axis of the convolution, or of its transpose, which is what the data gradient is.
struct Axis {
  int target, source, step, turn;
  std::vector<Reach> at;

  Axis(int in, int out, int kernel, int stride, int pad, bool transposed)
      : target(transposed ? in : out), source(transposed ? out : in), step(transposed ? stride : 1),
        turn(transposed ? -1 : 1) {
    for (int q = 0; q < target; ++q) {
      Reach r{};
      if (!transposed) {
        r.first = std::max(0, pad - q * stride);
        r.count = std::max(0, std::min(kernel, in + pad - q * stride) - r.first);
        r.source = q * stride - pad + r.first;
      } else {
        r.first = (q + pad) % stride;
        r.first += stride * std::max(0, up(q + pad - stride * (out - 1) - r.first, stride));
        const int last = std::min(kernel - 1, q + pad);
        r.count = last < r.first ? 0 : (last - r.first) / stride + 1;
        r.source = (q + pad - r.first) / stride;
      }
      if (!r.count) r.first = r.source = 0;
      at.push_back(r);
    }
  }
};

// Neighbouring pixels that read alike, and which of `taps` that is.
struct Stretch {
  int to, from, pixels, taps, count;
};

// No bare int in vectors: what templates make of it would be shared with other instruction sets.
struct Start {
  int at = -1;
};

struct Walk {
  int to, from;  // pixels of a map
  std::vector<Stretch> stretches;
  std::vector<Tap> taps;

  Walk(const Conv &c, bool transposed, int images)
      : to(int(transposed ? c.in_pixels : c.out_pixels)), from(int(transposed ? c.out_pixels : c.in_pixels)) {
    const Axis ys(c.height, c.out_height, c.kernel_h, c.stride, c.pad_h, transposed);
    const Axis xs(c.width, c.out_width, c.kernel_w, c.stride, c.pad_w, transposed);
    const int channels = transposed ? c.out : c.in;
    std::vector<Start> starts(size_t(ys.target) * xs.target);  // by the first position that reads so
    for (int y = 0; y < ys.target; ++y)
      for (int x = 0, n; x < xs.target; x += n) {
        const Reach v = ys.at[y], h = xs.at[x];
        for (n = 1; x + n < xs.target && xs.at[x + n].alike(h) && xs.at[x + n].source == h.source + n;) ++n;
        const int count = v.count * h.count * channels;
        stretches.push_back({y * xs.target + x, v.source * xs.source + h.source, n, 0, count});
        int &start = starts[first_alike(ys, y) * xs.target + first_alike(xs, x)].at;
        if (start < 0) {
          start = int(taps.size());
          for (int i = 0; count && i < channels; ++i)
            for (int dy = 0; dy < v.count; ++dy)
              for (int dx = 0; dx < h.count; ++dx)
                taps.push_back({(i * from + (dy * ys.turn) * xs.source + dx * xs.turn) * images,
                                (i * c.kernel_h + v.first + dy * ys.step) * c.kernel_w + h.first + dx * xs.step});
        }
        stretches.back().taps = start;
      }
  }

  static int first_alike(const Axis &a, int q) {
    int i = 0;
    while (!a.at[i].alike(a.at[q])) ++i;
    return i;
  }
};

// Every position of `channels` maps of packs of `images`, from turned maps to turned maps.
inline void run_walk(const Walk &walk, int channels, int rows, const float *from, const float *w, float *to,
                     int images) {
  for (int o = 0, size; o < channels; o += size) {
    size = block_of(channels - o);
    for (const Stretch &s : walk.stretches)
      for_outputs(size, s.pixels * (images / W),
                  StoreTiles<Tap>{from + int64_t(s.from) * images, walk.taps.data() + s.taps, w + int64_t(o) * rows,
                                  s.count, to + (int64_t(o) * walk.to + s.to) * images, int64_t(walk.to) * images});
  }
}

// How a batch is cut, in the same way for any number of threads.
struct Packs {
  int groups, parts, count, pack, images;

  explicit Packs(const Conv &c) : groups(c.groups), images(c.images) {
    const int64_t largest = std::max(c.in * c.in_pixels, c.out * c.out_pixels) * W * int64_t(sizeof(float));
    const int vectors = up(images, W), most = groups < 8 ? 1 : int(std::clamp<int64_t>(PACK_BYTES / largest, 1, 3));
    int best = 1;
    for (int k = 2; k <= most; ++k)
      if (up(vectors, k) * k == up(vectors, best) * best || up(vectors, k) * k == vectors) best = k;
    pack = best * W, count = up(images, pack), parts = groups >= 8 ? 1 : std::min(count, 8);
  }

  // Of what both copies of a group's maps may take: half of a usual cache of the second level.
  static constexpr int64_t PACK_BYTES = 1 << 17;

  int tasks() const { return groups * parts; }
  int group(int task) const { return task / parts; }
  int first(int task) const { return int64_t(count) * (task % parts) / parts; }
  int last(int task) const { return int64_t(count) * (task % parts + 1) / parts; }
  int there(int p) const { return std::min(pack, images - p * pack); }
};

// How many taps are inside the map, over all positions of an axis.
inline int taps_inside(int in, int out, int kernel, int stride, int pad) {
  int n = 0;
  for (int q = 0; q < out; ++q)
    n += std::max(0, std::min(kernel, in + pad - q * stride) - std::max(0, pad - q * stride));
  return n;
}

// Whether turning pays: vectors of images are fuller than vectors of pixels, maps of one group stay in the cache, and
// there is enough to do for several threads. `direct`: nothing is to be done to what is read.
inline bool small_maps(const Conv &c, bool direct) {
  const int vectors = up(c.images, W);
  const int64_t largest = std::max(c.in * c.in_pixels, c.out * c.out_pixels) * W * int64_t(sizeof(float));
  if (largest > 1 << 19 || (c.groups < 8 && c.groups * vectors < 8)) return false;
  const double lanes = double(vectors) * W / c.images;
  if (c.pointwise()) {  // turning costs a tenth, copying and summing up each image as much as two vectors
    const int64_t pixels = direct ? up(int(c.out_pixels), W) * W : c.out_pixels + 2 * W;
    return (lanes + 0.1) * c.out_pixels < pixels;
  }
  const double inside = double(taps_inside(c.height, c.out_height, c.kernel_h, c.stride, c.pad_h)) *
                        taps_inside(c.width, c.out_width, c.kernel_w, c.stride, c.pad_w) / c.taps();
  const Layout l = layouts_of(c, 1, false).x;
  const double phases = c.stride == 1 ? 0 : 2.0 * W * c.stride * c.stride / (c.out * c.taps());  // cut one by one
  return lanes * inside < double(l.pitch) * l.row * (1 + phases);
}

// relu?(scale x + shift) of turned maps; what pads the pack stays zero.
inline void normalise(const float *from, float *to, const tmg_train_call &t, int channel, int channels, int64_t pixels,
                      int pack, int there) {
  const vec floor = broadcast(t.relu ? 0.0f : -__builtin_inff());
  for (int i = 0; i < channels; ++i) {
    const vec scale = broadcast(t.scale[channel + i]), shift = broadcast(t.shift[channel + i]);
    for (int64_t p = 0; p < pixels * pack; p += W) store(to + p, maximum(floor, load(from + p) * scale + shift));
    for (int64_t p = 0; there < pack && p < pixels; ++p) zero(to + p * pack + there, to + (p + 1) * pack);
    from += pixels * pack, to += pixels * pack;
  }
}

struct Plain {
  const float *p;
  int64_t next;
  TMG_INLINE vec operator()(int row, int first, int floats) const {
    return load_some(p + row * next + first, floats);
  }
};

inline int32_t small_forward(const Conv &c, const tmg_train_call &t, int threads) {
  const Packs packs(c);
  const Walk walk(c, false, packs.pack);
  const int rows = c.in * c.taps(), channels = c.groups * c.out, pack = packs.pack;
  const int64_t x_size = c.in * c.in_pixels, y_size = c.out * c.out_pixels, weights = up(c.out * rows, W) * W;
  double *partial = t.sums ? new double[int64_t(packs.parts) * 2 * channels]() : nullptr;
  std::atomic<bool> failed{false};
  parallel(threads, packs.tasks(), [&](int task) {
    float *x = tmg_scratch((x_size + y_size) * pack + weights);
    if (!x) return failed.store(true);
    float *y = x + x_size * pack, *w = y + y_size * pack;
    const int group = packs.group(task);
    double *mine = partial ? partial + int64_t(task % packs.parts) * 2 * channels : nullptr;
    const Finish finish{nullptr, nullptr, nullptr, mine, channels};
    pack_weights(t.w + int64_t(group) * c.out * rows, c.out, rows, rows, 1, w);
    for (int p = packs.first(task); p < packs.last(task); ++p) {
      const int there = packs.there(p);
      const int64_t first = int64_t(p) * pack * c.groups + group;
      turn_in(Plain{t.x + first * x_size, c.groups * x_size}, there, int(x_size), x, pack);
      if (t.scale) normalise(x, x, t, group * c.in, c.in, c.in_pixels, pack, there);
      run_walk(walk, c.out, rows, x, w, y, pack);
      for (int o = 0; o < c.out; ++o) {
        const int channel = group * c.out + o;
        float *map = y + o * c.out_pixels * pack;
        if (t.bias)
          for (int64_t q = 0; q < c.out_pixels; ++q)
            for (int n = 0; n < there; ++n) map[q * pack + n] += t.bias[channel];
        finish(map, c.out_pixels * pack, channel);
      }
      turn_out(y, pack, there, int(y_size), t.y + first * y_size, c.groups * y_size);
    }
  });
  if (partial) add_parts(partial, packs.parts, 2 * channels, t.sums);
  delete[] partial;
  return failed ? -2 : 0;
}

}  // namespace TMG_NS
