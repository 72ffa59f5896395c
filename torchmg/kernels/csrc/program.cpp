// Building and running inference programs; the operations themselves are in steps.h.
#include "program.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <string>
#include <thread>

#include "pool.h"
#include "api.h"
#include "table.h"

struct tmg_program : tmg::Program {};

namespace tmg {
namespace {

thread_local std::string error;

constexpr int SLACK = 4096;  // floats that shifted vectors may read before and behind everything

struct Malformed {
  std::string what;
};

void check(bool good, const std::string &what) {
  if (!good) throw Malformed{what};
}

bool is_conv(int kind) { return kind == CONV || kind == CONV_PHASED; }
bool is_pool(int kind) { return kind == MAX_PHASED || kind == MEAN_PHASED; }
bool phased(int kind) { return kind == CONV_PHASED || is_pool(kind); }

// Offsets of the taps in a channel; of a phased one, in its planes.
std::vector<int32_t> taps(const tmg_op &op, const Layout &in) {
  std::vector<int32_t> offsets;
  for (int y = 0; y < op.kernel_h; ++y)
    for (int x = 0; x < op.kernel_w; ++x) {
      const int s = op.stride;
      if (phased(op.kind))
        offsets.push_back((y % s * s + x % s) * in.plane + y / s * in.row + x / s);
      else
        offsets.push_back((y - op.pad_h) * in.row + x - op.pad_w);
    }
  return offsets;
}

const int32_t *mask_of(Program &program, const Layout &out) {
  auto mask = std::make_unique<std::vector<int32_t>>(out.span + 64, 0);
  for (int y = 0; y < out.height; ++y) std::fill_n(mask->begin() + y * out.row, out.width, -1);
  program.masks.push_back(std::move(mask));
  return program.masks.back()->data();
}

void prepare_conv(Program &program, Step &step, int block) {
  const tmg_op &op = step.op;
  const Layout &in = program.tensors[op.in], &out = program.tensors[op.out];
  const int planes = op.kind == CONV_PHASED ? op.stride * op.stride : 1;
  const int in_channels = in.channels / planes;
  check(op.groups > 0 && in_channels % op.groups == 0 && out.channels % op.groups == 0, "groups divide no width");
  check(op.weight, "a convolution without weights");
  if (op.kind == CONV) check(op.pad_h <= in.pad && op.pad_w <= in.pad, "less padding than the taps reach");
  const int group_in = in_channels / op.groups, group_out = out.channels / op.groups;
  const std::vector<int32_t> tap = taps(op, in);
  for (int i = 0; i < group_in; ++i)
    for (int32_t t : tap) step.offsets.push_back(i * planes * in.plane + t);
  step.rows = int(step.offsets.size());
  int64_t largest = 0;
  for (int part = 0; part < step.parts; ++part) {
    step.first_block.push_back(int(step.blocks.size()));
    const int end = int64_t(out.channels) * (part + 1) / step.parts;
    for (int o = int64_t(out.channels) * part / step.parts; o < end;) {
      const int group = o / group_out, left = std::min(end, (group + 1) * group_out) - o;
      int count = std::min(block, left);
      while (count & (count - 1)) count &= count - 1;
      step.blocks.push_back({o, count, group * group_in * planes, int64_t(step.weights.size())});
      for (int r = 0; r < step.rows; ++r)
        for (int k = 0; k < count; ++k) step.weights.push_back(op.weight[int64_t(o + k) * step.rows + r]);
      largest = std::max<int64_t>(largest, count);
      o += count;
    }
  }
  step.first_block.push_back(int(step.blocks.size()));
  program.row_floats = std::max(program.row_floats, largest * (int64_t(out.height) * in.row + 64));
}

void prepare(Program &program, Step &step, int block) {
  const tmg_op &op = step.op;
  const auto known = [&](int i) { return i >= 0 && i < int(program.tensors.size()); };
  check(op.kind >= 0 && op.kind < KINDS, "an unknown operation");
  check(op.act >= 0 && op.act < ACTS, "an unknown activation");
  check(op.kind == LOAD ? op.in >= 0 : known(op.in), "no such input");
  check(op.kind == STORE ? op.out >= 0 : known(op.out), "no such output");
  check(op.add0 < int(program.tensors.size()) && op.add1 < int(program.tensors.size()), "no such addend");
  const Layout *in = op.kind == LOAD ? nullptr : &program.tensors[op.in];
  const Layout *out = op.kind == STORE ? nullptr : &program.tensors[op.out];
  const Layout &cut = op.kind == STORE || op.kind == PLACE ? *in : *out;
  check(cut.channels % step.parts == 0, "a width that its parts do not divide");
  if (is_conv(op.kind)) prepare_conv(program, step, block);
  if (is_pool(op.kind)) {
    check(in->channels == out->channels * op.stride * op.stride, "a pooling of other widths");
    step.offsets = taps(op, *in);
    program.row_floats = std::max(program.row_floats, int64_t(out->height) * in->row + 64);
  }
  if (op.kind == LINEAR) {
    check(op.weight && in->vector && out->vector, "a linear map of maps");
    step.weights.assign(op.weight, op.weight + int64_t(in->channels) * out->channels);
  }
  if (op.kind == SPLIT) check(out->channels == in->channels * op.stride * op.stride, "a split of other widths");
  if (op.kind == BINARY || op.kind == MUL || op.kind == SCALE) check(op.add0 >= 0, "one operand of two");
  if (is_conv(op.kind) || op.kind == LINEAR) {
    step.bias.assign(out->channels, 0);
    if (op.bias) step.bias.assign(op.bias, op.bias + out->channels);
  }
  if (out && !out->vector) step.mask = mask_of(program, *out);
}

// Waits for all ranks; spins a while, as stages take microseconds.
class Barrier {
 public:
  explicit Barrier(int ranks) : ranks_(ranks) {}
  void wait() {
    const int turn = turn_.load();
    if (arrived_.fetch_add(1) + 1 == ranks_) {
      arrived_.store(0);
      turn_.fetch_add(1);
      return;
    }
    for (int i = 0; turn_.load() == turn; ++i)
      if (i > 2000) std::this_thread::yield();
  }

