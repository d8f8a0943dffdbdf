// The inner loops of mask selection, one implementation for each instruction set. All of them read
// "panels": absolute scores column by column, with rows in the lanes. Not part of the public API.
//
// A key is the bit pattern of an absolute score: keys order as the scores do, infinity included,
// and anything above kInfinityKey is NaN. Sums over rows go through kPanelRows fixed partial sums,
// so that every instruction set gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace coppice::prune {

/// Rows that a panel is a multiple of; lanes beyond the last row hold zeros.
inline constexpr int kPanelRows = 16;
inline constexpr std::int32_t kInfinityKey = 0x7f800000;
/// What an infinite score counts when sets of columns are compared: more than any sum of finite
/// scores (at most 2^20 of them in a block, each below 2^128).
inline constexpr double kInfinityScore = 0x1p150;

/// How scores become integers: round(score * first * second), at most `limit`. Two factors, because
/// the power of two that they make can be beyond the range of a float.
struct Quantisation {
  float first = 1, second = 1, limit = 0;
};

struct PanelKernels {
  /// Transposes kPanelRows rows of scores to keys. rows: [kPanelRows, stride]; keys: [cols, pitch].
  /// @returns the largest key
  std::int32_t (*transpose)(const float* rows, std::ptrdiff_t stride, int cols, int pitch,
                            std::int32_t* keys);

  /// Adds the scores of each lane. keys: [cols, pitch], the first kPanelRows of every column are
  /// read; sums: [kPanelRows].
  void (*add_scores)(const std::int32_t* keys, int cols, int pitch, double* sums);

  /// In each of kPanelRows lanes, the `kept` largest keys of `count` columns (1 <= kept <= count);
  /// of equal ones the earlier columns. bits: [count, 2] bytes, bit r%8 of byte r/8 is lane r.
  /// Adds the kept scores to sums: [kPanelRows].
  void (*select)(const std::int32_t* const* columns, int count, int kept, std::uint8_t* bits,
                 double* sums);

  /// @returns the largest of `count` keys; count is a multiple of kPanelRows
  std::int32_t (*largest)(const std::int32_t* keys, std::ptrdiff_t count);

  /// Keys to integers. @returns whether no score was rounded
  bool (*quantise)(const std::int32_t* keys, std::ptrdiff_t count, const Quantisation& scale,
                   std::int32_t* out);

  /// out[i] = sum over lanes of max(columns[candidates[i]], floor), less `offset`. columns:
  /// [*, pitch]; floor: [pitch]; out: room for `count` rounded up to a multiple of four, the sums
  /// must fit. @returns the largest of out (0 if there is none)
  std::int32_t (*sum_above)(const std::int32_t* columns, int pitch, const std::int32_t* floor,
                            const std::uint8_t* candidates, int count, std::int32_t offset,
                            std::int32_t* out);

  /// Puts one more column into the descending list of the `depth` largest values of each lane.
  /// list, out: [depth, pitch], may be the same.
  void (*push)(const std::int32_t* list, const std::int32_t* column, int depth, int pitch,
               std::int32_t* out);

  /// Only the last entry of what `push` gives. floor: [pitch]. @returns its sum over lanes
  std::int32_t (*push_floor)(const std::int32_t* list, const std::int32_t* column, int depth,
                             int pitch, std::int32_t* floor);

  /// Sum of `count` values, a multiple of kPanelRows. It must fit.
  std::int32_t (*sum)(const std::int32_t* values, std::ptrdiff_t count);

  /// Sum of `count` keys as scores, each at most kInfinityScore.
  double (*sum_scores)(const std::int32_t* keys, std::ptrdiff_t count);
};

/// For the instruction set in use.
const PanelKernels& panel_kernels();

}  // namespace coppice::prune
