#include "cuda/tuner/cache_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

namespace coppice::cuda {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kFormat = 1;
constexpr int kMostGroup = 1 << 20;
constexpr std::uintmax_t kMostBytes = std::uintmax_t{64} << 20;

// Holds a lock on a file beside the cache: the cache itself is replaced, and a lock with it.
class FileLock {
 public:
  explicit FileLock(const std::string& file)
      : fd_(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    if (fd_ >= 0 && flock(fd_, LOCK_EX) != 0) release();
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock() { release(); }
  bool held() const { return fd_ >= 0; }

 private:
  void release() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  int fd_;
};

bool is_seconds(const Json& value) {
  return value.is_number() && std::isfinite(value.get<double>()) && value.get<double>() >= 0;
}

bool is_entry(const Json& value) {
  if (!value.is_object()) return false;
  const Json group = value.value("token_group", Json());
  return value.value("kernel", Json()).is_string() && group.is_number_integer() && group >= 1 &&
         group <= kMostGroup && is_seconds(value.value("seconds", Json())) &&
         is_seconds(value.value("untuned_seconds", Json()));
}

bool write_all(int fd, const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t written = write(fd, text.data() + at, text.size() - at);
    if (written <= 0) return false;
    at += static_cast<std::size_t>(written);
  }
  return true;
}

// Writes beside the file, then renames: nobody sees a half-written one.
bool replace_file(const std::string& file, const std::string& text) {
  std::string temporary = file + ".tmp-XXXXXX";
  const int fd = mkstemp(temporary.data());
  if (fd < 0) return false;
  const bool written = write_all(fd, text) && fsync(fd) == 0;
  if (close(fd) == 0 && written && std::rename(temporary.c_str(), file.c_str()) == 0) return true;
  std::remove(temporary.c_str());
  return false;
}

}  // namespace

bool parse_cache(const std::string& text, CacheEntries& entries) {
  entries.clear();
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || json.value("format", Json()) != kFormat) return false;
  const Json all = json.value("entries", Json());
  if (!all.is_object()) return false;
  for (const auto& [key, value] : all.items())
    if (is_entry(value))
      entries[key] = {value["kernel"], value["token_group"], value["seconds"],
                      value["untuned_seconds"]};
  return true;
}

std::string cache_text(const CacheEntries& entries) {
  Json all = Json::object();
  for (const auto& [key, entry] : entries)
    all[key] = {{"kernel", entry.tile},
                {"token_group", entry.token_group},
                {"seconds", entry.seconds},
                {"untuned_seconds", entry.untuned_seconds}};
  return Json{{"format", kFormat}, {"entries", all}}.dump(1) + "\n";
}

CacheEntries read_cache(const std::string& file, std::string* warning) {
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  if (status.type() == fs::file_type::not_found) return {};
  CacheEntries entries;
  std::string text;
  bool read = fs::is_regular_file(status) && fs::file_size(file, error) <= kMostBytes;
  if (read) {
    std::ifstream in(file, std::ios::binary);
    text.assign(std::istreambuf_iterator<char>(in), {});
    read = in.good() || in.eof();
  }
  if (!read || !parse_cache(text, entries))
    *warning = fmt::format("the tuning cache '{}' is damaged and is ignored", file);
  return entries;
}

void merge_into_cache(const std::string& file, const CacheEntries& found, std::string* warning) {
  std::error_code error;
  const fs::path parent = fs::path(file).parent_path();
  if (!parent.empty()) fs::create_directories(parent, error);
  const FileLock lock(file + ".lock");
  std::string damaged;  // has been told by whoever read it, and ends here
  CacheEntries all = lock.held() ? read_cache(file, &damaged) : CacheEntries{};
  for (const auto& [key, entry] : found) all[key] = entry;
  if (!lock.held() || !replace_file(file, cache_text(all)))
    *warning = fmt::format(
        "the tuning cache '{}' cannot be written; what was found holds for this "
        "process only",
        file);
}

}  // namespace coppice::cuda