 private:
  const int ranks_;
  std::atomic<int> arrived_{0}, turn_{0};
};

// Memory of one image, kept for the next run.
class Buffer {
 public:
  Buffer(Program &program, int64_t floats) : program_(program) {
    {
      std::lock_guard<std::mutex> guard(program.lock);
      if (!program.free_buffers.empty()) {
        memory_ = std::move(program.free_buffers.back());
        program.free_buffers.pop_back();
      }
    }
    if (!memory_) memory_.reset(new float[floats]());
  }
  ~Buffer() {
    std::lock_guard<std::mutex> guard(program_.lock);
    program_.free_buffers.push_back(std::move(memory_));
  }
  Buffer(const Buffer &) = delete;
  float *data() {
    const auto address = reinterpret_cast<uintptr_t>(memory_.get());
    return memory_.get() + (64 - address % 64) % 64 / sizeof(float);
  }

 private:
  Program &program_;
  std::unique_ptr<float[]> memory_;
};

int64_t rounded(int64_t floats) { return (floats + 15) / 16 * 16 + SLACK; }

struct Run {
  Program &program;
  const float *const *inputs;
  float *const *outputs;
  int images, ranks;
  int whole;  // images that a rank works on alone
  std::atomic<int> next{0};
  Barrier barrier;
  std::vector<std::unique_ptr<Buffer>> buffers;  // of every rank; images that all work on lie in the first

