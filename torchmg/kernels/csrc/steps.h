// The operations of a program, for the output channels of one part.
#pragma once

#include <algorithm>

#include "depthwise.h"
#include "program.h"
#include "tile.h"

namespace TMG_NS {

using namespace tmg;

// A tensor as one part sees it: the first pixel of a channel.
struct View {
  const Layout *layout = nullptr;
  float *base = nullptr;

  View() = default;
  View(const Program &program, int index, const Step &step, int part, const Place &place) {
    if (index < 0) return;
    layout = &program.tensors[index];
    base = (layout->local ? place.scratch : place.arena) + layout->offset + layout->lead;
    if (layout->local) base -= int64_t(layout->channels) * part / step.parts * layout->plane;
  }
  explicit operator bool() const { return layout; }
  float *channel(int c) const { return base + int64_t(c) * layout->plane; }
};

// Zeros before the first pixel and from `written` on, which the writer's vectors have reached.
TMG_INLINE void clear_ends(const View &t, int c, int written) {
  const Layout &l = *t.layout;
  if (l.vector) return;
  float *first = t.channel(c), *end = first - l.lead + l.plane;
  for (float *p = first - l.lead; p < first; p += W) store(p, vec{});
  for (float *p = first + written; p + W <= end; p += W) store(p, vec{});
  store(end - W, vec{});
}

// Zeros all around, for those who write rows.
TMG_INLINE void clear_padding(const View &t, int c) {
  const Layout &l = *t.layout;
  if (l.vector) return;
  float *first = t.channel(c);
  std::fill(first - l.lead, first, 0.0f);
  if (l.pad)
    for (int y = 0; y < l.height; ++y) std::fill(first + y * l.row + l.width, first + (y + 1) * l.row, 0.0f);
  std::fill(first + l.span, first - l.lead + l.plane, 0.0f);
}

// A channel's rows, with zeros all around: of the vector value(row, x, n) the first n floats count.
template <class Value>
TMG_INLINE void write_channel(const View &t, int c, const Value &value) {
  const Layout &l = *t.layout;
  float *to = t.channel(c);
  if (l.vector) return store_part(to, value(0, 0, 1), 1);
  for (int y = 0; y < l.height; ++y, to += l.row) {
    int x = 0;
    for (; x + W <= l.width; x += W) store(to + x, value(y, x, W));
    if (x < l.width) store(to + x, masked(value(y, x, l.width - x), first_lanes(l.width - x))), x += W;
    for (; x < l.row; x += W) store(to + x, vec{});  // what reaches into the next row is written again
  }
  clear_ends(t, c, l.span);
}

// A convolution's tile, finished and stored where all tensors have the same rows.
struct Flat {
  const float *x, *w, *bias, *add0, *add1;
  const int32_t *offsets, *mask;
  float *y;
  int64_t plane, plane0, plane1;
  int rows, act;

  template <int O, int V>
  TMG_INLINE void run(int first) const {
    Tile<O, V> tile;
    tile.multiply(x + first * W, offsets, w, rows);
    // The common ends, chosen once for a tile instead of once for every vector.
    if (act == RELU && !add1) {
      if (!add0) return finish(tile, first, [](vec s, int64_t, int64_t) { return maximum(s, vec{}); });
      return finish(tile, first, [this](vec s, int64_t p, int64_t) { return maximum(s + load(add0 + p), vec{}); });
    }
    finish(tile, first, [this](vec s, int64_t p, int64_t q) {
      if (add0) s += load(add0 + p);
      s = activated(s, act);
      return add1 ? s + load(add1 + q) : s;
    });
  }

 private:
  template <int O, int V, class End>
  TMG_INLINE void finish(const Tile<O, V> &tile, int first, const End &end) const {
#pragma GCC unroll 8
    for (int o = 0; o < O; ++o) {
      const vec b = broadcast(bias[o]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        const int p = (first + v) * W;
        const vec s = end(tile.sums[o][v] + b, o * plane0 + p, o * plane1 + p);
        store(y + o * plane + p, masked(s, load_mask(mask + p)));
      }
    }
  }
};

// A convolution's tile as it is, rows still as long as those of the input.
struct Raw {
  const float *x, *w;
  const int32_t *offsets;
  float *y;
  int64_t plane;
  int rows;

