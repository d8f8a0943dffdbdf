// What the performance model has to know about a GPU: every number that was measured or fitted, by
// name. docs/performance/model.md tells what each means and how it was found. Pure host code.
#pragma once

namespace coppice::cuda::model {

/// Built in: as measured on an H200. Rates of the whole GPU are in bytes or operations per second,
/// rates of a multiprocessor in bytes per clock; times in seconds, unless a name says clocks.
struct Constants {
  // Levels of the GPU, measured by themselves.
  double clock_hz = 1.98e9;          ///< of multiprocessors that do not want for power
  double memory_bytes = 4.63e12;     ///< streamed
  double l2_bytes = 8.97e12;         ///< from L2 to the multiprocessors
  double tensor_flops = 657e12;      ///< dense, 16 bits, as power allows: the best of cuBLAS
  double core_flops = 51.4e12;       ///< fp32 without tensor cores: the same
  double launch_seconds = 0.445e-6;  ///< of a kernel in a chain of them that does nothing

  // What families make of them: shares of a level's rate, clocks and seconds of their own.
  struct Transpose {  ///< or a copy, before the product
    double memory_share = 1.08;
    double ends_seconds = 2.1e-6;
  } transpose;

  struct Wgmma {
    double multiply = 0.825;       ///< times the tensor cores' clocks
    double power_share = 2.13;     ///< 2:4-effective, of the dense tensor rate
    double order_bytes = 96.9;     ///< into a multiprocessor, tiles in order: lines are shared
    double gather_bytes = 53.2;    ///< the same, gathered rows
    double part_bytes = 46.8;      ///< the same if a vector does not fill its tile
    double l2_share = 1.29;        ///< out of L2, all multiprocessors, gathered
    double order_l2_share = 1.27;  ///< the same in order
    double latency_clocks = 2120;  ///< of a copy, over the stages under way
    double order_latency_clocks = 1000;  ///< the same in order
    double barrier_clocks = 185;         ///< of a step
    double fill_clocks = 350;            ///< of a tile
    double fill_many_clocks = 50;        ///< where many tiles follow each other, more buffers
    double output_clocks = 0.183;        ///< an output
    double output_many_clocks = 0.116;   ///< the same of such tiles in order
    double slice_clocks = 24.2;          ///< a cluster's start and barrier, a further slice ...
    double slice_output_clocks = 0.168;  ///< and sums from one thread block to another, an output
    double memory_share = 0.514;
    double order_memory_share = 0.87;  ///< the same in order
    double ends_seconds = 2.9e-6;
  } wgmma;

  struct Gather {
    double multiply = 1.44;       ///< times the tensor cores' clocks, as power allows
    double gather_bytes = 58;     ///< from L2, gathered rows and weights
    double run_bytes = 44;        ///< runs as boxes: no neighbour asks for the same lines
    double step_clocks = 325;     ///< of the warpgroup that gathers, for a step ...
    double copy_clocks = 9.6;     ///< ... and for 512 bytes
    double fill_clocks = 3660;    ///< of a tile
    double output_clocks = 0.02;  ///< an output
    double ends_seconds = 0.5e-6;
    double clock_hz = 1.7e9;  ///< under products that fill the GPU
    double memory_bytes = 3.5e12;
    double slice_clocks = 800, slice_output_clocks = 0.3;
    double clear = 0.8;  ///< of the time by fragments, from which on it is chosen
  } gather;

  struct Expand {
    double multiply = 1.56;
    double power_share = 1.69;   ///< of the 2:4 products that it makes
    double five_multiply = 1.5;  ///< times that, for M = 5 ...
    double five_latency = 2;     ///< ... and times what it takes to fill the registers
    double gap_latency = 1.16;   ///< the same for M = 6 and 7
    double incoming_bytes = 66;
    double l2_share = 0.954;
    double least_clocks = 365, least_token_clocks = 2.52;  ///< of a part, of each token of it
    double beside = 0.0617;     ///< more, with a thread block beside it on its multiprocessor
    double fill_clocks = 6770;  ///< of a tile but the first
    double slice_clocks = 50.1, slice_output_clocks = 0.365;
    double memory_share = 0.93;
    double ends_seconds = 3.25e-6;
    /// Of two steps of a tile whose warpgroups take turns, and of each token of them.
    double turn_clocks = 520, turn_token_clocks = 7.3;
    double turn_output_clocks = 59;  ///< of a token of such a tile, which begins and ends once
    /// The same of M = 16, whose columns stay in order.
    double ordered_multiply = 1.2, ordered_incoming_bytes = 85.8, ordered_l2_share = 1.39;
    double ordered_least_clocks = 253, ordered_least_token_clocks = 3.33;
    double ordered_fill_clocks = 14800;
    double ordered_turn_clocks = 1700, ordered_turn_token_clocks = 3.6;
    double ordered_turn_output_clocks = 30;
  } expand;

