#include "bench/baseline.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <omp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <type_traits>
#include <vector>

#include "bench/timing.h"

namespace coppice::bench {
namespace {

constexpr int kRowMajor = 101, kNoTranspose = 111, kTranspose = 112;
constexpr const char* kCoreVariable = "OPENBLAS_CORETYPE";

// The OpenMP builds first: they share our threads.
constexpr std::array kFiles = {
    "/usr/lib/x86_64-linux-gnu/openblas-openmp/libopenblas.so.0",
    "/usr/lib/aarch64-linux-gnu/openblas-openmp/libopenblas.so.0",
    "libopenblaso.so.0",
    "libopenblas.so.0",
    "libopenblas.so",
};

// What OpenBLAS would choose itself comes first (empty name).
constexpr std::array kCoreTypes = {"", "SKYLAKEX", "COOPERLAKE", "ZEN", "HASWELL"};

void set_core_type(const char* core_type) {
  if (*core_type == '\0')
    unsetenv(kCoreVariable);
  else
    setenv(kCoreVariable, core_type, 1);
}

}  // namespace

struct OpenBlasFunctions {
  using Sgemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int,
                         float, float*, int);
  using Sgemv = void (*)(int, int, int, int, float, const float*, int, const float*, int, float,
                         float*, int);
  Sgemm sgemm = nullptr;
  Sgemv sgemv = nullptr;
  void (*set_num_threads)(int) = nullptr;
  char* (*get_config)() = nullptr;
  char* (*get_corename)() = nullptr;

  // Never unloaded: its worker threads may outlive every handle.
  static std::shared_ptr<const OpenBlasFunctions> open(const char* file, std::string* why_not) {
    void* library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      *why_not = dlerror();
      return nullptr;
    }
    auto functions = std::make_shared<OpenBlasFunctions>();
    bool found = true;
    auto resolve = [&](auto& function, const char* name) {
      function =
          reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
      if (function == nullptr) {
        *why_not = fmt::format("{} lacks {}", file, name);
        found = false;
      }
    };
    resolve(functions->sgemm, "cblas_sgemm");
    resolve(functions->sgemv, "cblas_sgemv");
    resolve(functions->set_num_threads, "openblas_set_num_threads");
    resolve(functions->get_config, "openblas_get_config");
    resolve(functions->get_corename, "openblas_get_corename");
    return found ? functions : nullptr;
  }
};

