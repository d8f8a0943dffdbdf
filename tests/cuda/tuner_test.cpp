// The host side of the tuner: what competes, what is remembered, and that a damaged or contested
// cache file does no harm. Needs no GPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "cuda/candidates.h"
#include "cuda/tuner/cache_file.h"
#include "cuda/tuner/key.h"
#include "cuda/tuner/search.h"
#include "cuda/tuner/tuned_choices.h"

namespace coppice::cuda {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

DeviceInfo hopper() { return {132, 90, 60 << 20, 227 * 1024, true}; }
DeviceInfo ampere() { return {108, 80, 40 << 20, 163 * 1024, false}; }

ProductInfo product(int vec_rows, std::int64_t tokens, bool token_major = false) {
  ProductInfo p;
  p.in_order = vec_rows == 0;
  p.vector_blocks = vec_rows == 0 ? 64 : vec_rows < 64 ? 0 : vec_rows / 64;
  p.block_vectors = vec_rows == 0 || vec_rows >= 64 ? 1 : vec_rows >= 32 ? 2 : 4;
  p.group = vec_rows == 0 ? 4 : 8;
  p.blocks = 64;
  p.steps = 32;
  p.cols = 4096;
  p.tokens = tokens;
  p.token_major = token_major;
  return p;
}

class Directory {
 public:
  Directory() {
    std::string name = (fs::temp_directory_path() / "coppice-tuner-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Directory() {
    std::error_code ignored;
    fs::permissions(path_, fs::perms::owner_all, ignored);
    fs::remove_all(path_, ignored);
  }
  std::string operator/(const char* name) const { return (path_ / name).string(); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

void write(const std::string& file, const std::string& text) { std::ofstream(file) << text; }
std::string read(const std::string& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(TuneKey, BucketsOfTokensAndSizes) {
  EXPECT_EQ(token_bucket(1), 16);
  EXPECT_EQ(token_bucket(16), 16);
  EXPECT_EQ(token_bucket(17), 32);
  EXPECT_EQ(token_bucket(3000), 4096);
  EXPECT_EQ(token_bucket(4096), 4096);
  EXPECT_EQ(size_bucket(4096), 4096);
  EXPECT_EQ(size_bucket(4097), 4352);
}

TEST(TuneKey, TellsApartWhatMatters) {
  const TuneKey base{"GPU", "1",  "0.1", Pattern::parse("64:2:8"), Dtype::f16,
                     4096,  4096, 512,   Layout::feature_major};
  std::set<std::string> texts{base.text()};
  const auto differs = [&](auto change) {
    TuneKey key = base;
    change(key);
    EXPECT_TRUE(texts.insert(key.text()).second) << key.text();
  };
  differs([](TuneKey& k) { k.gpu = "other"; });
  differs([](TuneKey& k) { k.driver = "2"; });
  differs([](TuneKey& k) { k.version = "0.2"; });
  differs([](TuneKey& k) { k.pattern = Pattern::parse("128:2:8"); });
  differs([](TuneKey& k) { k.dtype = Dtype::bf16; });
  differs([](TuneKey& k) { k.rows = 8192; });
  differs([](TuneKey& k) { k.cols = 8192; });
  differs([](TuneKey& k) { k.tokens = 513; });
  differs([](TuneKey& k) { k.layout = Layout::token_major; });
  TuneKey near = base;
  near.tokens = 300;
  near.rows = 4000;
  EXPECT_EQ(near.text(), base.text());
}

TEST(TuneCandidates, AreDifferentAndHaveDifferentNames) {
  for (const DeviceInfo& device : {hopper(), ampere()})
    for (int vec_rows : {0, 16, 32, 64, 128, 256})
      for (bool token_major : {false, true}) {
        const ProductInfo p = product(vec_rows, 4096, token_major);
        const std::vector<Selection> all = candidates(p, device);
        EXPECT_EQ(selection_name(all[0]), selection_name(select(p, device)));
        std::set<std::string> names;
        for (const Selection& s : all) {
          EXPECT_TRUE(names.insert(tile_name(s)).second) << tile_name(s);
          EXPECT_EQ(s.token_major && s.family == Family::mma, false);
          for (const Selection& other : token_groups(s, p)) {
            EXPECT_EQ(tile_name(other), tile_name(s));
            EXPECT_NE(configuration_name(other), configuration_name(s));
          }
        }
      }
  // Every wgmma tile, with M = 8 also those that expand, and the portable kernel; where 2:4 is read
  // token-major, the tiles that can.
  const auto expanding = std::ranges::count_if(kWgmmaShapes, &WgmmaShape::expands);
  const auto dense = std::ranges::count_if(kWgmmaShapes, &WgmmaShape::dense);
  const auto turns =
      std::ranges::count_if(kWgmmaShapes, [](const WgmmaShape& s) { return s.col_groups > 1; });
  const auto sparse = std::ssize(kWgmmaShapes) - dense - turns;
  EXPECT_EQ(std::ssize(candidates(product(128, 4096), hopper())), sparse + expanding + 1);
  EXPECT_LT(std::ssize(candidates(product(0, 4096, true), hopper())), sparse + 1);
  // Of vectors too low to gather for, the tiles that expand and the portable kernel.
  EXPECT_EQ(std::ssize(candidates(product(16, 4096), hopper())), expanding + 1);
}

// Costs that name one winner.
Measure fastest_is(const std::string& name, double seconds, int* calls = nullptr) {
  return [=](std::span<const Selection> selections) {
    std::vector<double> all;
    for (const Selection& s : selections) {
      if (calls != nullptr) ++*calls;
      all.push_back(configuration_name(s) == name || tile_name(s) == name ? seconds : 10e-6);
    }
    return all;
  };
}

TEST(TuneSearch, FindsTheFastestTileAndGroup) {
  const ProductInfo p = product(128, 4096);
  for (const Selection& s : candidates(p, hopper())) {
    if (!same_sums(s, select(p, hopper()))) continue;
    const SearchResult tile = search_fastest(p, hopper(), fastest_is(tile_name(s), 5e-6));
    EXPECT_EQ(tile_name(tile.best), tile_name(s));
    EXPECT_EQ(tile.seconds, 5e-6);
  }
  Selection grouped = select(p, hopper());
  grouped.token_group = grouped.token_group == 8 ? 4 : 8;
  const std::string name = configuration_name(grouped);
  const SearchResult group = search_fastest(p, hopper(), fastest_is(name, 5e-6));
  EXPECT_EQ(configuration_name(group.best), name);
  EXPECT_EQ(group.untuned_seconds, 10e-6);
}

TEST(TuneSearch, NoiseChangesNothing) {
  const ProductInfo p = product(128, 4096);
  const std::string untuned = configuration_name(select(p, hopper()));
  for (const Selection& s : candidates(p, hopper())) {
    const SearchResult result = search_fastest(p, hopper(), fastest_is(tile_name(s), 9.85e-6));
    EXPECT_EQ(configuration_name(result.best), untuned);
  }
}

TEST(TuneSearch, NeverLeavesTheOrderOfSums) {
  const ProductInfo p = product(128, 4096);
  const Selection untuned = select(p, hopper());
  search_fastest(p, hopper(), [&](std::span<const Selection> selections) {
    for (const Selection& s : selections) EXPECT_TRUE(same_sums(s, untuned));
    return std::vector<double>(selections.size(), 1e-6);
  });
}

TEST(TunedChoices, ApplyToTheirBucketAndLayout) {
  const ProductInfo p = product(128, 4096);
  const Selection untuned = select(p, hopper());
  Selection tuned = candidates(p, hopper())[1];
  tuned.token_group = 2;
  TunedChoices choices;
  choices.set(4096, Layout::feature_major, tuned);
  const auto applied = [&](const ProductInfo& q) {
    return configuration_name(choices.apply(select(q, hopper()), q));
  };
  EXPECT_EQ(applied(p), configuration_name(tuned));
  EXPECT_EQ(applied(product(128, 3000)), configuration_name(tuned));
  EXPECT_EQ(applied(product(128, 2048)), configuration_name(select(product(128, 2048), hopper())));
  EXPECT_EQ(applied(product(128, 4096, true)),
            configuration_name(select(product(128, 4096, true), hopper())));
  choices.set(4000, Layout::feature_major, untuned);
  EXPECT_EQ(applied(p), configuration_name(untuned)) << "the later choice counts";
}

TEST(TunedChoices, KeepWhatTheActivationsNeed) {
  ProductInfo p = product(0, 4096, true);
  const Selection direct = select(p, hopper());
  ASSERT_TRUE(direct.token_major);
  TunedChoices choices;
  choices.set(4096, Layout::token_major, direct);
  p.aligned = false;  // cannot be read in place
  const Selection untuned = select(p, hopper());
  EXPECT_TRUE(choices.apply(untuned, p).transpose);
  EXPECT_FALSE(choices.apply(untuned, p).token_major);
  p = product(128, 4096);
  choices.set(4096, Layout::feature_major, candidates(p, hopper())[1]);
  p.aligned = false;
  EXPECT_TRUE(choices.apply(select(p, hopper()), p).repack);
}

const CacheEntries kEntries = {{"a", {"wgmma x", 4, 1e-5, 2e-5}}, {"b", {"mma y", 1, 0.5, 0.5}}};

TEST(TuneCache, RoundTrip) {
  CacheEntries entries;
  ASSERT_TRUE(parse_cache(cache_text(kEntries), entries));
  EXPECT_EQ(entries, kEntries);
}

TEST(TuneCache, DamagedTextsAreNoCache) {
  CacheEntries entries;
  const std::string whole = cache_text(kEntries);
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("null"),
        std::string(R"({"format": 1})"), std::string(R"({"format": 2, "entries": {}})"),
        std::string(R"({"format": 1, "entries": []})"), whole.substr(0, whole.size() / 2),
        std::string("\0\1\2", 3)})
    EXPECT_FALSE(parse_cache(text, entries)) << text;
}

TEST(TuneCache, HalfEntriesAreLeftOut) {
  CacheEntries entries;
  ASSERT_TRUE(parse_cache(R"({"format": 1, "entries": {
      "good": {"kernel": "k", "token_group": 2, "seconds": 1, "untuned_seconds": 2},
      "1": {"kernel": 3, "token_group": 2, "seconds": 1, "untuned_seconds": 2},
      "2": {"kernel": "k", "token_group": 0, "seconds": 1, "untuned_seconds": 2},
      "3": {"kernel": "k", "token_group": 99999999999, "seconds": 1, "untuned_seconds": 2},
      "4": {"kernel": "k", "token_group": 2, "seconds": -1, "untuned_seconds": 2},
      "5": {"kernel": "k", "token_group": 2, "seconds": 1}, "6": 7, "7": null}})",
                          entries));
  EXPECT_EQ(entries.size(), 1u);
  EXPECT_TRUE(entries.contains("good"));
}

