// Random convolutions and a small inference program against plain loops in double precision.
// Built together with the kernels for other machines and under sanitizers; prints the largest relative error.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "conv_shape.h"
#include "program.h"

extern "C" {
int32_t tmg_use_isa(const char *);
const char *tmg_isas();
const char *tmg_error();
int32_t tmg_conv_forward(const tmg_conv_shape *, const float *, const float *, const float *, float *, int32_t);
int32_t tmg_conv_data_gradient(const tmg_conv_shape *, const float *, const float *, float *, int32_t);
int32_t tmg_conv_weight_gradient(const tmg_conv_shape *, const float *, const float *, float *, int32_t);
struct tmg_program;
tmg_program *tmg_program_new(const tmg_tensor *, int32_t, const tmg_op *, int32_t, const tmg_stage *, int32_t, int64_t,
                             int64_t);
int32_t tmg_program_run(const tmg_program *, const float *const *, float *const *, int32_t, int32_t);
void tmg_program_free(tmg_program *);
}

namespace {

std::mt19937 generator(0);
double worst = 0;

std::vector<float> draw(size_t n) {
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float &v : values) v = normal(generator);
  return values;
}

int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(generator); }

void compare(const std::vector<float> &found, const std::vector<double> &right) {
  double size = 1e-30, error = 0;
  for (double v : right) size = std::fmax(size, std::fabs(v));
  for (size_t i = 0; i < right.size(); ++i) {
    const double e = std::fabs(found[i] - right[i]);
    error = e >= error ? e : error == error && e == e ? error : std::numeric_limits<double>::infinity();
  }
  worst = std::fmax(worst, error / size);
}

struct Sizes {
  int oh, ow, gi, go;
};

Sizes sizes(const tmg_conv_shape &s) {
  return {(s.height + 2 * s.pad_h - s.kernel_h) / s.stride + 1, (s.width + 2 * s.pad_w - s.kernel_w) / s.stride + 1,
          s.in_channels / s.groups, s.out_channels / s.groups};
}

// Calls f(index in x, in w, in y) for every product of the convolution.
template <class F>
void products(const tmg_conv_shape &s, const F &f) {
  const Sizes z = sizes(s);
  for (int n = 0; n < s.images; ++n)
    for (int o = 0; o < s.out_channels; ++o)
      for (int y = 0; y < z.oh; ++y)
        for (int x = 0; x < z.ow; ++x)
          for (int i = 0; i < z.gi; ++i)
            for (int ky = 0; ky < s.kernel_h; ++ky)
              for (int kx = 0; kx < s.kernel_w; ++kx) {
                const int iy = y * s.stride + ky - s.pad_h, ix = x * s.stride + kx - s.pad_w;
                if (iy < 0 || iy >= s.height || ix < 0 || ix >= s.width) continue;
                const int c = o / z.go * z.gi + i;
                f(((size_t(n) * s.in_channels + c) * s.height + iy) * s.width + ix,
                  ((size_t(o) * z.gi + i) * s.kernel_h + ky) * s.kernel_w + kx,
                  ((size_t(n) * s.out_channels + o) * z.oh + y) * z.ow + x);
              }
}

void check_conv() {
  const int kernel = 2 * pick(0, 2) + 1, groups = pick(1, 9);
  tmg_conv_shape s{};
  const bool small = pick(0, 1);  // maps with more images than a vector has room for
  s.images = small ? pick(4, 40) : pick(1, 3), s.groups = groups;
  s.in_channels = groups * pick(1, 9), s.out_channels = groups * pick(1, 9);
  s.height = pick(kernel, small ? 6 : 12), s.width = pick(kernel, small ? 6 : 20);
  s.kernel_h = s.kernel_w = kernel;
  s.stride = pick(1, 2), s.pad_h = s.pad_w = pick(0, kernel / 2);
  const Sizes z = sizes(s);
  const auto x = draw(size_t(s.images) * s.in_channels * s.height * s.width);
  const auto w = draw(size_t(s.out_channels) * z.gi * kernel * kernel), bias = draw(s.out_channels);
  const auto gy = draw(size_t(s.images) * s.out_channels * z.oh * z.ow);
  const float poison = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> y(gy.size(), poison), gx(x.size(), poison), gw(w.size(), poison);
  std::vector<double> ry(y.size()), rx(x.size()), rw(w.size());
  for (size_t i = 0; i < ry.size(); ++i) ry[i] = bias[i / (z.oh * z.ow) % s.out_channels];
  products(s, [&](size_t a, size_t b, size_t c) {
    ry[c] += double(x[a]) * w[b];
    rx[a] += double(gy[c]) * w[b];
    rw[b] += double(gy[c]) * x[a];
  });
  const int threads = pick(1, 3);
  const int failed = tmg_conv_forward(&s, x.data(), w.data(), bias.data(), y.data(), threads) |
                     tmg_conv_data_gradient(&s, gy.data(), w.data(), gx.data(), threads) |
                     tmg_conv_weight_gradient(&s, x.data(), gy.data(), gw.data(), threads);
  if (failed) worst = std::numeric_limits<double>::infinity();
  compare(y, ry), compare(gx, rx), compare(gw, rw);
}