  struct Mma {
    double shared_bytes = 111, incoming_bytes = 35.1;
    double small_window_passes = 1.83, window_passes = 1.92;  ///< bank conflicts of M <= 8, above
    double two_stages = 1.05;    ///< of a step with two stages: copies have little time to arrive
    double alone_clocks = 1020;  ///< of one warp for a step
    double fill_clocks = 25300;
    double multiply = 1.41;
    double power_share = 1.12;
    double l2_share = 2.11;
    double memory_share = 0.93;
    double ends_seconds = 13.1e-6;
  } mma;

  struct Window {
    double ends_seconds = 2.94e-6;
    double latency_clocks = 1150;  ///< of a piece's weights, asked for while one is multiplied
    double row_token_clocks = 0.0014, list_clocks = 0.0158;  ///< a row and token, each list more
    double copied = 1.64;       ///< where all threads copy windows, not the copy engine
    double fill_clocks = 2280;  ///< of a tile: first window, outputs
  } window;

  struct Ring {  // of Family::window, on Hopper
    double ends_seconds = 3e-6;
    double step_clocks = 700, panel_clocks = 500;  ///< of a piece; 64 tokens of it
    double list_clocks = 150;      ///< more for 64 tokens where a warp's rows have two lists
    double conflict_clocks = 200;  ///< more for 64 tokens where columns meet in the same banks
    double l2_share = 0.9, two_stages = 1.28;  ///< the latter: longer where no more fit
    double fill_clocks = 2500;                 ///< of a tile: outputs
  } ring;

  struct Decode {
    double memory_share = 0.95, l2_share = 0.686;
    double vector_memory = 0.1;  ///< more for each further vector in a block of 64 rows
    double ends_seconds = 7e-9;
    double token_seconds = 0.148e-6;         ///< staged and summed, in every round of thread blocks
    double column_seconds = 0.847e-9;        ///< of a column of a thread block, 8 tokens ...
    double single_staging = 0.57;            ///< ... times this for one token alone
    double feature_staging = 1.53;           ///< times the staging of feature-major activations ...
    double loose_staging = 1.54;             ///< and of those that do not lie on 16 bytes
    double vector_panel_seconds = 0.145e-6;  ///< of a step and 8 tokens, a further vector
    double wide_panel_seconds = 0.4e-6;      ///< of a step, 8 tokens behind the 32nd
    double barrier_seconds = 0.9e-6;         ///< of a cluster, for every doubling
    double chunk_seconds = 2.84e-6;          ///< of a further chunk of activations
    double last_round = 0.5;                 ///< of what thread blocks that are missing in it cost
    // By rings:
    double ring_share = 0.875, ring_wide_share = 0.81;  ///< of memory; with tiles of 16 tokens
    double ring_step_seconds = 0.3e-6;  ///< of a warp's step; with tiles of 16 tokens
    double ring_wide_step_seconds = 0.97e-6;
    double ring_ends_seconds = 2.5e-6, ring_token_seconds = 0.15e-6;  ///< of a kernel; of a token
    double ring_loose_seconds = 0.45e-6;  ///< of a step of 8 tokens that are not copied
    // By rings where columns are listed: of a token, of its columns, and of quads that a thread
    // picks.
    double listed_share = 0.83, listed_tall_share = 0.94, listed_ends_seconds = 0.76e-6;
    double listed_token_seconds = 0.25e-6, listed_column_seconds = 0.1e-9;
    double listed_quad_seconds = 0.2e-6;
  } decode;