TEST(TuneCache, FilesAreMadeMergedAndReplaced) {
  const Directory dir;
  const std::string file = dir / "deep/er/tuning.json";
  std::string warning;
  EXPECT_TRUE(read_cache(file, &warning).empty());
  merge_into_cache(file, {{"a", {"old", 1, 1, 1}}}, &warning);
  merge_into_cache(file, {{"b", {"new", 1, 1, 1}}}, &warning);
  merge_into_cache(file, {{"a", {"newer", 2, 1, 1}}}, &warning);
  const CacheEntries entries = read_cache(file, &warning);
  EXPECT_EQ(warning, "");
  EXPECT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries.at("a").tile, "newer");
}

TEST(TuneCache, DamagedFilesAreToldAndReplaced) {
  const Directory dir;
  const std::string file = dir / "tuning.json";
  write(file, "{ half a fi");
  std::string warning;
  EXPECT_TRUE(read_cache(file, &warning).empty());
  EXPECT_THAT(warning, HasSubstr("damaged"));
  warning.clear();
  merge_into_cache(file, kEntries, &warning);
  EXPECT_EQ(warning, "");
  EXPECT_EQ(read_cache(file, &warning), kEntries);
  fs::create_directory(dir / "folder");
  EXPECT_TRUE(read_cache(dir / "folder", &warning).empty());
  EXPECT_THAT(warning, HasSubstr("damaged"));
}

