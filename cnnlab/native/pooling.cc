// Max pooling over images [N, H, W, C], and its gradient, as XLA custom calls.
//
// Of equal values in a window the first takes the gradient, as in XLA's.

#include <cmath>
#include <limits>

#include "numbers.h"
#include "threads.h"

namespace {

constexpr int64_t kWidth = 64;

struct Pool {
  int64_t images, height, width, channels, out_height, out_width;
  const int64_t* window;  // height, width; stride; padding before
};

// Calls body(y offset, number of taps' rows and columns' bounds) for each window of an image.
template <typename Body>
inline void windows(const Pool& p, const Body& body) {
  const int64_t* w = p.window;
  for (int64_t i = 0; i < p.out_height; ++i) {
    const int64_t top = i * w[2] - w[4];
    const int64_t u0 = std::max<int64_t>(top, 0), u1 = std::min(top + w[0], p.height);
    for (int64_t j = 0; j < p.out_width; ++j) {
      const int64_t left = j * w[3] - w[5];
      const int64_t v0 = std::max<int64_t>(left, 0), v1 = std::min(left + w[1], p.width);
      body((i * p.out_width + j) * p.channels, u0, u1, v0, v1);
    }
  }
}

template <typename T>
void max_forward(const Pool& p, const T* x, T* y) {
  windows(p, [&](int64_t at, int64_t u0, int64_t u1, int64_t v0, int64_t v1) {
    for (int64_t c = 0; c < p.channels; ++c) y[at + c] = -std::numeric_limits<float>::infinity();
    for (int64_t u = u0; u < u1; ++u)
      for (int64_t v = v0; v < v1; ++v) {
        const T* row = x + (u * p.width + v) * p.channels;
        for (int64_t c = 0; c < p.channels; ++c) {
          const float value = row[c], best = y[at + c];
          y[at + c] = value <= best ? best : value;  // a NaN wins
        }
      }
  });
}

template <typename T>
void max_backward(const Pool& p, const T* x, const T* dy, T* dx, float* sums) {
  const int64_t size = p.height * p.width * p.channels;
  std::fill(sums, sums + size, 0.0f);
  windows(p, [&](int64_t at, int64_t u0, int64_t u1, int64_t v0, int64_t v1) {
    for (int64_t c0 = 0; c0 < p.channels; c0 += kWidth) {
      const int64_t n = std::min(kWidth, p.channels - c0);
      float best[kWidth];
      int32_t tap[kWidth] = {};
      std::fill(best, best + kWidth, -std::numeric_limits<float>::infinity());
      for (int64_t u = u0; u < u1; ++u)
        for (int64_t v = v0; v < v1; ++v) {
          const int64_t pixel = u * p.width + v;
          const T* row = x + pixel * p.channels + c0;
          for (int64_t c = 0; c < n; ++c) {
            const float value = row[c];
            const bool more = value > best[c] || (u == u0 && v == v0);
            best[c] = more ? value : best[c];
            tap[c] = more ? static_cast<int32_t>(pixel) : tap[c];
          }
        }
      for (int64_t u = u0; u < u1; ++u)
        for (int64_t v = v0; v < v1; ++v) {
          const int64_t pixel = u * p.width + v;
          float* row = sums + pixel * p.channels + c0;
          const T* g = dy + at + c0;
          for (int64_t c = 0; c < n; ++c)
            row[c] += tap[c] == static_cast<int32_t>(pixel) ? static_cast<float>(g[c]) : 0.0f;
        }
    }
  });
  if (static_cast<const void*>(sums) != dx) std::copy(sums, sums + size, dx);
}

Pool describe(const ffi::AnyBuffer::Dimensions& x, const ffi::AnyBuffer::Dimensions& y,
              ffi::Span<const int64_t> window) {
  if (x.size() != 4 || y.size() != 4 || window.size() != 6)
    throw std::invalid_argument("expected [N, H, W, C] and 6 window numbers");
  return {x[0], x[1], x[2], x[3], y[1], y[2], window.begin()};
}

ffi::Error pool_forward(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y,
                        ffi::Span<const int64_t> window) {
  return by_type(x.element_type(), [&](auto zero) {
    using T = decltype(zero);
    const Pool p = describe(x.dimensions(), y->dimensions(), window);
    const int64_t in = p.height * p.width * p.channels, out = p.out_height * p.out_width * p.channels;
    parallel(pool, p.images, [&](int64_t n) {
      max_forward(p, static_cast<const T*>(x.untyped_data()) + n * in,
                  static_cast<T*>(y->untyped_data()) + n * out);
    });
  });
}

ffi::Error pool_backward(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer dy,
                         ffi::Result<ffi::AnyBuffer> dx, ffi::Span<const int64_t> window) {
  return by_type(x.element_type(), [&](auto zero) {
    using T = decltype(zero);
    const Pool p = describe(x.dimensions(), dy.dimensions(), window);
    const int64_t in = p.height * p.width * p.channels, out = p.out_height * p.out_width * p.channels;
    parallel(pool, p.images, [&](int64_t n) {
      T* target = static_cast<T*>(dx->untyped_data()) + n * in;
      float* sums = std::is_same_v<T, float> ? reinterpret_cast<float*>(target)
                                             : static_cast<float*>(scratch(kPartial, in * sizeof(float)));
      max_backward(p, static_cast<const T*>(x.untyped_data()) + n * in,
                   static_cast<const T*>(dy.untyped_data()) + n * out, target, sums);
    });
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(max_pool_forward, pool_forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<ffi::Span<const int64_t>>("window"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(max_pool_backward, pool_backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<ffi::Span<const int64_t>>("window"));