namespace {

// So many threads for OpenBLAS while it lives. OpenMP builds up to 0.3.21 take what their own
// setter says; 0.3.26 asks OpenMP.
class Threads {
 public:
  Threads(const OpenBlasFunctions& functions, int threads) : before_(omp_get_max_threads()) {
    functions.set_num_threads(threads);
    omp_set_num_threads(threads);
  }
  ~Threads() { omp_set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

// Set in a process that is to time the library as it loads it, and in one that was started again.
constexpr const char* kProbe = "COPPICE_OPENBLAS_PROBE";
constexpr const char* kChosen = "COPPICE_OPENBLAS_CHOSEN";

// Seconds of one small sgemm. On one thread: those of a team that ran before are not in a child of
// this process, and two would wait for each other for ever. Infinity if the library fails.
double time_loaded(const char* file) {
  std::string ignored;
  double seconds = INFINITY;
  if (auto functions = OpenBlasFunctions::open(file, &ignored)) {
    constexpr int kSize = 384;
    std::vector<float> a(kSize * kSize, 0.5f), b(kSize * kSize, 0.25f), c(kSize * kSize);
    const Threads one(*functions, 1);
    for (int i = 0; i < 8; ++i) {
      const double start = now_seconds();
      functions->sgemm(kRowMajor, kNoTranspose, kNoTranspose, kSize, kSize, kSize, 1, a.data(),
                       kSize, b.data(), kSize, 0, c.data(), kSize);
      seconds = std::min(seconds, now_seconds() - start);
    }
  }
  return seconds;
}

bool write_seconds(int file, double seconds) {
  return write(file, &seconds, sizeof seconds) == sizeof seconds;
}

// Times the library with this core type in a child process, because it reads the variable once,
// when it is loaded. @param again in a program of its own, since this one has loaded it
double time_core_type(const char* file, const char* core_type, bool again) {
  std::array<int, 2> channel{};
  if (pipe(channel.data()) != 0) return INFINITY;
  const pid_t child = fork();
  if (child == 0) {
    set_core_type(core_type);
    if (!again) _exit(write_seconds(channel[1], time_loaded(file)) ? 0 : 1);
    setenv(kProbe, file, 1);
    dup2(channel[1], STDOUT_FILENO);
    execl("/proc/self/exe", "coppice", nullptr);
    _exit(1);
  }
  close(channel[1]);
  double seconds = INFINITY;
  if (child < 0 || read(channel[0], &seconds, sizeof seconds) != sizeof seconds) seconds = INFINITY;
  close(channel[0]);
  if (child > 0) waitpid(child, nullptr, 0);
  return seconds;
}

// The core type to load: the fastest, but OpenBLAS's own choice unless another is clearly faster.
const char* choose_core_type(const char* file, bool again) {
  if (const char* forced = std::getenv("COPPICE_OPENBLAS_CORETYPE")) return forced;
  const char* best = "";
  double best_seconds = INFINITY;
  for (const char* core_type : kCoreTypes) {
    const double seconds = time_core_type(file, core_type, again);
    if (seconds < 0.95 * best_seconds) {
      best = core_type;
      best_seconds = seconds;
    }
  }
  return best;
}

std::vector<const char*> files() {
  if (const char* file = std::getenv("COPPICE_OPENBLAS")) return {file};
  return {kFiles.begin(), kFiles.end()};
}

bool is_loaded(const char* file) {
  void* library = dlopen(file, RTLD_NOW | RTLD_NOLOAD);
  if (library != nullptr) dlclose(library);
  return library != nullptr;
}

// OpenBLAS's threads wait for each other, for ever if OpenMP gives fewer than were asked for: only
// as many as it is sure to give (OMP_THREAD_LIMIT), and no number of its own (OMP_DYNAMIC).
int certain_threads(int threads) {
  omp_set_dynamic(0);
  return std::min(threads, omp_get_thread_limit());
}

// "OpenBLAS 0.3.21 NO_LAPACKE ..." to "OpenBLAS 0.3.21".
std::string name_and_version(std::string_view config) {
  const auto version = config.find(' ');
  return std::string(config.substr(0, config.find(' ', version + 1)));
}

}  // namespace

std::unique_ptr<Baseline> Baseline::load(std::string* why_not) {
  std::string reason;
  for (const char* file : files()) {
    // A first try in a child tells whether the file can be loaded at all. Of one that is loaded
    // already nothing can be chosen any more.
    const bool loaded = is_loaded(file);
    if (!loaded && time_core_type(file, "", false) == INFINITY) {
      reason = fmt::format("{} cannot be loaded", file);
      continue;
    }
    if (!loaded) set_core_type(choose_core_type(file, false));
    auto functions = OpenBlasFunctions::open(file, &reason);
    if (functions == nullptr) continue;
    std::unique_ptr<Baseline> baseline(new Baseline);
    const std::string_view config = functions->get_config();
    baseline->shares_threads_ = config.find("USE_OPENMP") != std::string_view::npos;
    baseline->description_ =
        fmt::format("{} ({}, {})", name_and_version(config), functions->get_corename(),
                    baseline->shares_threads_ ? "openmp" : "pthread");
    baseline->functions_ = std::move(functions);
    return baseline;
  }
  if (why_not != nullptr)
    *why_not = fmt::format("OpenBLAS not found ({}); install libopenblas0-openmp", reason);
  return nullptr;
}

void Baseline::multiply(const float* weight, const Activations& x, const MutableActivations& y,
                        int threads) {
  const Threads certain(*functions_, certain_threads(threads));
  const int tokens = static_cast<int>(x.tokens), cols = static_cast<int>(x.features),
            rows = static_cast<int>(y.features);
  const int x_stride = static_cast<int>(x.major_stride()),
            y_stride = static_cast<int>(y.major_stride());
  if (tokens == 1) {
    const int x_step = x.layout == Layout::token_major ? 1 : x_stride;
    const int y_step = y.layout == Layout::token_major ? 1 : y_stride;
    functions_->sgemv(kRowMajor, kNoTranspose, rows, cols, 1, weight, cols, x.data, x_step, 0,
                      y.data, y_step);
  } else if (y.layout == Layout::token_major) {
    const int x_form = x.layout == Layout::token_major ? kNoTranspose : kTranspose;
    functions_->sgemm(kRowMajor, x_form, kTranspose, tokens, rows, cols, 1, x.data, x_stride,
                      weight, cols, 0, y.data, y_stride);
  } else {
    const int x_form = x.layout == Layout::feature_major ? kNoTranspose : kTranspose;
    functions_->sgemm(kRowMajor, kNoTranspose, x_form, rows, tokens, cols, 1, weight, cols, x.data,
                      x_stride, 0, y.data, y_stride);
  }
}

void restart_with_fastest_openblas(char** argv) {
  if (std::getenv(kChosen) != nullptr) return;
  for (const char* file : files()) {
    if (!is_loaded(file)) continue;
    const char* now = std::getenv(kCoreVariable);
    const std::string_view best = choose_core_type(file, true);
    if (best == (now == nullptr ? "" : now)) return;
    set_core_type(best.data());
    setenv(kChosen, "1", 1);
    execv("/proc/self/exe", argv);  // if that fails, this process goes on
    return;
  }
}

bool is_openblas_probe() { return std::getenv(kProbe) != nullptr; }

int answer_openblas_probe() {
  return write_seconds(STDOUT_FILENO, time_loaded(std::getenv(kProbe))) ? 0 : 1;
}

}  // namespace coppice::bench
