// Selection for the few tokens of text generation: look-ups, fragments and decode.
#include <gtest/gtest.h>

#include "cuda/decode_select.h"
#include "cuda/describe.h"
#include "cuda/kernels/decode_ring_sizes.h"
#include "cuda/select_problems.h"

namespace coppice::cuda {
namespace {

TEST(Select, ElementWeightsAreLookedUpOrMultipliedByFragments) {
  ProductInfo p;
  p.packing = Packing::elements;
  p.cols = 4096;
  const auto name = [&](std::int64_t tokens) {
    p.tokens = tokens;
    return selection_name(select(p, hopper()));
  };
  EXPECT_EQ(name(1), "look-up 1");
  EXPECT_EQ(name(2), "look-up 2");
  EXPECT_EQ(name(100), "look-up 4");
  p.fragment_tokens = 64;
  EXPECT_EQ(name(1), "look-up 1");
  EXPECT_EQ(name(8), "fragments 8");
  EXPECT_EQ(name(9), "fragments 16");
  EXPECT_EQ(name(4096), "fragments 64");
  p.fragment_tokens = 16;
  EXPECT_EQ(name(64), "fragments 16");
  p.batch_invariant = true;
  EXPECT_EQ(name(1), "fragments 8") << "the same order of sums for any number of tokens";
  p.fragment_tokens = 64;
  EXPECT_EQ(name(64), "fragments 16") << "larger tiles have another order";
  EXPECT_FALSE(can_run(Family::mma, p, hopper()));
  EXPECT_FALSE(can_run(Family::lookup, two_four(64, 64, 1), hopper()));
}

// As measured (docs/performance/decode.md): a pass of look-ups takes 4 tokens, fragments are slow
// where a warp has many columns.
TEST(Select, FewTokensAreLookedUpWhereFragmentsTakeLonger) {
  const auto name = [](const char* pattern, std::int64_t rows, std::int64_t cols,
                       std::int64_t tokens, bool invariant = false) {
    ProductInfo p =
        describe(Grid(Pattern::parse(pattern), {rows, cols, {}, {}}), Dtype::f16, false, hopper());
    p.tokens = tokens;
    p.token_major = true;
    p.batch_invariant = invariant;
    return selection_name(select(p, hopper()));
  };
  for (const char* pattern : {"2:8", "4:8", "2:16", "vw32/8:32"}) {
    EXPECT_EQ(name(pattern, 4096, 4096, 1), "look-up 1");
    EXPECT_EQ(name(pattern, 4096, 4096, 2, true), "fragments 8") << "one order of sums";
  }
  for (const char* pattern : {"2:8", "2:16", "vw32/8:32"})
    EXPECT_EQ(name(pattern, 4096, 4096, 2), "look-up 2");
  EXPECT_EQ(name("vw32/8:32", 2048, 8192, 2), "look-up 2");
  EXPECT_EQ(name("vw32/8:32", 4096, 4096, 8), "fragments 8");
  EXPECT_EQ(name("2:16", 28672, 8192, 4), "look-up 4");
  for (const char* pattern : {"2:8", "4:8"})
    for (const std::int64_t tokens : {2, 3, 4}) {
      EXPECT_EQ(name(pattern, 14336, 4096, tokens), "fragments 8");
      EXPECT_EQ(name(pattern, 28672, 8192, tokens), "fragments 8");
    }
}

// As measured: fragments that hold activations in registers where rows are few, or columns many.
TEST(Select, FewTokensAreHeldWhereWarpsHaveFewUnits) {
  const auto name = [](const char* pattern, std::int64_t rows, std::int64_t cols,
                       std::int64_t tokens, bool token_major = true) {
    ProductInfo p =
        describe(Grid(Pattern::parse(pattern), {rows, cols, {}, {}}), Dtype::bf16, false, hopper());
    p.tokens = tokens;
    p.token_major = token_major;
    return selection_name(select(p, hopper()));
  };
  for (const char* pattern : {"2:8", "4:8", "2:16"}) {
    EXPECT_EQ(name(pattern, 4096, 4096, 8), "held 8");
    EXPECT_EQ(name(pattern, 4096, 4096, 16), "held 16");
    EXPECT_EQ(name(pattern, 4096, 4096, 8, false), "fragments 8") << "turned over too slowly";
    EXPECT_EQ(name(pattern, 2048, 8192, 8), "held 8");
    EXPECT_FALSE(name(pattern, 4096, 4096, 17).starts_with("held"));
  }
  for (const char* pattern : {"2:8", "2:16"}) {
    EXPECT_EQ(name(pattern, 14336, 4096, 16), "fragments 16");
    EXPECT_EQ(name(pattern, 28672, 8192, 16), "fragments 16");
  }
  EXPECT_EQ(name("4:8", 4096, 4096, 2), "held 8");
  EXPECT_EQ(name("4:8", 4096, 14336, 16), "held 16");
  EXPECT_EQ(name("2:16", 4096, 14336, 16), "fragments 16");
}

// Nothing that text generation meets may land on a kernel for many tokens.
TEST(Select, FewTokensAreDecoded) {
  for (const std::int64_t tokens : {1, 2, 7, 8, 9, 16})
    for (const bool token_major : {false, true})
      for (const bool aligned : {false, true})
        for (const auto& [rows, cols] : {std::pair{4096, 4096},
                                         {14336, 4096},
                                         {4096, 14336},
                                         {28672, 8192},
                                         {8192, 28672},
                                         {1024, 4096},
                                         {11008, 4096}}) {
          std::vector<ProductInfo> all{two_four(rows, cols, tokens)};
          for (const int vec_rows : {16, 32, 64, 128, 512})
            for (const int group : {5, 8, 16, 32})
              if (group <= 8 || tokens <= 8)
                all.push_back(product(vec_rows, group, rows, cols, tokens));
          for (ProductInfo& p : all) {
            p.token_major = token_major;
            p.aligned = aligned;
            const Selection s = select(p, hopper());
            EXPECT_EQ(s.family, Family::decode)
                << rows << " x " << cols << " M " << p.group << " tokens " << tokens;
            EXPECT_FALSE(s.transpose || s.repack) << "activations are read as they are";
          }
        }
}

TEST(Select, DecodeSumsDoNotDependOnTheTokens) {
  for (const DeviceInfo& device : {hopper(), ampere()})
    for (const int group : {5, 8, 100})
      for (const std::int64_t rows : {64, 1024, 4096, 28672}) {
        const int slices = decode_slices(product(64, group, rows, 4096, 1), device);
        for (std::int64_t tokens = 1; tokens <= 64; ++tokens)
          for (const DecodeShape& s : decode_shapes(product(64, group, rows, 4096, tokens), device))
            EXPECT_EQ(s.slices(), slices);
      }
}

// What was fastest of all kernels, 22 November 2026 (H200, docs/performance/vnm.md): decode reads
// the activations again for every vector of a block.
TEST(Select, ShortVectorsOfTensOfTokensAreExpanded) {
  const auto name = [](int vec_rows, int group, std::int64_t rows, std::int64_t tokens,
                       bool token_major) {
    ProductInfo p = product(vec_rows, group, rows, 4096, tokens);
    p.rows = rows;
    p.token_major = token_major;
    return selection_name(select(p, hopper()));
  };
  for (const int vec_rows : {16, 32}) {
    EXPECT_EQ(name(vec_rows, 8, 4096, 64, true),
              "expand 64x64 in turns 2 slices after a transpose");
    EXPECT_EQ(name(vec_rows, 8, 4096, 64, false), "expand 64x64 in turns 2 slices");
    EXPECT_EQ(name(vec_rows, 8, 4096, 256, false), "expand 128x128 2 slices");
    EXPECT_EQ(name(vec_rows, 8, 14336, 128, true), "expand 128x128 after a transpose");
    // In order: either layout as it is (23 November 2026).
    for (const bool token_major : {false, true}) {
      const std::string layout = token_major ? " token-major" : "";
      const auto chosen = [&](std::int64_t rows, std::int64_t tokens) {
        return name(vec_rows, 16, rows, tokens, token_major);
      };
      EXPECT_EQ(chosen(4096, 64), "expand 64x64 in turns 2 slices" + layout);
      EXPECT_EQ(chosen(4096, 128), "expand 64x128 in turns 2 slices" + layout);
      EXPECT_EQ(chosen(4096, 256), "expand 64x128 in turns" + layout);
      EXPECT_EQ(chosen(4096, 512), "expand 128x128" + layout);
      EXPECT_EQ(chosen(14336, 64), "expand 64x64" + layout);
      EXPECT_EQ(chosen(14336, 128), "expand 128x128" + layout);
      EXPECT_EQ(chosen(14336, 256), "expand 128x256" + layout);
      EXPECT_TRUE(chosen(4096, 4096).starts_with("unpack 2:4"));
      EXPECT_TRUE(chosen(4096, 8).starts_with("decode"));
    }
  }
}

TEST(Select, DecodeShapesFitTheDevice) {
  for (const DeviceInfo& device : {hopper(), ampere(), ada()})
    for (const int group : {4, 8, 32, 256})
      for (const std::int64_t cols : {1, 100, 4096, 14336, 65536})
        for (const std::int64_t tokens : {1, 16, 64})
          for (const bool regular : {true, false}) {
            ProductInfo p = product(64, group, 4096, cols, tokens);
            p.regular = regular;
            p.in_order = group == 4 && regular;
            const auto shapes = decode_shapes(p, device);
            const bool small = group <= (device.compute_capability == 90 ? 32 : 8);
            EXPECT_TRUE(!regular || !small || !shapes.empty()) << group << " " << cols;
            for (const DecodeShape& s : shapes) {
              if (decode::is_ring(s)) {
                EXPECT_EQ(s.warps(), decode::ring_warps(s.tokens));
                const int most = decode::most_tile_units(s);
                for (const int units : {1, most / 2, most}) {
                  const auto r = decode::ring_sizes(s, units, p.in_order ? 0 : p.block_vectors,
                                                    p.steps, cols, tokens, device.shared_bytes);
                  EXPECT_GE(r.slots, 1);
                  EXPECT_LE(r.slots, decode::kMostSlots);
                  EXPECT_GE(s.row_warps * r.run_units, units);
                  EXPECT_LE(decode::ring_bytes(r, s), device.shared_bytes);
                }
                continue;
              }
              EXPECT_EQ(s.warps(), decode::kWarps);
              EXPECT_LE(s.cluster, device.compute_capability >= 90 ? 8 : 1);
              EXPECT_GE(s.chunk_steps, 1);
              EXPECT_TRUE(regular || std::int64_t{s.chunk_steps} * s.slices() >= p.steps);
              EXPECT_LE((decode::shared_bytes(s, regular, group, cols) + 1024) *
                            decode_residents(s.tokens),
                        device.shared_bytes + 1024);
            }
          }
}

}  // namespace
}  // namespace coppice::cuda
