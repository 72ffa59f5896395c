// Zero-padded planes of several images, one below the other, in which every tap of a convolution is a shift.
//
// A row's right pad is the next row's left pad, an image's bottom pad the next one's top pad. With a stride, x is cut
// in stride * stride phases that have a plane each: tap (dy, dx) reads phase (dy % stride, dx % stride).
#pragma once

#include <algorithm>

#include "conv_shape.h"
#include "simd.h"

namespace TMG_NS {

struct Layout {
  int row, pitch;     // floats from row to row; rows from image to image
  int lead;           // floats before the first pixel
  int images;         // in one pack
  int64_t plane;      // floats of one plane

  int64_t at(int image, int y) const { return (int64_t(image) * pitch + y) * row; }
};

inline int up(int a, int b) { return (a + b - 1) / b; }

// Layouts of x and of y's gradient that share rows and pitch, so that a position means the same pixel in both.
struct Layouts {
  Layout x, y;
  int phases;               // of x
  int y_top, y_left;        // pads of the planes of y's gradient
  int64_t positions(const Conv &c, int images) const { return x.at(images - 1, c.out_height - 1) + c.out_width; }
};

// How the data gradient finds phase `a` of one padded axis: positions first .. last, and how many taps it has.
struct Span {
  int first, last, taps;
  Span(int phase, int kernel, int stride, int pad, int size)
      : first(up(std::max(0, pad - phase), stride)), last((size - 1 + pad - phase) / stride),
        taps(up(std::max(0, kernel - phase), stride)) {
    if (size - 1 + pad - phase < 0) last = first - 1;
  }
};

// `target`: positions of a pack, which holds several images where these are small. `backward`: y's planes too.
inline Layouts layouts_of(const Conv &c, int target, bool backward) {
  Layouts l{};
  const int s = c.stride;
  l.phases = s * s;
  l.x.row = s == 1 ? c.width + c.pad_w : up(c.width + 2 * c.pad_w, s);
  l.x.pitch = s == 1 ? c.height + c.pad_h : up(c.height + 2 * c.pad_h, s);
  // A kernel larger than what is padded by less than half of it may end beyond the row that is shared.
  l.x.row = std::max(l.x.row, c.out_width);
  l.x.pitch = std::max(l.x.pitch, c.out_height);
  int bottom = 0, right = 0;
  if (backward) {
    for (int a = 0; a < s; ++a) {
      const Span y(a, c.kernel_h, s, c.pad_h, c.height), x(a, c.kernel_w, s, c.pad_w, c.width);
      if (y.last >= y.first && y.taps) {
        l.y_top = std::max(l.y_top, y.taps - 1 - y.first);
        bottom = std::max(bottom, y.last - c.out_height + 1);
      }
      if (x.last >= x.first && x.taps) {
        l.y_left = std::max(l.y_left, x.taps - 1 - x.first);
        right = std::max(right, x.last - c.out_width + 1);
      }
    }
    l.x.row = std::max(l.x.row, c.out_width + std::max(l.y_left, right));
    l.x.pitch = std::max(l.x.pitch, c.out_height + std::max(l.y_top, bottom));
  }
  l.x.lead = s == 1 ? c.pad_h * l.x.row + c.pad_w : 0;
  l.x.images = std::clamp(target / std::max(1, l.x.pitch * l.x.row), 1, c.images);
  l.y = l.x;
  l.y.lead = up(l.y_top * l.y.row + l.y_left, W) * W;
  // Vectors run over the end, and taps start as late as at the last one's shift.
  const int slack = 2 * W + l.x.row * (c.kernel_h + 1) + c.kernel_w;
  const int64_t body = int64_t(l.x.images) * l.x.pitch * l.x.row;
  l.x.plane = up(l.x.lead + body + slack, W) * W;
  l.y.plane = up(l.y.lead + body + (bottom + 1) * l.y.row + slack, W) * W;
  return l;
}

// What is read into planes: a tensor's own values, those normalised, or the gradient that reaches y in full.
struct Values {
  const float *p, *end;
  TMG_INLINE vec full(int64_t i) const { return load(p + i); }
  TMG_INLINE vec part(int64_t i, int n) const { return load_part(p + i, n); }
  TMG_INLINE bool fits(int64_t i) const { return p + i <= end; }
};

struct Normalised : Values {
  vec scale, shift, floor;
  TMG_INLINE vec map(vec x) const { return maximum(floor, x * scale + shift); }  // in this order NaN stays
  TMG_INLINE vec full(int64_t i) const { return map(Values::full(i)); }
  TMG_INLINE vec part(int64_t i, int n) const { return map(Values::part(i, n)); }
};

struct Effective : Values {
  const float *y;
  vec constant, slope;
  TMG_INLINE vec full(int64_t i) const { return Values::full(i) + constant + slope * load(y + i); }
  TMG_INLINE vec part(int64_t i, int n) const {
    return Values::part(i, n) + constant + slope * load_part(y + i, n);
  }
};

// Writes one row of `width`, in whole vectors: what follows it is overwritten.
template <class Source>
TMG_INLINE void fill_row(float *to, const Source &from, int64_t i, int width) {
  int x = 0;
  if (from.fits(i + up(width, W) * W)) {
    for (; x < width; x += W) store(to + x, from.full(i + x));
    return;
  }
  for (; x + W <= width; x += W) store(to + x, from.full(i + x));
  if (x < width) store(to + x, from.part(i + x, width - x));
}

inline void zero(float *from, const float *to) {
  if (to > from) std::memset(from, 0, (to - from) * sizeof(float));
}

// One channel of `images` images; pixels of the next image lie `next` floats on.
template <class Source>
TMG_INLINE void fill_plane(float *plane, const Layout &l, const Source &from, int images, int64_t next, int height,
                           int width) {
  zero(plane, plane + l.lead);
  if (l.row == width && l.pitch == height) {  // no pads between rows and images
    for (int n = 0; n < images; ++n) fill_row(plane + l.lead + l.at(n, 0), from, n * next, height * width);
    return zero(plane + l.lead + l.at(images, 0), plane + l.plane);
  }
  const bool narrow = l.row - width <= W;
  for (int n = 0; n < images; ++n) {
    float *to = plane + l.lead + l.at(n, 0);
    int64_t i = n * next;
    for (int y = 0; y < height; ++y, to += l.row, i += width) {
      fill_row(to, from, i, width);
      if (narrow) store(to + width, vec{});
      else zero(to + width, to + l.row);
    }
    zero(to, plane + (n + 1 < images ? l.lead + l.at(n + 1, 0) : l.plane));
  }
}

// The same cut in phases, with the pads that x has; `row` has room for one row and a vector.
template <class Source>
TMG_INLINE void fill_phases(float *planes, const Layout &l, const Conv &c, const Source &from, int images, float *row) {
  const int s = c.stride;
  const int64_t next = int64_t(c.groups) * c.in * c.in_pixels;
  zero(planes, planes + s * s * l.plane);
  for (int n = 0; n < images; ++n) {
    for (int y = 0; y < c.height; ++y) {
      fill_row(row, from, n * next + int64_t(y) * c.width, c.width);
      const int py = (y + c.pad_h) % s, qy = (y + c.pad_h) / s;
      if (qy >= l.pitch) continue;
      for (int px = 0; px < s; ++px) {
        float *to = planes + (py * s + px) * l.plane + l.at(n, qy);
        const int first = px >= c.pad_w % s ? px - c.pad_w % s : px - c.pad_w % s + s;
        int q = (first + c.pad_w) / s;
        for (int x = first; x < c.width && q < l.row; x += s, ++q) to[q] = row[x];
      }
    }
  }
}

// The pixels of one plane's images, without what lies between them, to where each image's `height * width` go.
TMG_INLINE void copy_out(const float *from, const Layout &l, int image, int height, int width, float *to) {
  from += l.at(image, 0);
  if (l.row == width) {
    std::memcpy(to, from, sizeof(float) * height * width);
    return;
  }
  const int64_t end = int64_t(height) * width;
  int y = 0;
  for (; y < height && int64_t(y) * width + up(width, W) * W <= end; ++y)
    for (int x = 0; x < width; x += W) store(to + int64_t(y) * width + x, load(from + int64_t(y) * l.row + x));
  for (; y < height; ++y)
    std::memcpy(to + int64_t(y) * width, from + int64_t(y) * l.row, sizeof(float) * width);
}

}  // namespace TMG_NS
