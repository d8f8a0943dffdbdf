// The public product: checks, choice of the kernel family, call.
#include <fmt/format.h>

#include "coppice/linear.h"
#include "cpu/check_product.h"
#include "cpu/few_tokens.h"
#include "cpu/many_tokens.h"
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

std::string kernel_name(const PackedWeight& weight, std::int64_t tokens) {
  const std::string_view target = target_name();
  const KernelChoice choice = select_kernel(weight.impl().layout, weight.dtype(), tokens, target);
  return fmt::format("{} ({})", to_string(choice), target);
}

}  // namespace coppice::cpu