  template <int O, int V>
  TMG_INLINE void run(int first) const {
    Tile<O, V> tile;
    tile.multiply(x + first * W, offsets, w, rows);
    for (int o = 0; o < O; ++o)
      for (int v = 0; v < V; ++v) store(y + o * plane + (first + v) * W, tile.sums[o][v]);
  }
};

constexpr int L1_FLOATS = 6144;
constexpr int64_t GROUP_FLOATS = 16384;

inline void conv(const Program &program, const Step &step, int part, const Place &place) {
  const View in(program, step.op.in, step, part, place), out(program, step.op.out, step, part, place);
  const View add0(program, step.op.add0, step, part, place), add1(program, step.op.add1, step, part, place);
  const Layout &from = *in.layout, &to = *out.layout;
  const bool flat = step.op.kind == CONV && from.same_rows(to) && (!add0 || add0.layout->same_rows(to)) &&
                    (!add1 || add1.layout->same_rows(to));
  const int end = step.first_block[part + 1];
  const int span = flat ? to.span : to.height * from.row;
  const int vectors = (span + W - 1) / W;
  // Strips of pixels whose inputs stay in the first cache while all outputs of their group are made, unless it is the
  // weights that would have to be read again.
  const int inputs = std::max(1, step.rows / (step.op.kernel_h * step.op.kernel_w));
  if (const auto by_rows = flat && inputs == 1 ? depthwise(step.op.kernel_h, step.op.kernel_w) : nullptr) {
    for (int i = step.first_block[part]; i < end; ++i)
      for (int o = 0; o < step.blocks[i].count; ++o) {
        const Block &block = step.blocks[i];
        const int c = block.out + o;
        DepthwiseCall call{in.channel(block.in), step.weights.data() + block.weight + o, block.count, step.bias[c],
                           add0 ? add0.channel(c) : nullptr, add1 ? add1.channel(c) : nullptr, out.channel(c),
                           to.row, to.height, to.width, step.op.act};
        by_rows(call);
        clear_ends(out, c, to.span);
      }
    return;
  }
  for (int i = step.first_block[part]; i < end;) {
    int stop = i;
    int64_t weights = 0;
    for (; stop < end && step.blocks[stop].in == step.blocks[i].in; ++stop)
      weights += int64_t(step.blocks[stop].count) * step.rows;
    const int strip = weights > GROUP_FLOATS ? vectors : std::max(24, L1_FLOATS / (inputs * W));
    for (int v = 0; flat && v < vectors; v += strip) {
      for (int b = i; b < stop; ++b) {
        const Block &block = step.blocks[b];
        const int at = v * W;
        Flat body{in.channel(block.in) + at, step.weights.data() + block.weight, step.bias.data() + block.out,
                  add0 ? add0.channel(block.out) + at : nullptr, add1 ? add1.channel(block.out) + at : nullptr,
                  step.offsets.data(), step.mask + at, out.channel(block.out) + at, to.plane,
                  add0 ? add0.layout->plane : 0, add1 ? add1.layout->plane : 0, step.rows, step.op.act};
        for_outputs(block.count, std::min(strip, vectors - v), body);
      }
    }
    for (int b = i; b < stop; ++b) {
      const Block &block = step.blocks[b];
      if (flat) {
        for (int o = 0; o < block.count; ++o) clear_ends(out, block.out + o, vectors * W);
        continue;
      }
      const int64_t plane = int64_t(vectors) * W;
      Raw body{in.channel(block.in), step.weights.data() + block.weight, step.offsets.data(), place.rows, plane,
               step.rows};
      for_outputs(block.count, vectors, body);
      for (int o = 0; o < block.count; ++o) {
        const int c = block.out + o;
        const float bias = step.bias[c], *sums = place.rows + o * plane;
        const float *a0 = add0 ? add0.channel(c) : nullptr, *a1 = add1 ? add1.channel(c) : nullptr;
        write_channel(out, c, [&](int y, int x, int n) {
          vec s = load_some(sums + y * from.row + x, n) + bias;
          if (a0) s += load_some(a0 + y * add0.layout->row + x, n);
          s = activated(s, step.op.act);
          return a1 ? s + load_some(a1 + y * add1.layout->row + x, n) : s;
        });
      }
    }
    i = stop;
  }
}

inline void split(const View &in, const View &out, const tmg_op &op, int c) {
  const Layout &from = *in.layout, &to = *out.layout;
  const int s = op.stride, phase = c % (s * s), py = phase / s - op.pad_h, px = phase % s - op.pad_w;
  const float *x = in.channel(c / (s * s));
  const int low = std::min(to.width, px < 0 ? (-px + s - 1) / s : 0);
  const int high = std::max(low, std::min(to.width, (from.width - px + s - 1) / s));
  clear_padding(out, c);
  for (int i = 0; i < to.height; ++i) {
    float *y = out.channel(c) + i * to.row;
    const int row = i * s + py;
    const bool inside = row >= 0 && row < from.height;
    if (!inside) {
      std::fill(y, y + to.width, op.fill);
      continue;
    }
    const float *source = x + row * from.row + px;
    std::fill(y, y + low, op.fill);
    if (s == 2)
      for (int j = low; j < high; ++j) y[j] = source[2 * j];
    else
      for (int j = low; j < high; ++j) y[j] = source[s * j];
    std::fill(y + high, y + to.width, op.fill);
  }
}

inline void pool(const View &in, const View &out, const Step &step, const Place &place, int c) {
  const Layout &from = *in.layout, &to = *out.layout;
  const float *x = in.channel(c * step.op.stride * step.op.stride);
  const int vectors = (to.height * from.row + W - 1) / W;
  const bool largest = step.op.kind == MAX_PHASED;
  for (int v = 0; v < vectors; ++v) {
    vec s = load(x + v * W + step.offsets[0]);
    for (size_t r = 1; r < step.offsets.size(); ++r) {
      const vec next = load(x + v * W + step.offsets[r]);
      s = largest ? maximum(s, next) : s + next;
    }
    store(place.rows + v * W, largest ? s : s * step.op.alpha);
  }
  write_channel(out, c, [&](int y, int i, int n) { return load_some(place.rows + y * from.row + i, n); });
}

// f over all pixels of a channel of one, two tensors.
template <class F>
TMG_INLINE void each(const View &in, const View &other, const View &out, const Step &step, int c, int c_in,
                     const F &f) {
  const Layout &to = *out.layout;
  if (in.layout->same_rows(to) && (!other || other.layout->same_rows(to))) {
    const float *a = in.channel(c_in), *b = other ? other.channel(c) : a;
    float *y = out.channel(c);
    for (int p = 0; p < to.span; p += W)
      store(y + p, masked(f(load(a + p), load(b + p)), load_mask(step.mask + p)));
    clear_ends(out, c, (to.span + W - 1) / W * W);
    return;
  }
  const View &second = other ? other : in;
  const float *a = in.channel(c_in), *b = second.channel(other ? c : c_in);
  write_channel(out, c, [&](int y, int x, int n) {
    return f(load_some(a + y * in.layout->row + x, n), load_some(b + y * second.layout->row + x, n));
  });
}

// Padding is zero, so it may be added; behind a vector's number is the next channel.
inline float mean(const View &in, int c) {
  const Layout &l = *in.layout;
  const float *x = in.channel(c);
  if (l.vector) return *x;
  vec total{};
  for (int p = 0; p < l.span; p += W) total += load(x + p);
  return sum(total) / (float(l.height) * l.width);
}

inline float dot(const float *a, const float *b, int n) {
  vec s{}, t{};
  int i = 0;
  for (; i + 2 * W <= n; i += 2 * W) {
    s += load(a + i) * load(b + i);
    t += load(a + i + W) * load(b + i + W);
  }
  for (; i < n; i += W) s += load_some(a + i, std::min(W, n - i)) * load_some(b + i, std::min(W, n - i));
  return sum(s + t);
}

inline void run_step(const Program &program, const Step &step, int part, const Place &place) {
  const tmg_op &op = step.op;
  if (op.kind == CONV || op.kind == CONV_PHASED) return conv(program, step, part, place);
  const View in(program, op.kind == LOAD ? -1 : op.in, step, part, place);
  const View out(program, op.kind == STORE ? -1 : op.out, step, part, place);
  const View add0(program, op.add0, step, part, place);
  // PLACE and STORE write all that comes in; others all of the part's outputs.
  const bool by_input = op.kind == STORE || op.kind == PLACE;
  const int channels = (by_input ? in : out).layout->channels;
  const int begin = int64_t(channels) * part / step.parts, end = int64_t(channels) * (part + 1) / step.parts;
  for (int c = begin; c < end; ++c) {
    switch (op.kind) {
      case LOAD: {
        const Layout &l = *out.layout;
        const float *x = place.inputs[op.in] + (int64_t(place.image) * l.channels + c) * l.height * l.width;
        write_channel(out, c, [&](int y, int i, int n) { return load_some(x + y * l.width + i, n); });
        break;
      }
      case STORE: {
        const Layout &l = *in.layout;
        const int64_t at = int64_t(place.image) * op.groups + op.channel + c;
        float *y = place.outputs[op.out] + at * l.height * l.width;
        for (int i = 0; i < l.height; ++i, y += l.width)
          for (int j = 0; j < l.width; j += W) {
            const int n = std::min(W, l.width - j);
            store_some(y + j, load_some(in.channel(c) + i * l.row + j, n), n);
          }
        break;
      }
      case SPLIT: split(in, out, op, c); break;
      case MAX_PHASED:
      case MEAN_PHASED: pool(in, out, step, place, c); break;
      case BINARY:
        each(in, add0, out, step, c, c, [&](vec a, vec b) { return activated(a * op.alpha + b * op.beta, op.act); });
        break;
      case SCALE: {
        const float s = *add0.channel(c);
        each(in, View(), out, step, c, c, [&](vec a, vec) { return activated(a * s, op.act); });
        break;
      }
      case MUL: each(in, add0, out, step, c, c, [&](vec a, vec b) { return activated(a * b, op.act); }); break;
      case ACT:
        each(in, View(), out, step, c, c, [&](vec a, vec) { return activated(a * op.alpha + op.beta, op.act); });
        break;
      case MEAN: *out.channel(c) = mean(in, c); break;
      case LINEAR: {
        const int n = in.layout->channels;
        const float y = dot(step.weights.data() + int64_t(c) * n, in.channel(0), n) + step.bias[c];
        float lanes[W];
        store(lanes, activated(broadcast(y), op.act));
        *out.channel(c) = lanes[0];
        break;
      }
      case COPY: each(in, View(), out, step, c, c + op.channel, [](vec a, vec) { return a; }); break;
      case PLACE: {
        const float *x = in.channel(c);
        write_channel(out, c + op.channel,
                      [&](int y, int i, int n) { return load_some(x + y * in.layout->row + i, n); });
        break;
      }
    }
  }
}

}  // namespace TMG_NS
