// oneDNN's convolutions as XLA custom calls on the CPU.
//
// Images are [N, H, W, C] and filters [F, F, C / groups, K], dense and row-major, as XLA has them.
// oneDNN computes on one thread, and the batch is dealt out to the threads of XLA's own pool: no
// second pool competes for the cores, and the gradient's parts are added up in a fixed order.
// Nothing is allocated in a call once each shape was seen.

#include <dnnl.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "threads.h"

using dnnl::memory;
using Dims = memory::dims;

namespace {

// ---------------------------------------------------------------------------------------------
// Threads and memory

const dnnl::engine& engine() {
  static const auto* engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

dnnl::stream& stream() {
  thread_local dnnl::stream stream(engine());
  return stream;
}

memory at(const memory::desc& desc, const void* data) {
  return memory(desc, engine(), const_cast<void*>(data));
}

// ---------------------------------------------------------------------------------------------
// Plans: what oneDNN prepares for a shape

enum Kind : int64_t { kForward, kBackwardData, kBackwardFilters };

// Everything a plan depends on.
struct Problem {
  int64_t kind, type, images, height, width, channels, filter_height, filter_width, filters,
      out_height, out_width, groups;
  std::array<int64_t, 2> stride, low, high, dilation;
  auto operator<=>(const Problem&) const = default;

  memory::data_type data_type() const { return static_cast<memory::data_type>(type); }
  Dims x_dims() const { return {images, channels, height, width}; }
  Dims y_dims() const { return {images, filters, out_height, out_width}; }
  Dims filter_dims() const {
    if (groups == 1) return {filters, channels, filter_height, filter_width};
    return {groups, filters / groups, channels / groups, filter_height, filter_width};
  }
  memory::desc filter_desc(memory::data_type type) const {  // as XLA has them
    const int64_t row = channels / groups * filters;
    Dims strides = {1, filters, filter_width * row, row};
    if (groups > 1) strides.insert(strides.begin(), filters / groups);
    return memory::desc(filter_dims(), type, strides);
  }
};

struct Plan {
  dnnl::primitive primitive;
  memory::desc x, filters, y, scratchpad;  // filters: as oneDNN wants them
  memory::desc user_filters;
  dnnl::primitive reorder;  // between the two, where they differ
  bool reordered = false;
};

template <typename Descriptor>
void finish(Plan& plan, const Descriptor& descriptor, const memory::desc& filters) {
  plan.filters = filters;
  plan.scratchpad = descriptor.scratchpad_desc();
  plan.reordered = plan.filters != plan.user_filters;
}

std::shared_ptr<const Plan> make_plan(const Problem& p) {
  using Tag = memory::format_tag;
  constexpr auto kDirect = dnnl::algorithm::convolution_direct;
  const auto type = p.data_type();
  auto plan = std::make_shared<Plan>();
  plan->x = memory::desc(p.x_dims(), type, Tag::nhwc);
  plan->y = memory::desc(p.y_dims(), type, Tag::nhwc);
  const memory::desc any(p.filter_dims(), type, Tag::any);
  const Dims stride(p.stride.begin(), p.stride.end()), low(p.low.begin(), p.low.end()),
      high(p.high.begin(), p.high.end()), dilation{p.dilation[0] - 1, p.dilation[1] - 1};
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::convolution_forward::primitive_desc forward(
      engine(), dnnl::prop_kind::forward_training, kDirect, plan->x, any, plan->y, stride, dilation,
      low, high, attr);
  dnnl::primitive_attr reorder_attr;
  plan->user_filters = p.filter_desc(type);
  if (p.kind == kForward) {
    finish(*plan, forward, forward.weights_desc());
    plan->primitive = dnnl::convolution_forward(forward);
  } else if (p.kind == kBackwardData) {
    dnnl::convolution_backward_data::primitive_desc backward(
        engine(), kDirect, plan->x, any, plan->y, stride, dilation, low, high, forward, attr);
    finish(*plan, backward, backward.weights_desc());
    plan->primitive = dnnl::convolution_backward_data(backward);
  } else {  // float32 sums, whatever the type
    const memory::desc any_sum(p.filter_dims(), memory::data_type::f32, Tag::any);
    dnnl::convolution_backward_weights::primitive_desc backward(
        engine(), kDirect, plan->x, any_sum, plan->y, stride, dilation, low, high, forward, attr);
    finish(*plan, backward, backward.diff_weights_desc());
    plan->primitive = dnnl::convolution_backward_weights(backward);
  }
  if (plan->reordered) {
    const bool out = p.kind == kBackwardFilters;
    dnnl::reorder::primitive_desc reorder(
        engine(), out ? plan->filters : plan->user_filters, engine(),
        out ? plan->user_filters : plan->filters);
    plan->reorder = dnnl::reorder(reorder);
  }
  return plan;
}

std::shared_ptr<const Plan> find_plan(const Problem& problem) {
  static auto& plans = *new std::map<Problem, std::shared_ptr<const Plan>>;
  static auto& mutex = *new std::mutex;
  std::lock_guard<std::mutex> lock(mutex);
  auto& plan = plans[problem];
  if (plan == nullptr) plan = make_plan(problem);
  return plan;
}

// ---------------------------------------------------------------------------------------------
// Calls

Problem describe(Kind kind, ffi::AnyBuffer::Dimensions x, ffi::AnyBuffer::Dimensions filters,
                 ffi::AnyBuffer::Dimensions y, ffi::DataType type, ffi::Span<const int64_t> window) {
  if (x.size() != 4 || filters.size() != 4 || y.size() != 4 || window.size() != 9) {
    throw std::invalid_argument("expected [N, H, W, C], [F, F, C/groups, K] and 9 window numbers");
  }
  if (type != ffi::DataType::F32 && type != ffi::DataType::BF16) {
    throw std::invalid_argument("expected float32 or bfloat16");
  }
  const auto dtype = type == ffi::DataType::F32 ? memory::data_type::f32 : memory::data_type::bf16;
  const auto* w = window.begin();
  return {kind, static_cast<int64_t>(dtype), x[0], x[1], x[2], x[3], filters[0], filters[1],
          filters[3], y[1], y[2], w[8], {w[0], w[1]}, {w[2], w[3]}, {w[4], w[5]}, {w[6], w[7]}};
}

// Into how many parts the batch is dealt: by the shape alone, never by the cores at hand, so that
// sums are split and rounded alike everywhere. Large filters have fewer, whose gradients must be summed.
int64_t parts_of(const Problem& p) {
  int64_t parts = std::min(p.images, std::max<int64_t>(8, p.images / 16));
  if (p.kind != kBackwardFilters) return parts;
  const int64_t taps = p.filter_height * p.filter_width * p.channels / p.groups * p.filters;
  const int64_t values = p.images * (p.height * p.width * p.channels +
                                     p.out_height * p.out_width * p.filters);
  while (parts > 2 && parts * taps > values) parts /= 2;
  return parts;
}

// The plan for one part of the batch, and where its images begin.
struct Part {
  std::shared_ptr<const Plan> plan;
  const char *x, *y;
};

Part part_of(const Problem& whole, int64_t part, int64_t parts, const void* x, const void* y) {
  const int64_t first = whole.images * part / parts, last = whole.images * (part + 1) / parts;
  Problem problem = whole;
  problem.images = last - first;
  auto plan = find_plan(problem);
  const auto per_image = [&](const memory::desc& desc) { return desc.get_size() / problem.images; };
  return {plan, static_cast<const char*>(x) + first * per_image(plan->x),
          static_cast<const char*>(y) + first * per_image(plan->y)};
}

memory scratchpad(const Plan& plan) {
  return at(plan.scratchpad, scratch(kScratchpad, plan.scratchpad.get_size()));
}

// y from x, or x from y: the filters are reordered once and the batch is dealt out.
void convolve(ffi::ThreadPool& pool, const Problem& problem, const void* x, const void* filters,
              const void* y) {
  const int64_t parts = parts_of(problem);
  const bool forward = problem.kind == kForward;
  OneThread guard;
  const Plan& plan = *part_of(problem, 0, parts, x, y).plan;
  const void* ready = filters;
  if (plan.reordered) {
    ready = scratch(kFilters, plan.filters.get_size());
    memory from = at(plan.user_filters, filters), to = at(plan.filters, ready);
    plan.reorder.execute(stream(), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
  }
  parallel(pool, parts, [&](int64_t index) {
    const Part part = part_of(problem, index, parts, x, y);
    if (part.plan->filters != plan.filters) throw std::runtime_error("parts differ in layout");
    part.plan->primitive.execute(
        stream(), {{forward ? DNNL_ARG_SRC : DNNL_ARG_DIFF_SRC, at(plan.x, part.x)},
                   {DNNL_ARG_WEIGHTS, at(plan.filters, ready)},
                   {forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, at(plan.y, part.y)},
                   {DNNL_ARG_SCRATCHPAD, scratchpad(*part.plan)}});
  });
}

// The filters' gradient: each part of the batch has its own, and they are added up in order.
void convolve_filters(ffi::ThreadPool& pool, const Problem& problem, const void* x, void* filters,
                      const void* y) {
  const int64_t parts = parts_of(problem);
  OneThread guard;
  const Plan& plan = *part_of(problem, 0, parts, x, y).plan;
  const size_t size = plan.filters.get_size();
  const bool direct = parts == 1 && !plan.reordered;
  char* sums = static_cast<char*>(direct ? filters : scratch(kPartial, parts * size));
  parallel(pool, parts, [&](int64_t index) {
    const Part part = part_of(problem, index, parts, x, y);
    if (part.plan->filters != plan.filters) throw std::runtime_error("parts differ in layout");
    part.plan->primitive.execute(
        stream(), {{DNNL_ARG_SRC, at(part.plan->x, part.x)},
                   {DNNL_ARG_DIFF_DST, at(part.plan->y, part.y)},
                   {DNNL_ARG_DIFF_WEIGHTS, at(plan.filters, sums + index * size)},
                   {DNNL_ARG_SCRATCHPAD, scratchpad(*part.plan)}});
  });
  if (direct) return;
  auto* total = reinterpret_cast<float*>(sums);
  const size_t count = size / sizeof(float);
  for (int64_t part = 1; part < parts; ++part) {
    const float* more = total + part * count;
    for (size_t i = 0; i < count; ++i) total[i] += more[i];
  }
  if (!plan.reordered) {
    std::copy(total, total + count, static_cast<float*>(filters));
    return;
  }
  memory from = at(plan.filters, total), to = at(plan.user_filters, filters);
  plan.reorder.execute(stream(), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
}

template <typename Body>
ffi::Error guarded(const Body& body) {
  try {
    body();
    return ffi::Error::Success();
  } catch (const dnnl::error& error) {
    return ffi::Error::Internal(std::string("oneDNN: ") + error.what());
  } catch (const std::exception& error) {
    return ffi::Error::Internal(error.what());
  }
}

ffi::Error forward(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer filters,
                   ffi::Result<ffi::AnyBuffer> y, ffi::Span<const int64_t> window) {
  return guarded([&] {
    convolve(pool, describe(kForward, x.dimensions(), filters.dimensions(), y->dimensions(),
                            x.element_type(), window),
             x.untyped_data(), filters.untyped_data(), y->untyped_data());
  });
}

ffi::Error backward_data(ffi::ThreadPool pool, ffi::AnyBuffer y, ffi::AnyBuffer filters,
                         ffi::Result<ffi::AnyBuffer> x, ffi::Span<const int64_t> window) {
  return guarded([&] {
    convolve(pool, describe(kBackwardData, x->dimensions(), filters.dimensions(), y.dimensions(),
                            y.element_type(), window),
             x->untyped_data(), filters.untyped_data(), y.untyped_data());
  });
}

ffi::Error backward_filters(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer y,
                            ffi::Result<ffi::AnyBuffer> filters, ffi::Span<const int64_t> window) {
  return guarded([&] {
    convolve_filters(pool, describe(kBackwardFilters, x.dimensions(), filters->dimensions(),
                                    y.dimensions(), x.element_type(), window),
                     x.untyped_data(), filters->untyped_data(), y.untyped_data());
  });
}

auto bind() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<ffi::AnyBuffer>()
      .Arg<ffi::AnyBuffer>()
      .Ret<ffi::AnyBuffer>()
      .Attr<ffi::Span<const int64_t>>("window");
}

}  // namespace

// Whether oneDNN convolves in bfloat16, forwards and backwards: by the processor's instructions.
extern "C" bool convolves_bfloat16() {
  const auto type = static_cast<int64_t>(memory::data_type::bf16);
  try {
    for (const Kind kind : {kForward, kBackwardData, kBackwardFilters}) {
      make_plan({kind, type, 1, 8, 8, 16, 3, 3, 16, 8, 8, 1, {1, 1}, {1, 1}, {1, 1}, {1, 1}});
    }
    return true;
  } catch (const dnnl::error&) {
    return false;
  }
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(conv_forward, forward, bind());
XLA_FFI_DEFINE_HANDLER_SYMBOL(conv_backward_data, backward_data, bind());
XLA_FFI_DEFINE_HANDLER_SYMBOL(conv_backward_filters, backward_filters, bind());
