// One grouped convolution of images (NCHW, float32, contiguous) and how its tensors are cut.
#pragma once

#include <cstdint>

extern "C" {
typedef struct {
  int32_t images, in_channels, out_channels, groups, height, width, kernel_h, kernel_w, stride, pad_h, pad_w;
} tmg_conv_shape;
}

struct Conv {
  int images, groups, in, out;  // channels of one group
  int height, width, kernel_h, kernel_w, stride, pad_h, pad_w, out_height, out_width;
  int64_t in_pixels, out_pixels;

  explicit Conv(const tmg_conv_shape &s)
      : images(s.images), groups(s.groups), in(s.in_channels / s.groups), out(s.out_channels / s.groups),
        height(s.height), width(s.width), kernel_h(s.kernel_h), kernel_w(s.kernel_w), stride(s.stride), pad_h(s.pad_h),
        pad_w(s.pad_w), out_height((s.height + 2 * s.pad_h - s.kernel_h) / s.stride + 1),
        out_width((s.width + 2 * s.pad_w - s.kernel_w) / s.stride + 1),
        in_pixels(int64_t(s.height) * s.width), out_pixels(int64_t(out_height) * out_width) {}

  int taps() const { return kernel_h * kernel_w; }
  bool pointwise() const { return taps() == 1 && stride == 1 && pad_h == 0 && pad_w == 0; }
};
