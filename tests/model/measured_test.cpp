// The built-in constants against times measured on an H200, of shapes that they were not fitted to.
#include "bench/measured.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "bench/model_cases.h"
#include "coppice/error.h"
#include "cuda/model/gpu.h"

namespace coppice::bench {
namespace {

double quantile(std::vector<double> values, double share) {
  std::ranges::sort(values);
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
}

TEST(Measured, PredictionsHoldForShapesThatWereNotFitted) {
  auto measured = read_measured(MEASURED_DIR "/model_held_out_2026-11-22.csv");
  // Since then look-ups of four tokens in 16 bits are other kernels, two to five times as fast.
  std::erase_if(measured, [](const MeasuredProduct& m) {
    return m.kernel == "look-up 4" && m.dtype != Dtype::f32;
  });
  const cuda::model::Gpu gpu = cuda::model::built_in_gpu();
  int unknown = 0;
  const std::vector<ModelCase> cases = model_cases(measured, gpu.info(), &unknown);
  ASSERT_GE(cases.size(), 200u);
  std::vector<double> errors;
  int within = 0, judged = 0;
  for (const ModelCase& c : cases) {
    double best = 1e30, chosen = 0, least = 1e30, expected = 0;
    for (const ModelLine& line : c.lines) {
      errors.push_back(std::abs(line.cost.seconds / line.measured->seconds - 1));
      best = std::min(best, line.measured->seconds);
      if (line.is_selected) chosen = line.measured->seconds;
      if (line.cost.seconds < least) {
        least = line.cost.seconds;
        expected = line.measured->seconds;
      }
    }
    // Where a family is selected that came after the measurements, the best prediction is judged.
    if (chosen == 0) chosen = expected;
    if (c.lines.size() < 2 || chosen == 0) continue;
    ++judged;
    within += chosen <= 1.05 * best ? 1 : 0;
  }
  EXPECT_LE(quantile(errors, 0.5), 0.15);
  EXPECT_LE(quantile(errors, 0.9), 0.35);
  EXPECT_GE(judged, 200);
  EXPECT_GE(static_cast<double>(within), 0.895 * judged);
}

TEST(Measured, LinesComeBackAndHostileOnesDoNot) {
  MeasuredProduct m;
  m.pattern = Pattern::parse("2:4");
  m.rows = m.cols = 64;
  m.tokens = 3;
  m.kernel = "decode";
  m.configuration = "decode 1, 8 tokens group 1";
  m.seconds = 2e-6;
  std::string csv;
  for (const std::string& line : measured_lines({m})) csv += line + "\n";
  const auto back = parse_measured(csv, "text");
  ASSERT_EQ(back.size(), 1u);
  EXPECT_TRUE(back[0].same_case(m));
  EXPECT_EQ(back[0].configuration, m.configuration);
  EXPECT_DOUBLE_EQ(back[0].seconds, m.seconds);
  for (const char* bad : {"pattern,us\n2:4,1\n", "pattern,rows\n2:4\n",
                          "pattern,rows,cols,tokens,kernel,us\n2:4,0,1,1,k,1\n",
                          "pattern,rows,cols,tokens,kernel,us\n2:4,1,1,1,k,nan\n",
                          "pattern,rows,cols,tokens,kernel,us\n9:4,1,1,1,k,1\n"})
    EXPECT_THROW(parse_measured(bad, "text"), FileError) << bad;
}

}  // namespace
}  // namespace coppice::bench
