// An inference program: operations on the padded planes of one image, in stages whose parts need nothing of each other.
// The plain C structures are those of torchmg/inference/program.py.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

extern "C" {

typedef struct {
  int32_t channels, height, width, pad, local, reserved;
  int64_t offset;
} tmg_tensor;

typedef struct {
  int32_t kind, act, in, out, add0, add1, groups, kernel_h, kernel_w, stride, pad_h, pad_w, channel, reserved;
  float alpha, beta, fill, unused;
  const float *weight, *bias;
} tmg_op;

typedef struct {
  int32_t first, count, parts, reserved;
} tmg_stage;

struct tmg_table;
}

namespace tmg {

enum Kind {
  LOAD, STORE, CONV, SPLIT, CONV_PHASED, MAX_PHASED, MEAN_PHASED, BINARY, SCALE, MUL, MEAN, LINEAR, ACT, COPY, PLACE,
  KINDS
};
enum Act { NONE, RELU, RELU6, HARDSWISH, HARDSIGMOID, SIGMOID, SILU, GELU, ACTS };

// Where the pixels of a tensor lie. A row's right padding is the left padding of the next.
struct Layout {
  int channels, height, width, pad;
  int row;    // floats from one row to the next
  int lead;   // zeros before the first pixel; with it pixels begin where vectors do
  int plane;  // floats of a channel
  int span;   // from the first pixel to the end of the last row's padding
  bool local, vector;
  int64_t offset;

  Layout() = default;
  explicit Layout(const tmg_tensor &t)
      : channels(t.channels), height(t.height), width(t.width), pad(t.pad), row(t.width + t.pad),
        lead(vectors(t.pad * row + t.pad)), plane(0), span(t.height * row), local(t.local != 0),
        vector(t.height == 1 && t.width == 1 && t.pad == 0), offset(t.offset) {
    plane = vector ? 1 : lead + vectors(span + pad * row + pad) + 16;
  }
  static int vectors(int floats) { return (floats + 15) / 16 * 16; }
  bool same_rows(const Layout &o) const { return row == o.row && height == o.height && !vector && !o.vector; }
};

// The outputs of one tile: `count` channels from `out` on, of the inputs from `in` on.
struct Block {
  int out, count, in;
  int64_t weight;
};

struct Step {
  tmg_op op;
  int parts, rows = 0;
  std::vector<int32_t> offsets;     // of every row of the product, in floats from the pixel in its group's first plane
  std::vector<Block> blocks;        // of all parts
  std::vector<int> first_block;     // of each part, and the end
  std::vector<float> weights, bias; // packed as the tiles read them
  const int32_t *mask = nullptr;    // -1 at pixels, 0 at padding, over the span of the output and a vector more
};

struct Program {
  const tmg_table *table;
  std::vector<Layout> tensors;
  std::vector<Step> steps;
  std::vector<tmg_stage> stages;
  std::vector<std::unique_ptr<std::vector<int32_t>>> masks;
  int64_t arena_floats, scratch_floats, row_floats = 0;

  std::mutex lock;
  std::vector<std::unique_ptr<float[]>> free_buffers;
};

// Where one image is worked on.
struct Place {
  float *arena, *scratch, *rows;
  const float *const *inputs;
  float *const *outputs;
  int image;
};

}  // namespace tmg