  struct Blocked {
    /// Of a multiprocessor in a clock, with very many warps.
    double fp32_products = 138, split_products = 104, tf32_products = 155;
    double narrow = 0.78, tall = 1.6;  ///< of that with warps of 32 tokens, of 64 rows
    // At so many warps the rate is half of it:
    double few_warps = 3, fp32_few_warps = 10.9;  ///< tensor cores, CUDA cores
    // CUDA cores whose operands other warps bring:
    double fed_products = 121, fed_few_warps = 1.55;
    double fed_part_tile = 1.35;  ///< a tile at the end of the tokens, for one of others
    // Kernels of short vectors:
    double vector_products = 115, row_products = 42;  ///< by vectors of four rows, by single rows
    double short_few_warps = 6;
    double turn_clocks = 200;  ///< of a warp's rows, in every step
    double l2_bytes = 25.8;
    // Kernels of warpgroups:
    double group_products = 776;       ///< of tensor cores
    double group_shared_bytes = 72.4;  ///< in and out
    double group_l2_bytes = 34.7;
    double group_step_clocks = 688;     ///< of a step, at least
    double group_part_steps = 2.1;      ///< of a tile at the end of the tokens, for one of others
    double group_fill_clocks = 1250;    ///< of a product
    double group_output_clocks = 0.62;  ///< an output
    // The same of one product, whose values are boxes:
    double box_step_clocks = 550, box_row_clocks = 3.05;  ///< of a step; more for a row
    double box_fill_clocks = 4000;                        ///< of a product
    double box_output_clocks = 0.2;                       ///< an output
    double latency_clocks = 1160;                         ///< of a copy, over the stages under way
    double fill_clocks = 2910;                            ///< of a tile
    double output_clocks = 0.116;                         ///< an output, for every slice
    double ends_seconds = 2e-6;
    double copy_bytes = 2.5e12;  ///< a transpose before, in and out ...
    double copy_seconds = 2e-6;  ///< and its start
  } blocked;

  struct Lookup {
    double memory_share = 0.884, l2_share = 0.622;
    // A value's clocks of a warp's scheduler, and more for each token of the tile.
    double value_clocks = 4.36, value_token_clocks = 11.3;   ///< of N:M
    double list_clocks = 3, list_token_clocks = 2;           ///< of lists of columns
    double half_clocks = 6.18;                               ///< of a token of 4 in 16 bits ...
    double half_list_clocks = 5.77, half_run_clocks = 2.41;  ///< of lists; with runs of 8 and more
    double slow_clocks = 40;                                 ///< read value by value
    double ends_seconds = 1.67e-6;
    double rank_seconds = 1.49e-6;     ///< of a cluster, for every doubling
    double column_seconds = 1.19e-10;  ///< staged: a column and token of a thread block
    double feature_staging = 9.67, loose_staging = 0.936;
  } lookup;

  struct Unpack {                    ///< the expansion, before a product whose cost is another's
    double memory_share = 1;         ///< of bytes read and written ...
    double value_clocks = 41;        ///< ... and of a scheduler, 32 values ...
    double quad_clocks = 41;         ///< ... and, to 2:4, 32 times four columns ...
    double spread_quad_clocks = 33;  ///< ... the same of V:2:M
    double ends_seconds = 1.5e-6;
    double loose = 6;  ///< times a dense product of activations that do not lie on 16 bytes
    // Times what others are predicted to take, to compare with: windows; of V:2:M gathers, the
    // expansion in registers (M = 6 and 7: other), mma (M of 32 and more, and V below 32: other).
    double beside_windows = 1.2, beside_gather = 1.1, beside_expand = 1.2, beside_gaps = 1.2;
    double beside_mma = 1.15, beside_mma_sparse = 0.75, beside_mma_short = 1.45;
  } unpack;

  struct Fragments {
    double memory_share = 0.85, l2_share = 0.566;
    double step_clocks = 44, step_token_clocks = 20.3;    ///< of a scheduler, 16 rows x 32 columns
    double mask_clocks = 77.6, mask_token_clocks = 26.5;  ///< the same of masks
    // Of a warp's way through 32 columns, or through 32 columns alive of a list.
    double step_latency_clocks = 364, mask_latency_clocks = 765, list_latency_clocks = 292;
    double mask_octet_latency = 0.25;  ///< more by so much for 16 tokens, by half of it above
    // Where activations are gathered: of a pass over the weight, and of a value on all
    // multiprocessors, and of each token of a tile.
    double list_clocks = 56.9, list_token_clocks = 404;
    double list_value_clocks = 0.145, list_value_token_clocks = 0.00337;
    double feature_steps = 1.22;  ///< times the clocks of feature-major activations ...
    double loose_steps = 2.28;    ///< and of those that do not lie on 16 bytes
    double ends_seconds = 1.67e-6;
    double rank_seconds = 1.2e-6;
    double round_seconds = 1.15e-8;
  } fragments;