// relu(x + conv(x)) in as many parts as groups, then its mean over the pixels.
void check_program() {
  const int groups = pick(1, 5), each = pick(1, 9), c = groups * each;
  tmg_conv_shape s{pick(1, 4), c, c, groups, pick(3, 15), pick(3, 20), 3, 3, 1, 1, 1};
  const auto x = draw(size_t(s.images) * c * s.height * s.width), w = draw(size_t(c) * each * 9), bias = draw(c);
  std::vector<double> sums(x.size());
  for (size_t i = 0; i < sums.size(); ++i) sums[i] = x[i] + bias[i / (s.height * s.width) % c];
  products(s, [&](size_t a, size_t b, size_t i) { sums[i] += double(x[a]) * w[b]; });
  std::vector<double> right(size_t(s.images) * c);
  const int pixels = s.height * s.width;
  for (size_t i = 0; i < sums.size(); ++i) right[i / pixels] += std::fmax(sums[i], 0.0) / pixels;

  tmg_tensor map{c, s.height, s.width, 1, 0, 0, 0}, vector{c, 1, 1, 0, 0, 0, 0};
  const tmg::Layout layout(map);
  const int64_t floats = int64_t(c) * layout.plane;
  std::vector<tmg_tensor> tensors{map, map, vector};
  tensors[1].offset = floats, tensors[2].offset = 2 * floats;
  std::vector<tmg_op> ops(4);
  for (tmg_op &op : ops) op = tmg_op{}, op.add0 = op.add1 = -1, op.groups = 1, op.alpha = op.beta = 1;
  ops[0].kind = tmg::LOAD, ops[0].in = 0, ops[0].out = 0;
  ops[1].kind = tmg::CONV, ops[1].in = 0, ops[1].out = 1, ops[1].add0 = 0, ops[1].act = tmg::RELU;
  ops[1].groups = groups, ops[1].kernel_h = ops[1].kernel_w = 3, ops[1].stride = 1;
  ops[1].pad_h = ops[1].pad_w = 1, ops[1].weight = w.data(), ops[1].bias = bias.data();
  ops[2].kind = tmg::MEAN, ops[2].in = 1, ops[2].out = 2;
  ops[3].kind = tmg::STORE, ops[3].in = 2, ops[3].out = 0, ops[3].groups = c;
  const tmg_stage stages[] = {{0, 3, groups, 0}, {3, 1, 1, 0}};
  tmg_program *program = tmg_program_new(tensors.data(), 3, ops.data(), 4, stages, 2, 2 * floats + c, 0);
  if (!program) {
    std::printf("%s\n", tmg_error());
    worst = std::numeric_limits<double>::infinity();
    return;
  }
  std::vector<float> y(right.size(), std::numeric_limits<float>::quiet_NaN());
  const float *inputs[] = {x.data()};
  float *outputs[] = {y.data()};
  tmg_program_run(program, inputs, outputs, s.images, pick(1, 3));
  tmg_program_free(program);
  compare(y, right);
}

}  // namespace

int main() {
  std::string names = tmg_isas();
  for (size_t at = 0; at < names.size();) {
    const size_t comma = std::min(names.find(',', at), names.size());
    tmg_use_isa(names.substr(at, comma - at).c_str());
    for (int i = 0; i < 60; ++i) check_conv(), check_program();
    std::printf("%s %.3g\n", names.substr(at, comma - at).c_str(), worst);
    at = comma + 1;
  }
  return worst < 1e-4 ? 0 : 1;
}
