// What the performance model has to know about a GPU: every number that was measured or fitted, by
// name. docs/performance/model.md tells what each means and how it was found. Pure host code.
#pragma once

namespace coppice::cuda::model {

/// Built in: as measured on an H200. Rates of the whole GPU are in bytes or operations per second,
/// rates of a multiprocessor in bytes per clock; times in seconds, unless a name says clocks.
struct Constants {
  // Levels of the GPU, for every family.
  double clock_hz = 1.7e9;           ///< under products that fill it
  double memory_bytes = 3.5e12;      ///< of tiled kernels, weights
  double ends_seconds = 3e-6;        ///< of a launch that few tokens cannot hide
  double copy_seconds = 2e-6;        ///< of a transpose or repack before the product, at least
  double slice_clocks = 800;         ///< a cluster's start and barrier, for each further slice ...
  double slice_output_clocks = 0.3;  ///< and sums from one thread block to another, an output

  struct Wgmma {
    double multiply = 1.5;           ///< times the tensor cores' clocks, as power allows
    double order_bytes = 58;         ///< from L2, tiles in order: neighbours ask for the same lines
    double gather_bytes = 43;        ///< from L2, gathered rows
    double part_bytes = 39.6;        ///< the same if a vector does not fill its tile
    double latency_clocks = 3100;    ///< of a copy, over the stages under way
    double barrier_clocks = 60;      ///< of a step
    double fill_clocks = 2200;       ///< of a tile
    double fill_many_clocks = 1900;  ///< where many tiles follow each other, more buffers
    double output_clocks = 0.08;     ///< an output
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
    double clear = 0.8;  ///< of the time by fragments, from which on it is chosen
  } gather;

  /// Fragments of a weight with lists: of a pass over it, microseconds.
  struct Fragments {
    double pass = 4.5, pass_token = 0.085;
    double million = 0.3, million_token = 0.0225;  ///< of a million values
  } fragments;

  struct Expand {
    double multiply = 1.13;
    double incoming_bytes = 66;
    double least_clocks = 460, least_token_clocks = 3;  ///< of a part, of each token of it
    double fill_clocks = 3000;
  } expand;

  struct Mma {
    double shared_bytes = 128, incoming_bytes = 40;
    double small_window_passes = 2, window_passes = 2.4;  ///< bank conflicts of M <= 8, above
    double two_stages = 1.2;                              ///< copies have too little time to arrive
    double alone_clocks = 400;                            ///< of one warp for a step
    double fill_clocks = 3000;
  } mma;

  struct Window {
    double latency_clocks = 860;  ///< of a piece's weights, asked for while one is multiplied
    double row_token_clocks = 0.016, list_clocks = 0.0061;  ///< a row and token, each list more
    double copied = 1.12;       ///< where all threads copy windows, not the copy engine
    double fill_clocks = 5000;  ///< of a tile: first window, outputs
  } window;

  struct Decode {
    double memory_bytes = 4.5e12, l2_bytes = 5e12;
    double ends_seconds = 1e-6;
    double token_seconds = 0.27e-6;   ///< staged and summed, in every round of thread blocks
    double barrier_seconds = 0.3e-6;  ///< of a cluster, for every doubling
    double chunk_seconds = 1.5e-6;    ///< of a further chunk of activations
  } decode;

  struct Blocked {
    /// Of a multiprocessor in a clock, with very many warps.
    double fp32_products = 106, split_products = 121, tf32_products = 180;
    double narrow = 0.78, tall = 1.6;  ///< of that with warps of 32 tokens, of 64 rows
    double few_warps = 3;              ///< at which the rate is half of it
    double l2_bytes = 30;
    double latency_clocks = 1000;  ///< of a copy, over the stages under way
    double fill_clocks = 2500;     ///< of a tile
    double output_clocks = 0.1;    ///< an output, for every slice
    double ends_seconds = 2e-6;
    double copy_bytes = 2.5e12;  ///< a transpose before, in and out
  } blocked;
};

}  // namespace coppice::cuda::model
