// Batch normalisation in training, with or without the ReLU behind it, as XLA custom calls.
//
// x is [..., C], dense, C a multiple of 16; all sums are per channel, in float32 over blocks that stay
// in the cache and in float64 over the blocks, added up in a fixed order.

#include <cmath>
#include <vector>

#include "numbers.h"
#include "threads.h"

namespace {

constexpr int64_t kWidth = 64;  // channels at a time: four registers of AVX-512

// Rows of `lanes` numbers: narrow rows are taken several at once, so that a lane is still a channel.
struct Rows {
  int64_t channels, lanes;
  explicit Rows(int64_t channels)
      : channels(channels), lanes(kWidth % channels == 0 ? kWidth : channels) {}
};

// Calls body(width, first lane) for all lanes, the width known to the compiler.
template <typename Body>
inline void by_width(int64_t lanes, const Body& body) {
  int64_t lane = 0;
  for (; lane + kWidth <= lanes; lane += kWidth) body(std::integral_constant<int, kWidth>(), lane);
  for (; lane < lanes; lane += 16) body(std::integral_constant<int, 16>(), lane);
}

// Count, mean and sum of squared deviations of each channel; merged as by Chan et al. (1979).
struct Moments {
  double count = 0;
  std::vector<double> mean, squares;
  explicit Moments(int64_t channels) : mean(channels), squares(channels) {}
};

inline void merge(double& count_mean, double& squares, double count, double n, double mean,
                  double more) {
  const double delta = mean - count_mean, total = count + n;
  count_mean += delta * n / total;
  squares += more + delta * delta * count * n / total;
}

template <typename T>
void moments_block(const T* x, int64_t rows, int64_t lanes, int64_t channels, Moments& out) {
  if (rows == 0) return;
  double count = out.count;
  by_width(lanes, [&](auto width, int64_t lane) {
    constexpr int W = width;
    float sum[W] = {}, mean[W], squares[W] = {};
    for (int64_t r = 0; r < rows; ++r)
      for (int w = 0; w < W; ++w) sum[w] += static_cast<float>(x[r * lanes + lane + w]);
    for (int w = 0; w < W; ++w) mean[w] = sum[w] / rows;
    for (int64_t r = 0; r < rows; ++r)
      for (int w = 0; w < W; ++w) {
        const float d = static_cast<float>(x[r * lanes + lane + w]) - mean[w];
        squares[w] += d * d;
      }
    for (int w = 0; w < W; ++w) {
      const int64_t c = (lane + w) % channels;
      const double before = count + (lane + w) / channels * rows;
      merge(out.mean[c], out.squares[c], before, rows, mean[w], squares[w]);
    }
  });
  out.count += rows * (lanes / channels);
}

template <bool kRelu, typename T>
void sums_block(const T* x, const T* dy, int64_t rows, int64_t lanes, int64_t channels,
                const float* mean, const float* slope, const float* offset, double* sum_dy,
                double* sum_dyx) {
  by_width(lanes, [&](auto width, int64_t lane) {
    constexpr int W = width;
    float first[W] = {}, second[W] = {}, m[W], a[W], b[W];
    for (int w = 0; w < W; ++w) m[w] = mean[lane + w], a[w] = slope[lane + w], b[w] = offset[lane + w];
    for (int64_t r = 0; r < rows; ++r)
      for (int w = 0; w < W; ++w) {
        const float d = static_cast<float>(x[r * lanes + lane + w]) - m[w];
        float g = dy[r * lanes + lane + w];
        if (kRelu) g = d * a[w] + b[w] > 0 ? g : 0.0f;
        first[w] += g;
        second[w] += g * d;
      }
    for (int w = 0; w < W; ++w) {
      sum_dy[(lane + w) % channels] += first[w];
      sum_dyx[(lane + w) % channels] += second[w];
    }
  });
}

template <bool kRelu, typename T>
void apply_block(const T* x, T* y, int64_t rows, int64_t lanes, const float* mean, const float* slope,
           const float* offset) {
  by_width(lanes, [&](auto width, int64_t lane) {
    constexpr int W = width;
    float m[W], a[W], b[W];
    for (int w = 0; w < W; ++w) m[w] = mean[lane + w], a[w] = slope[lane + w], b[w] = offset[lane + w];
    for (int64_t r = 0; r < rows; ++r)
      for (int w = 0; w < W; ++w) {
        const float z = (static_cast<float>(x[r * lanes + lane + w]) - m[w]) * a[w] + b[w];
        y[r * lanes + lane + w] = kRelu && z < 0 ? 0.0f : z;  // no number stays none
      }
  });
}

template <bool kRelu, typename T>
void gradient_block(const T* x, const T* dy, T* dx, int64_t rows, int64_t lanes, const float* mean,
              const float* slope, const float* offset, const float* per_d, const float* constant) {
  by_width(lanes, [&](auto width, int64_t lane) {
    constexpr int W = width;
    float m[W], a[W], b[W], p[W], q[W];
    for (int w = 0; w < W; ++w) {
      m[w] = mean[lane + w], a[w] = slope[lane + w], b[w] = offset[lane + w];
      p[w] = per_d[lane + w], q[w] = constant[lane + w];
    }
    for (int64_t r = 0; r < rows; ++r)
      for (int w = 0; w < W; ++w) {
        const float d = static_cast<float>(x[r * lanes + lane + w]) - m[w];
        float g = dy[r * lanes + lane + w];
        if (kRelu) g = d * a[w] + b[w] > 0 ? g : 0.0f;
        dx[r * lanes + lane + w] = a[w] * g + p[w] * d + q[w];
      }
  });
}

// Calls body(first number, rows, lanes) for blocks of about 64 KiB of one part of the rows [..., C].
template <typename Body>
void blocks(const Rows& shape, int64_t count, int64_t part, int64_t parts, const Body& body) {
  const int64_t group = shape.lanes / shape.channels, wide = count / group;
  const int64_t first = wide * part / parts, last = wide * (part + 1) / parts;
  const int64_t step = std::max<int64_t>(1, 16384 / shape.lanes);
  for (int64_t r = first; r < last; r += step)
    body(r * shape.lanes, std::min(step, last - r), shape.lanes);
  if (part + 1 == parts && wide * group < count)
    body(wide * shape.lanes, count - wide * group, shape.channels);
}

// By the shape alone, so that sums round alike on any number of cores.
int64_t parts_of(int64_t count, int64_t channels) {
  return std::clamp<int64_t>(count * channels / 65536, 1, 16);
}

std::vector<float> repeat(const Rows& shape, auto value) {
  std::vector<float> out(shape.lanes);
  for (int64_t i = 0; i < shape.lanes; ++i) out[i] = value(i % shape.channels);
  return out;
}

template <typename T>
void moments(ffi::ThreadPool& pool, const T* x, float* mean, float* var, int64_t count,
             int64_t channels) {
  const Rows shape(channels);
  const int64_t parts = parts_of(count, channels);
  std::vector<Moments> found(parts, Moments(channels));
  parallel(pool, parts, [&](int64_t part) {
    blocks(shape, count, part, parts, [&](int64_t at, int64_t rows, int64_t lanes) {
      moments_block(x + at, rows, lanes, channels, found[part]);
    });
  });
  Moments& all = found[0];
  for (int64_t part = 1; part < parts; ++part) {
    const Moments& more = found[part];
    for (int64_t c = 0; c < channels; ++c)
      merge(all.mean[c], all.squares[c], all.count, more.count, more.mean[c], more.squares[c]);
    all.count += more.count;
  }
  for (int64_t c = 0; c < channels; ++c) mean[c] = all.mean[c], var[c] = all.squares[c] / count;
}

template <typename T>
void apply(ffi::ThreadPool& pool, const T* x, const float* scale, const float* offset,
           const float* mean, const float* var, T* y, int64_t count, int64_t channels, bool relu,
           float epsilon) {
  const Rows shape(channels);
  const int64_t parts = parts_of(count, channels);
  const auto m = repeat(shape, [&](int64_t c) { return mean[c]; });
  const auto a = repeat(shape, [&](int64_t c) { return scale[c] / std::sqrt(var[c] + epsilon); });
  const auto b = repeat(shape, [&](int64_t c) { return offset[c]; });
  parallel(pool, parts, [&](int64_t part) {
    blocks(shape, count, part, parts, [&](int64_t at, int64_t rows, int64_t lanes) {
      (relu ? apply_block<true, T> : apply_block<false, T>)(x + at, y + at, rows, lanes, m.data(),
                                                            a.data(), b.data());
    });
  });
}

template <typename T>
void backward(ffi::ThreadPool& pool, const T* x, const T* dy, const float* scale, const float* offset,
              const float* mean, const float* var, T* dx, float* dscale, float* doffset,
              int64_t count, int64_t channels, bool relu, float epsilon) {
  const Rows shape(channels);
  const int64_t parts = parts_of(count, channels);
  std::vector<std::vector<double>> sums(parts, std::vector<double>(2 * channels));
  const auto root = [&](int64_t c) { return 1 / std::sqrt(var[c] + epsilon); };
  const auto m = repeat(shape, [&](int64_t c) { return mean[c]; });
  const auto a = repeat(shape, [&](int64_t c) { return scale[c] * root(c); });
  const auto b = repeat(shape, [&](int64_t c) { return offset[c]; });
  parallel(pool, parts, [&](int64_t part) {
    blocks(shape, count, part, parts, [&](int64_t at, int64_t rows, int64_t lanes) {
      double* out = sums[part].data();
      (relu ? sums_block<true, T> : sums_block<false, T>)(x + at, dy + at, rows, lanes, channels,
                                                          m.data(), a.data(), b.data(), out,
                                                          out + channels);
    });
  });
  auto& total = sums[0];
  for (int64_t part = 1; part < parts; ++part)
    for (int64_t i = 0; i < 2 * channels; ++i) total[i] += sums[part][i];
  for (int64_t c = 0; c < channels; ++c)
    doffset[c] = total[c], dscale[c] = total[channels + c] * root(c);
  const auto p = repeat(shape, [&](int64_t c) {
    return -scale[c] * root(c) * root(c) * root(c) * total[channels + c] / count;
  });
  const auto q = repeat(shape, [&](int64_t c) { return -scale[c] * root(c) * total[c] / count; });
  parallel(pool, parts, [&](int64_t part) {
    blocks(shape, count, part, parts, [&](int64_t at, int64_t rows, int64_t lanes) {
      (relu ? gradient_block<true, T> : gradient_block<false, T>)(
          x + at, dy + at, dx + at, rows, lanes, m.data(), a.data(), b.data(), p.data(), q.data());
    });
  });
}

// Calls body(a number of x's type, rows, channels).
ffi::Error dispatch(const ffi::AnyBuffer& x, const auto& body) {
  const int64_t channels = x.dimensions().back();
  if (channels % 16 != 0 || x.element_count() == 0)
    return ffi::Error::InvalidArgument("expected channels in multiples of 16");
  return by_type(x.element_type(),
                 [&](auto zero) { body(zero, x.element_count() / channels, channels); });
}

using Channels = ffi::Buffer<ffi::F32, 1>;

ffi::Error norm_moments(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::Result<Channels> mean,
                        ffi::Result<Channels> var) {
  return dispatch(x, [&](auto zero, int64_t count, int64_t channels) {
    using T = decltype(zero);
    moments(pool, static_cast<const T*>(x.untyped_data()), mean->typed_data(), var->typed_data(),
            count, channels);
  });
}

ffi::Error norm_apply(ffi::ThreadPool pool, ffi::AnyBuffer x, Channels scale, Channels offset,
                      Channels mean, Channels var, ffi::Result<ffi::AnyBuffer> y, bool relu,
                      float epsilon) {
  return dispatch(x, [&](auto zero, int64_t count, int64_t channels) {
    using T = decltype(zero);
    apply(pool, static_cast<const T*>(x.untyped_data()), scale.typed_data(), offset.typed_data(),
          mean.typed_data(), var.typed_data(), static_cast<T*>(y->untyped_data()), count, channels,
          relu, epsilon);
  });
}

ffi::Error norm_backward(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer dy, Channels scale,
                         Channels offset, Channels mean, Channels var,
                         ffi::Result<ffi::AnyBuffer> dx, ffi::Result<Channels> dscale,
                         ffi::Result<Channels> doffset, bool relu, float epsilon) {
  return dispatch(x, [&](auto zero, int64_t count, int64_t channels) {
    using T = decltype(zero);
    backward(pool, static_cast<const T*>(x.untyped_data()), static_cast<const T*>(dy.untyped_data()),
             scale.typed_data(), offset.typed_data(), mean.typed_data(), var.typed_data(),
             static_cast<T*>(dx->untyped_data()), dscale->typed_data(), doffset->typed_data(), count,
             channels, relu, epsilon);
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(batch_norm_moments, norm_moments,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<Channels>()
                                  .Ret<Channels>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(batch_norm_apply, norm_apply,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<Channels>()
                                  .Arg<Channels>()
                                  .Arg<Channels>()
                                  .Arg<Channels>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<bool>("relu")
                                  .Attr<float>("epsilon"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(batch_norm_backward, norm_backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<Channels>()
                                  .Arg<Channels>()
                                  .Arg<Channels>()
                                  .Arg<Channels>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<Channels>()
                                  .Ret<Channels>()
                                  .Attr<bool>("relu")
                                  .Attr<float>("epsilon"));
