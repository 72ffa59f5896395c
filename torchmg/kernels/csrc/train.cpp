// Training's plain C interface. Results: 0, -1 for a malformed call, -2 for want of memory.
#include <cmath>

#include "api.h"
#include "table.h"

namespace {

bool good(const tmg_conv_shape *s) {
  if (!s || s->images < 0 || s->groups < 1 || s->in_channels < 1 || s->out_channels < 1) return false;
  if (s->in_channels % s->groups || s->out_channels % s->groups || s->stride < 1) return false;
  if (s->height < 1 || s->width < 1 || s->kernel_h < 1 || s->kernel_w < 1 || s->pad_h < 0 || s->pad_w < 0) return false;
  return s->height + 2 * s->pad_h >= s->kernel_h && s->width + 2 * s->pad_w >= s->kernel_w;
}

}  // namespace


// y = conv(relu?(scale x + shift)) + bias + add, and if `sums` is given the sums of y and y * y over images and pixels.
TMG_API int32_t tmg_norm_conv_forward(const tmg_conv_shape *s, const float *x, const float *scale, const float *shift,
                              int32_t relu, const float *w, const float *bias, const float *add, float *y,
                              double *sums, int32_t threads) {
  if (!good(s) || !x || !w || !y || !scale != !shift || (relu && !scale)) return -1;
  tmg_train_call t{};
  t.x = x, t.scale = scale, t.shift = shift, t.relu = relu, t.w = w, t.bias = bias, t.add = add, t.y = y, t.sums = sums;
  return tmg_now()->conv_forward(Conv(*s), t, threads);
}

// Gradients of x, of w, of scale and shift (2 rows), and of add, those wanted, where gy + constant[c] + slope[c] y
// reaches y.
TMG_API int32_t tmg_norm_conv_backward(const tmg_conv_shape *s, const float *x, const float *scale, const float *shift,
                               int32_t relu, const float *w, const float *y, const float *gy, const float *constant,
                               const float *slope, float *gx, float *gw, double *affine, float *gadd,
                               int32_t threads) {
  if (!good(s) || !gy || !scale != !shift || !constant != !slope || (relu && !scale)) return -1;
  if ((gw && !x) || (gx && !w) || (scale && (!x || (gx && !affine))) || (slope && !y)) return -1;
  tmg_train_call t{};
  t.x = x, t.scale = scale, t.shift = shift, t.relu = relu, t.w = w, t.y = const_cast<float *>(y), t.gy = gy;
  t.constant = constant, t.slope = slope, t.gx = gx, t.gw = gw, t.affine = scale ? affine : nullptr, t.gadd = gadd;
  return tmg_now()->conv_backward(Conv(*s), t, threads);
}

TMG_API int32_t tmg_conv_forward(const tmg_conv_shape *s, const float *x, const float *w, const float *bias, float *y,
                         int32_t threads) {
  return tmg_norm_conv_forward(s, x, nullptr, nullptr, 0, w, bias, nullptr, y, nullptr, threads);
}

TMG_API int32_t tmg_conv_data_gradient(const tmg_conv_shape *s, const float *gy, const float *w, float *gx,
                                       int32_t threads) {
  return tmg_norm_conv_backward(s, nullptr, nullptr, nullptr, 0, w, nullptr, gy, nullptr, nullptr, gx, nullptr, nullptr,
                                nullptr, threads);
}

TMG_API int32_t tmg_conv_weight_gradient(const tmg_conv_shape *s, const float *x, const float *gy, float *gw,
                                 int32_t threads) {
  return tmg_norm_conv_backward(s, x, nullptr, nullptr, 0, nullptr, nullptr, gy, nullptr, nullptr, nullptr, gw, nullptr,
                                nullptr, threads);
}

// out = relu?(scale[c] y + shift[c] + add), or with relu = 2 relu(scale[c] y + shift[c]) + add; `add` may be null.
TMG_API int32_t tmg_affine_forward(int32_t images, int32_t channels, int64_t pixels, const float *y, const float *scale,
                           const float *shift, const float *add, int32_t relu, float *out, int32_t threads) {
  if (images < 0 || channels < 1 || pixels < 1 || !y || !scale || !shift || !out) return -1;
  tmg_affine_call t{};
  t.images = images, t.channels = channels, t.pixels = pixels, t.y = y, t.scale = scale, t.shift = shift, t.add = add;
  t.relu = relu, t.out = out;
  return tmg_now()->affine_forward(t, threads);
}

// Gradients of y, of add if wanted, and of scale and shift (2 rows of channels); `out` is for relu = 1. With relu other
// than 1 add's is gout itself.
TMG_API int32_t tmg_affine_backward(int32_t images, int32_t channels, int64_t pixels, const float *y,
                                    const float *scale, const float *shift, const float *out, int32_t relu,
                                    const float *gout, float *gy, float *gadd, double *affine, int32_t threads) {
  if (images < 0 || channels < 1 || pixels < 1 || !y || !scale || !gout || !gy || !affine) return -1;
  if ((relu == TMG_LAST && !out) || (relu == TMG_BEFORE_ADD && (!shift || gadd))) return -1;
  tmg_affine_call t{};
  t.images = images, t.channels = channels, t.pixels = pixels, t.y = y, t.scale = scale, t.shift = shift;
  t.relu = relu;
  t.out = const_cast<float *>(out), t.gout = gout, t.gy = gy, t.gadd = gadd, t.affine = affine;
  return tmg_now()->affine_backward(t, threads);
}

// Batch normalisation as an affine map, from the sums of `count` values a channel: scale, shift, mean and variance.
TMG_API int32_t tmg_norm_coefficients(int32_t channels, int64_t count, const double *sums, const float *gamma,
                              const float *beta, double eps, float *scale, float *shift, float *mean, float *variance) {
  if (channels < 1 || count < 1 || !sums || !gamma || !beta || !scale || !shift || !mean || !variance) return -1;
  for (int c = 0; c < channels; ++c) {
    const double m = sums[c] / count, square = sums[channels + c] / count - m * m;
    const double v = square < 0 ? 0 : square, s = gamma[c] / std::sqrt(v + eps);
    scale[c] = float(s), shift[c] = float(beta[c] - m * s), mean[c] = float(m), variance[c] = float(v);
  }
  return 0;
}

// Back through it: gradients of gamma and beta, and what they put on every y: constant[c] + slope[c] y. `affine` has
// the gradients of scale and of shift (2 rows).
TMG_API int32_t tmg_norm_coefficients_backward(int32_t channels, int64_t count, const float *mean,
                                               const float *variance, const float *gamma, double eps,
                                               const float *gscale, const float *gshift, float *ggamma, float *gbeta,
                                               float *constant, float *slope) {
  if (channels < 1 || count < 1 || !mean || !variance || !gamma || !gscale || !gshift || !ggamma || !gbeta) return -1;
  if (!constant || !slope) return -1;
  for (int c = 0; c < channels; ++c) {
    const double m = mean[c], r = 1 / std::sqrt(variance[c] + eps), of_scale = gscale[c] - m * gshift[c];
    const double of_variance = -0.5 * r * r * r * gamma[c] * of_scale, of_mean = -gamma[c] * r * gshift[c];
    ggamma[c] = float(r * of_scale), gbeta[c] = gshift[c];
    slope[c] = float(2 * of_variance / count), constant[c] = float((of_mean - 2 * m * of_variance) / count);
  }
  return 0;
}
