// The public product: checks, choice of the kernel family, call.
#include <fmt/format.h>

#include "coppice/linear.h"
#include "core/parallel_for.h"
#include "cpu/bf16_lookup.h"
#include "cpu/bf16_lookup_plan.h"
#include "cpu/check_product.h"
#include "cpu/few_tokens.h"
#include "cpu/many_tokens.h"
#include "cpu/scratch.h"
#include "cpu/select.h"
#include "cpu/target.h"

namespace coppice::cpu {
namespace {

template <typename T>
BasicActivations<T> tokens_of(const BasicActivations<T>& all, std::int64_t first,
                              std::int64_t count) {
  const std::int64_t step = all.layout == Layout::token_major ? all.major_stride() : 1;
  T* data = all.data == nullptr ? nullptr : all.data + first * step;  // null: no features
  return {data, count, all.features, all.layout, all.major_stride()};
}

// Rows of a matrix, as it lies in memory.
template <typename T>
std::int64_t majors(const BasicActivations<T>& a) {
  return a.layout == Layout::token_major ? a.tokens : a.features;
}
template <typename T>
std::int64_t minors(const BasicActivations<T>& a) {
  return a.layout == Layout::token_major ? a.features : a.tokens;
}

// The kernels that multiply such a weight in bf16, or null.
const Bf16Kernels* lookup_kernels(const PackedWeight& weight, std::int64_t tokens) {
  const bool wanted = weight.dtype() == Dtype::bf16 && lookup_supports(weight.impl()) &&
                      prefers_lookup(weight.impl().layout, tokens);
  return wanted ? bf16_kernels() : nullptr;
}

// By the product of fp32 activations.
void multiply_converted(const PackedWeight& weight, const Bf16Input& x, const Bf16Output& y,
                        const Epilogue& epilogue, int threads) {
  thread_local Scratch x_scratch, y_scratch;
  auto* wide_x = x_scratch.room<float>(x.tokens * x.features);
  auto* wide_y = y_scratch.room<float>(y.tokens * y.features);
  parallel_for(majors(x), threads, [&](std::int64_t row) {
    to_float(Dtype::bf16, reinterpret_cast<const std::byte*>(x.data + row * x.major_stride()),
             {wide_x + row * minors(x), static_cast<std::size_t>(minors(x))});
  });
  multiply(weight, {wide_x, x.tokens, x.features, x.layout},
           {wide_y, y.tokens, y.features, y.layout}, epilogue, threads);
  parallel_for(majors(y), threads, [&](std::int64_t row) {
    from_float(Dtype::bf16, {wide_y + row * minors(y), static_cast<std::size_t>(minors(y))},
               reinterpret_cast<std::byte*>(y.data + row * y.major_stride()));
  });
}

}  // namespace

void multiply(const PackedWeight& weight, const Activations& x, const MutableActivations& y,
              const Epilogue& epilogue, int threads) {
  check_product(weight.rows(), weight.cols(), x, y, epilogue);
  if (weight.rows() == 0 || x.tokens == 0) return;
  const KernelChoice choice =
      select_kernel(weight.impl().layout, weight.dtype(), x.tokens, target_name());
  const std::int64_t many =
      choice.family == KernelFamily::many_tokens ? x.tokens - choice.rest_tokens : 0;
  const std::int64_t few = x.tokens - many;
  if (many > 0)
    many_tokens_multiply(weight.impl(), tokens_of(x, 0, many), tokens_of(y, 0, many), epilogue,
                         threads);
  if (few > 0)
    few_tokens_multiply(weight.impl(), tokens_of(x, many, few), tokens_of(y, many, few), epilogue,
                        threads);
}

void multiply_bf16(const PackedWeight& weight, const Bf16Input& x, const Bf16Output& y,
                   const Epilogue& epilogue, int threads) {
  check_product(weight.rows(), weight.cols(), x, y, epilogue);
  if (weight.rows() == 0 || x.tokens == 0) return;
  if (const Bf16Kernels* kernels = lookup_kernels(weight, x.tokens))
    return lookup_multiply(*kernels, weight.impl(), x, y, epilogue, threads);
  multiply_converted(weight, x, y, epilogue, threads);
}

std::string kernel_name(const PackedWeight& weight, std::int64_t tokens, Dtype activations) {
  const std::string_view target = target_name();
  if (activations == Dtype::bf16 && lookup_kernels(weight, tokens) != nullptr)
    return fmt::format("look-up/bf16 ({})", target);
  const KernelChoice choice = select_kernel(weight.impl().layout, weight.dtype(), tokens, target);
  return fmt::format("{} ({})", to_string(choice), target);
}

}  // namespace coppice::cpu
