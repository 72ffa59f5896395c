// What of training is compiled once for each instruction set.
#pragma once

#include <cstdint>

#include "conv_shape.h"

// conv(relu?(scale x + shift)) + add: pointers that are null leave their part out.
struct tmg_train_call {
  const float *x, *scale, *shift;  // scale and shift: one for each of x's channels, or both null
  int32_t relu;
  const float *w, *bias, *add;  // add: of y's shape
  float *y;
  double *sums;  // forward: 2 rows of y's channels, of y and of y * y
  const float *gy;
  const float *constant, *slope;  // backward: what reaches y is gy + constant[c] + slope[c] y; both or none
  float *gx, *gw, *gadd;
  double *affine;  // backward: 2 rows of x's channels, gradients of scale and of shift
};

// What the end does with a ReLU: none, over all, or before the addend.
enum tmg_relu { TMG_NONE, TMG_LAST, TMG_BEFORE_ADD };

// out = relu?(scale y + shift + add), one scale and shift for each of `channels`; and back.
struct tmg_affine_call {
  int32_t images, channels, relu;
  int64_t pixels;
  const float *y, *scale, *shift, *add;
  float *out;  // read when going back, where the ReLU is over all
  const float *gout;
  float *gy, *gadd;
  double *affine;  // 2 rows of channels
};

#define TMG_TRAIN_TABLE(X)                                                       \
  X(int32_t, conv_forward, (const Conv &, const tmg_train_call &, int threads))  \
  X(int32_t, conv_backward, (const Conv &, const tmg_train_call &, int threads)) \
  X(int32_t, affine_forward, (const tmg_affine_call &, int threads))             \
  X(int32_t, affine_backward, (const tmg_affine_call &, int threads))
