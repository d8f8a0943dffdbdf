// The public product: checks, choice of the kernel family, call.
#include <fmt/format.h>

#include "coppice/linear.h"
#include "cpu/check_product.h"
#include "cpu/few_tokens.h"
#include "cpu/many_tokens.h"
#include "cpu/select.h"
#include "cpu/target.h"

namespace coppice::cpu {

void multiply(const PackedWeight& weight, const Activations& x, const MutableActivations& y,
              const Epilogue& epilogue, int threads) {
  check_product(weight.rows(), weight.cols(), x, y, epilogue);
  if (weight.rows() == 0 || x.tokens == 0) return;
  const KernelChoice choice =
      select_kernel(weight.impl().layout, weight.dtype(), x.tokens, target_name());
  if (choice.family == KernelFamily::many_tokens)
    many_tokens_multiply(weight.impl(), x, y, epilogue, threads);
  else
    few_tokens_multiply(weight.impl(), x, y, epilogue, threads);
}

std::string kernel_name(const PackedWeight& weight, std::int64_t tokens) {
  const std::string_view target = target_name();
  const KernelChoice choice = select_kernel(weight.impl().layout, weight.dtype(), tokens, target);
  return fmt::format("{} ({})", to_string(choice), target);
}

}  // namespace coppice::cpu