  struct Held {
    double memory_share = 0.85;
    // Of a warp's way through 32 columns of a unit, and more for 8 tokens.
    double part_clocks = 136, mask_clocks = 269, token_clocks = 40;
    double ends_seconds = 2.4e-6, token_seconds = 0.75e-6;  ///< more for 8 tokens
    double pass_seconds = 1.3e-6;       ///< of a warp's activations but the first
    double wide_pass_seconds = 3.5e-6;  ///< the same of groups of 16
  } held;

  struct Quads {
    double memory_share = 0.8, l2_share = 0.9;
    // A thread block's step of 64 columns, and more for a token of each of its warpgroups.
    double block_clocks = 396, block_token_clocks = 1.98;
    // By rings, as QuadClocks has them.
    double ring_block_clocks = 396, ring_token_clocks = 2.18;
    double ring_rank_clocks = 1200, ring_round_clocks = 3000;
    double order_seconds = 1.5e-12;  ///< a byte of activations, before
    double ends_seconds = 4e-6;
    double rank_seconds = 0.3e-6;   ///< of a cluster, for every doubling
    double round_seconds = 1.5e-6;  ///< of thread blocks, but the first
  } quads;

  struct Dense {
    double memory_share = 0.87;
    double ends_seconds = 3.48e-6;
    double f16_share = 1, f8_share = 1.91, tf32_share = 0.52;  ///< of the tensor rate
    double f32_share = 0.989;                                  ///< of the cores' rate
    double least_tokens = 22.2;                                ///< of a tile: fewer take as long
  } dense;
};

/// Calls f("wgmma.latency_clocks", number) for every constant, of Constants or const Constants.
template <typename AnyConstants, typename F>
void for_each_constant(AnyConstants& c, F f) {
  f("clock_hz", c.clock_hz);
  f("memory_bytes", c.memory_bytes);
  f("l2_bytes", c.l2_bytes);
  f("tensor_flops", c.tensor_flops);
  f("core_flops", c.core_flops);
  f("launch_seconds", c.launch_seconds);
  f("transpose.memory_share", c.transpose.memory_share);
  f("transpose.ends_seconds", c.transpose.ends_seconds);
  f("wgmma.multiply", c.wgmma.multiply);
  f("wgmma.power_share", c.wgmma.power_share);
  f("wgmma.order_bytes", c.wgmma.order_bytes);
  f("wgmma.gather_bytes", c.wgmma.gather_bytes);
  f("wgmma.part_bytes", c.wgmma.part_bytes);
  f("wgmma.l2_share", c.wgmma.l2_share);
  f("wgmma.order_l2_share", c.wgmma.order_l2_share);
  f("wgmma.latency_clocks", c.wgmma.latency_clocks);
  f("wgmma.order_latency_clocks", c.wgmma.order_latency_clocks);
  f("wgmma.barrier_clocks", c.wgmma.barrier_clocks);
  f("wgmma.fill_clocks", c.wgmma.fill_clocks);
  f("wgmma.fill_many_clocks", c.wgmma.fill_many_clocks);
  f("wgmma.output_clocks", c.wgmma.output_clocks);
  f("wgmma.output_many_clocks", c.wgmma.output_many_clocks);
  f("wgmma.slice_clocks", c.wgmma.slice_clocks);
  f("wgmma.slice_output_clocks", c.wgmma.slice_output_clocks);
  f("wgmma.memory_share", c.wgmma.memory_share);
  f("wgmma.order_memory_share", c.wgmma.order_memory_share);
  f("wgmma.ends_seconds", c.wgmma.ends_seconds);
  f("gather.multiply", c.gather.multiply);
  f("gather.gather_bytes", c.gather.gather_bytes);
  f("gather.run_bytes", c.gather.run_bytes);
  f("gather.step_clocks", c.gather.step_clocks);
  f("gather.copy_clocks", c.gather.copy_clocks);
  f("gather.fill_clocks", c.gather.fill_clocks);
  f("gather.output_clocks", c.gather.output_clocks);
  f("gather.ends_seconds", c.gather.ends_seconds);
  f("gather.clock_hz", c.gather.clock_hz);
  f("gather.memory_bytes", c.gather.memory_bytes);
  f("gather.slice_clocks", c.gather.slice_clocks);
  f("gather.slice_output_clocks", c.gather.slice_output_clocks);
  f("gather.clear", c.gather.clear);
  f("expand.multiply", c.expand.multiply);
  f("expand.power_share", c.expand.power_share);
  f("expand.five_multiply", c.expand.five_multiply);
  f("expand.five_latency", c.expand.five_latency);
  f("expand.gap_latency", c.expand.gap_latency);
  f("expand.incoming_bytes", c.expand.incoming_bytes);
  f("expand.l2_share", c.expand.l2_share);
  f("expand.least_clocks", c.expand.least_clocks);
  f("expand.least_token_clocks", c.expand.least_token_clocks);
  f("expand.beside", c.expand.beside);
  f("expand.fill_clocks", c.expand.fill_clocks);
  f("expand.slice_clocks", c.expand.slice_clocks);
  f("expand.slice_output_clocks", c.expand.slice_output_clocks);
  f("expand.memory_share", c.expand.memory_share);
  f("expand.ends_seconds", c.expand.ends_seconds);
  f("expand.turn_clocks", c.expand.turn_clocks);
  f("expand.turn_token_clocks", c.expand.turn_token_clocks);
  f("expand.turn_output_clocks", c.expand.turn_output_clocks);
  f("expand.ordered_least_clocks", c.expand.ordered_least_clocks);
  f("expand.ordered_least_token_clocks", c.expand.ordered_least_token_clocks);
  f("expand.ordered_turn_clocks", c.expand.ordered_turn_clocks);
  f("expand.ordered_turn_token_clocks", c.expand.ordered_turn_token_clocks);
  f("expand.ordered_turn_output_clocks", c.expand.ordered_turn_output_clocks);
  f("expand.ordered_incoming_bytes", c.expand.ordered_incoming_bytes);
  f("expand.ordered_l2_share", c.expand.ordered_l2_share);
  f("expand.ordered_multiply", c.expand.ordered_multiply);
  f("expand.ordered_fill_clocks", c.expand.ordered_fill_clocks);
  f("mma.shared_bytes", c.mma.shared_bytes);
  f("mma.incoming_bytes", c.mma.incoming_bytes);
  f("mma.small_window_passes", c.mma.small_window_passes);
  f("mma.window_passes", c.mma.window_passes);
  f("mma.two_stages", c.mma.two_stages);
  f("mma.alone_clocks", c.mma.alone_clocks);
  f("mma.fill_clocks", c.mma.fill_clocks);
  f("mma.multiply", c.mma.multiply);
  f("mma.power_share", c.mma.power_share);
  f("mma.l2_share", c.mma.l2_share);
  f("mma.memory_share", c.mma.memory_share);
  f("mma.ends_seconds", c.mma.ends_seconds);
  f("window.ends_seconds", c.window.ends_seconds);
  f("window.latency_clocks", c.window.latency_clocks);
  f("window.row_token_clocks", c.window.row_token_clocks);
  f("window.list_clocks", c.window.list_clocks);
  f("window.copied", c.window.copied);
  f("window.fill_clocks", c.window.fill_clocks);
  f("ring.ends_seconds", c.ring.ends_seconds);
  f("ring.step_clocks", c.ring.step_clocks);
  f("ring.panel_clocks", c.ring.panel_clocks);
  f("ring.list_clocks", c.ring.list_clocks);
  f("ring.conflict_clocks", c.ring.conflict_clocks);
  f("ring.l2_share", c.ring.l2_share);
  f("ring.two_stages", c.ring.two_stages);
  f("ring.fill_clocks", c.ring.fill_clocks);
  f("decode.memory_share", c.decode.memory_share);
  f("decode.l2_share", c.decode.l2_share);
  f("decode.vector_memory", c.decode.vector_memory);
  f("decode.ends_seconds", c.decode.ends_seconds);
  f("decode.token_seconds", c.decode.token_seconds);
  f("decode.column_seconds", c.decode.column_seconds);
  f("decode.single_staging", c.decode.single_staging);
  f("decode.feature_staging", c.decode.feature_staging);
  f("decode.loose_staging", c.decode.loose_staging);
  f("decode.vector_panel_seconds", c.decode.vector_panel_seconds);
  f("decode.wide_panel_seconds", c.decode.wide_panel_seconds);
  f("decode.barrier_seconds", c.decode.barrier_seconds);
  f("decode.chunk_seconds", c.decode.chunk_seconds);
  f("decode.ring_share", c.decode.ring_share);
  f("decode.ring_wide_share", c.decode.ring_wide_share);
  f("decode.ring_step_seconds", c.decode.ring_step_seconds);
  f("decode.ring_wide_step_seconds", c.decode.ring_wide_step_seconds);
  f("decode.ring_ends_seconds", c.decode.ring_ends_seconds);
  f("decode.ring_token_seconds", c.decode.ring_token_seconds);
  f("decode.ring_loose_seconds", c.decode.ring_loose_seconds);
  f("decode.last_round", c.decode.last_round);
  f("decode.listed_share", c.decode.listed_share);
  f("decode.listed_tall_share", c.decode.listed_tall_share);
  f("decode.listed_ends_seconds", c.decode.listed_ends_seconds);
  f("decode.listed_token_seconds", c.decode.listed_token_seconds);
  f("decode.listed_column_seconds", c.decode.listed_column_seconds);
  f("decode.listed_quad_seconds", c.decode.listed_quad_seconds);
  f("blocked.fp32_products", c.blocked.fp32_products);
  f("blocked.fed_products", c.blocked.fed_products);
  f("blocked.fed_few_warps", c.blocked.fed_few_warps);
  f("blocked.fed_part_tile", c.blocked.fed_part_tile);
  f("blocked.fp32_few_warps", c.blocked.fp32_few_warps);
  f("blocked.split_products", c.blocked.split_products);
  f("blocked.tf32_products", c.blocked.tf32_products);
  f("blocked.narrow", c.blocked.narrow);
  f("blocked.tall", c.blocked.tall);
  f("blocked.few_warps", c.blocked.few_warps);
  f("blocked.vector_products", c.blocked.vector_products);
  f("blocked.row_products", c.blocked.row_products);
  f("blocked.short_few_warps", c.blocked.short_few_warps);
  f("blocked.turn_clocks", c.blocked.turn_clocks);
  f("blocked.l2_bytes", c.blocked.l2_bytes);
  f("blocked.group_products", c.blocked.group_products);
  f("blocked.group_shared_bytes", c.blocked.group_shared_bytes);
  f("blocked.group_l2_bytes", c.blocked.group_l2_bytes);
  f("blocked.group_step_clocks", c.blocked.group_step_clocks);
  f("blocked.group_part_steps", c.blocked.group_part_steps);
  f("blocked.group_fill_clocks", c.blocked.group_fill_clocks);
  f("blocked.group_output_clocks", c.blocked.group_output_clocks);
  f("blocked.box_step_clocks", c.blocked.box_step_clocks);
  f("blocked.box_row_clocks", c.blocked.box_row_clocks);
  f("blocked.box_fill_clocks", c.blocked.box_fill_clocks);
  f("blocked.box_output_clocks", c.blocked.box_output_clocks);
  f("blocked.latency_clocks", c.blocked.latency_clocks);
  f("blocked.fill_clocks", c.blocked.fill_clocks);
  f("blocked.output_clocks", c.blocked.output_clocks);
  f("blocked.ends_seconds", c.blocked.ends_seconds);
  f("blocked.copy_bytes", c.blocked.copy_bytes);
  f("blocked.copy_seconds", c.blocked.copy_seconds);
  f("lookup.memory_share", c.lookup.memory_share);
  f("lookup.l2_share", c.lookup.l2_share);
  f("lookup.value_clocks", c.lookup.value_clocks);
  f("lookup.value_token_clocks", c.lookup.value_token_clocks);
  f("lookup.list_clocks", c.lookup.list_clocks);
  f("lookup.list_token_clocks", c.lookup.list_token_clocks);
  f("lookup.half_clocks", c.lookup.half_clocks);
  f("lookup.half_list_clocks", c.lookup.half_list_clocks);
  f("lookup.half_run_clocks", c.lookup.half_run_clocks);
  f("lookup.slow_clocks", c.lookup.slow_clocks);
  f("lookup.ends_seconds", c.lookup.ends_seconds);
  f("lookup.rank_seconds", c.lookup.rank_seconds);
  f("lookup.column_seconds", c.lookup.column_seconds);
  f("lookup.feature_staging", c.lookup.feature_staging);
  f("lookup.loose_staging", c.lookup.loose_staging);
  f("fragments.memory_share", c.fragments.memory_share);
  f("fragments.l2_share", c.fragments.l2_share);
  f("fragments.step_clocks", c.fragments.step_clocks);
  f("fragments.step_token_clocks", c.fragments.step_token_clocks);
  f("fragments.mask_clocks", c.fragments.mask_clocks);
  f("fragments.mask_token_clocks", c.fragments.mask_token_clocks);
  f("fragments.step_latency_clocks", c.fragments.step_latency_clocks);
  f("fragments.mask_latency_clocks", c.fragments.mask_latency_clocks);
  f("fragments.mask_octet_latency", c.fragments.mask_octet_latency);
  f("fragments.list_latency_clocks", c.fragments.list_latency_clocks);
  f("fragments.list_clocks", c.fragments.list_clocks);
  f("fragments.list_token_clocks", c.fragments.list_token_clocks);
  f("fragments.list_value_clocks", c.fragments.list_value_clocks);
  f("fragments.list_value_token_clocks", c.fragments.list_value_token_clocks);
  f("fragments.feature_steps", c.fragments.feature_steps);
  f("fragments.loose_steps", c.fragments.loose_steps);
  f("fragments.ends_seconds", c.fragments.ends_seconds);
  f("fragments.rank_seconds", c.fragments.rank_seconds);
  f("fragments.round_seconds", c.fragments.round_seconds);
  f("held.memory_share", c.held.memory_share);
  f("held.part_clocks", c.held.part_clocks);
  f("held.mask_clocks", c.held.mask_clocks);
  f("held.token_clocks", c.held.token_clocks);
  f("held.ends_seconds", c.held.ends_seconds);
  f("held.token_seconds", c.held.token_seconds);
  f("held.pass_seconds", c.held.pass_seconds);
  f("held.wide_pass_seconds", c.held.wide_pass_seconds);
  f("quads.memory_share", c.quads.memory_share);
  f("quads.l2_share", c.quads.l2_share);
  f("quads.block_clocks", c.quads.block_clocks);
  f("quads.block_token_clocks", c.quads.block_token_clocks);
  f("quads.ring_block_clocks", c.quads.ring_block_clocks);
  f("quads.ring_token_clocks", c.quads.ring_token_clocks);
  f("quads.ring_rank_clocks", c.quads.ring_rank_clocks);
  f("quads.ring_round_clocks", c.quads.ring_round_clocks);
  f("quads.order_seconds", c.quads.order_seconds);
  f("quads.ends_seconds", c.quads.ends_seconds);
  f("quads.rank_seconds", c.quads.rank_seconds);
  f("quads.round_seconds", c.quads.round_seconds);
  f("unpack.memory_share", c.unpack.memory_share);
  f("unpack.value_clocks", c.unpack.value_clocks);
  f("unpack.quad_clocks", c.unpack.quad_clocks);
  f("unpack.spread_quad_clocks", c.unpack.spread_quad_clocks);
  f("unpack.ends_seconds", c.unpack.ends_seconds);
  f("unpack.loose", c.unpack.loose);
  f("unpack.beside_windows", c.unpack.beside_windows);
  f("unpack.beside_gather", c.unpack.beside_gather);
  f("unpack.beside_expand", c.unpack.beside_expand);
  f("unpack.beside_gaps", c.unpack.beside_gaps);
  f("unpack.beside_mma", c.unpack.beside_mma);
  f("unpack.beside_mma_sparse", c.unpack.beside_mma_sparse);
  f("unpack.beside_mma_short", c.unpack.beside_mma_short);
  f("dense.memory_share", c.dense.memory_share);
  f("dense.ends_seconds", c.dense.ends_seconds);
  f("dense.f16_share", c.dense.f16_share);
  f("dense.f8_share", c.dense.f8_share);
  f("dense.tf32_share", c.dense.tf32_share);
  f("dense.f32_share", c.dense.f32_share);
  f("dense.least_tokens", c.dense.least_tokens);
}

}  // namespace coppice::cuda::model
