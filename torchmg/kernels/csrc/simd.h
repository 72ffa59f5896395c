// Vectors of the instruction set that this file is compiled for, by the compiler's own vector types.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define TMG_JOIN_(a, b) a##b
#define TMG_JOIN(a, b) TMG_JOIN_(a, b)
#define TMG_NS TMG_JOIN(tmg_, TMG_ISA)

namespace TMG_NS {

#if defined(__AVX512F__)
constexpr int W = 16;
constexpr bool MANY_REGISTERS = true;
#elif defined(__AVX2__)
constexpr int W = 8;
constexpr bool MANY_REGISTERS = false;
#else
constexpr int W = 4;
#if defined(__aarch64__)
constexpr bool MANY_REGISTERS = true;
#else
constexpr bool MANY_REGISTERS = false;
#endif
#endif

typedef float vec __attribute__((vector_size(4 * W)));
typedef float vec_at __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * W)));
typedef int32_t ivec_at __attribute__((vector_size(4 * W), aligned(4), may_alias));

#define TMG_INLINE inline __attribute__((always_inline))

TMG_INLINE vec load(const float *p) { return *reinterpret_cast<const vec_at *>(p); }
TMG_INLINE void store(float *p, vec v) { *reinterpret_cast<vec_at *>(p) = v; }
TMG_INLINE ivec load_mask(const int32_t *p) { return *reinterpret_cast<const ivec_at *>(p); }
TMG_INLINE vec broadcast(float x) { return x - vec{}; }
TMG_INLINE vec masked(vec v, ivec m) { return reinterpret_cast<vec>(reinterpret_cast<ivec>(v) & m); }
template <class V>
TMG_INLINE V maximum(V a, V b) {
  return a > b ? a : b;
}
template <class V>
TMG_INLINE V minimum(V a, V b) {
  return a < b ? a : b;
}

// -1 in the first n lanes.
TMG_INLINE ivec first_lanes(int n) {
  ivec lane;
  for (int i = 0; i < W; ++i) lane[i] = i;
  return lane < n;
}

// The first n < W floats, zeros behind them.
TMG_INLINE vec load_part(const float *p, int n) {
#if defined(__AVX512F__)
  return vec(_mm512_maskz_loadu_ps(__mmask16((1u << n) - 1), p));
#elif defined(__AVX2__)
  return vec(_mm256_maskload_ps(p, __m256i(first_lanes(n))));
#else
  float buffer[W] = {};
  std::memcpy(buffer, p, sizeof(float) * n);
  return load(buffer);
#endif
}

TMG_INLINE void store_part(float *p, vec v, int n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1), __m512(v));
#elif defined(__AVX2__)
  _mm256_maskstore_ps(p, __m256i(first_lanes(n)), __m256(v));
#else
  float buffer[W];
  store(buffer, v);
  std::memcpy(p, buffer, sizeof(float) * n);
#endif
}

// The first n <= W floats.
TMG_INLINE vec load_some(const float *p, int n) { return n == W ? load(p) : load_part(p, n); }

TMG_INLINE void store_some(float *p, vec v, int n) {
  if (n == W) store(p, v);
  else store_part(p, v, n);
}

TMG_INLINE float sum(vec v) {
  float buffer[W], total = 0;
  store(buffer, v);
  for (int i = 0; i < W; ++i) total += buffer[i];
  return total;
}

}  // namespace TMG_NS