  void prepare() {
    const int64_t floats = 16 + 2 * SLACK + rounded(program.arena_floats) + rounded(program.scratch_floats) +
                           rounded(program.row_floats);
    for (int rank = 0; rank < ranks; ++rank) buffers.push_back(std::make_unique<Buffer>(program, floats));
  }
  Place place(float *arena, float *own, int image) const {
    float *scratch = own + SLACK + rounded(program.arena_floats);
    return {arena + SLACK, scratch, scratch + rounded(program.scratch_floats), inputs, outputs, image};
  }
  void stage(const tmg_stage &s, int first, int last, const Place &at) const {
    for (int part = first; part < last; ++part)
      for (int i = s.first; i < s.first + s.count; ++i)
        program.table->run_step(program, program.steps[i], part, at);
  }
  void rank(int rank) {
    float *own = buffers[rank]->data(), *shared = buffers[0]->data();
    for (int image; (image = next.fetch_add(1)) < whole;)
      for (const tmg_stage &s : program.stages) stage(s, 0, s.parts, place(own, own, image));
    if (whole == images) return;
    barrier.wait();
    for (int image = whole; image < images; ++image)
      for (const tmg_stage &s : program.stages) {
        stage(s, s.parts * rank / ranks, s.parts * (rank + 1) / ranks, place(shared, own, image));
        barrier.wait();
      }
  }
};

}  // namespace
}  // namespace tmg

using namespace tmg;

TMG_API const char *tmg_error() { return error.c_str(); }

TMG_API tmg_program *tmg_program_new(const tmg_tensor *tensors, int32_t tensor_count, const tmg_op *ops,
                                     int32_t op_count, const tmg_stage *stages, int32_t stage_count,
                                     int64_t arena_floats, int64_t scratch_floats) {
  auto program = std::make_unique<tmg_program>();
  program->table = tmg_now();
  program->arena_floats = arena_floats;
  program->scratch_floats = scratch_floats;
  try {
    check(program->table, "this CPU has none of the instruction sets that the library was built for");
    for (int i = 0; i < tensor_count; ++i) {
      program->tensors.emplace_back(tensors[i]);
      const Layout &t = program->tensors.back();
      check(t.channels > 0 && t.height > 0 && t.width > 0 && t.pad >= 0 && t.offset >= 0, "an impossible tensor");
      if (!t.local) check(t.offset + int64_t(t.channels) * t.plane <= arena_floats, "a tensor beyond its memory");
    }
    for (int i = 0; i < op_count; ++i) {
      program->steps.emplace_back();
      program->steps.back().op = ops[i];
    }
    for (int s = 0; s < stage_count; ++s) {
      const tmg_stage &stage = stages[s];
      check(stage.parts > 0 && stage.first >= 0 && stage.count >= 0 && stage.first + stage.count <= op_count,
            "an impossible stage");
      program->stages.push_back(stage);
      for (int i = stage.first; i < stage.first + stage.count; ++i) {
        Step &step = program->steps[i];
        step.parts = stage.parts;
        try {
          prepare(*program, step, program->table->block);
        } catch (const Malformed &m) {
          throw Malformed{"operation " + std::to_string(i) + ": " + m.what};
        }
        for (int t : {step.op.kind == LOAD ? -1 : step.op.in, step.op.kind == STORE ? -1 : step.op.out}) {
          if (t < 0 || !program->tensors[t].local) continue;
          const Layout &l = program->tensors[t];
          check(l.offset + int64_t(l.channels) / stage.parts * l.plane <= scratch_floats, "a part beyond its memory");
        }
      }
    }
  } catch (const Malformed &m) {
    error = m.what;
    return nullptr;
  } catch (const std::bad_alloc &) {
    error = "out of memory";
    return nullptr;
  }
  return program.release();
}

TMG_API int32_t tmg_program_run(const tmg_program *handle, const float *const *inputs, float *const *outputs,
                                int32_t images, int32_t threads) {
  Program &program = *const_cast<tmg_program *>(handle);
  const int ranks = std::max(1, threads);
  Run run{program, inputs, outputs, images, ranks, images / ranks * ranks, {0}, Barrier(ranks)};
  try {
    run.prepare();
  } catch (const std::bad_alloc &) {
    error = "out of memory";
    return -1;
  }
  tmg_parallel(
      ranks, ranks, [](void *context, int index, int) { static_cast<Run *>(context)->rank(index); }, &run);
  return 0;
}

TMG_API void tmg_program_free(tmg_program *program) { delete program; }