TEST(TuneCache, UnwritableFilesAreTold) {
  const Directory dir;
  write(dir / "file", "");
  std::string warning;
  merge_into_cache(dir / "file/tuning.json", kEntries, &warning);
  EXPECT_THAT(warning, HasSubstr("cannot be written"));
}

// Many processes add entries at once, while another reads: none is lost, no reader sees half.
TEST(TuneCache, ProcessesDoNotLoseEachOthersEntries) {
  const Directory dir;
  const std::string file = dir / "tuning.json";
  constexpr int kProcesses = 8, kEach = 12;
  std::string warning;
  merge_into_cache(file, {{"first", {"k", 1, 1, 1}}}, &warning);
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) {
    const pid_t pid = fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      std::string text;
      for (int j = 0; j < kEach; ++j)
        merge_into_cache(file, {{std::to_string(i * kEach + j), {"k", 1, 1, 1}}}, &text);
      _exit(text.empty() ? 0 : 1);
    }
    children.push_back(pid);
  }
  for (int i = 0; i < 200; ++i) EXPECT_TRUE(read_cache(file, &warning).contains("first"));
  for (pid_t pid : children) {
    int status = -1;
    waitpid(pid, &status, 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(warning, "");
  EXPECT_EQ(read_cache(file, &warning).size(), 1u + kProcesses * kEach);
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(dir.path())) files += entry.is_regular_file();
  EXPECT_EQ(files, 2u) << "the cache and its lock, no temporary file";
  EXPECT_THAT(read(file), HasSubstr("\"format\": 1"));
}

}  // namespace
}  // namespace coppice::cuda
