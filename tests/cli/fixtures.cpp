#include "fixtures.h"

#include <cstring>

#include "subprocess.h"

namespace coppice::cli::test {
namespace {

std::uint64_t header_length(const std::string& file) {
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  return length;
}

}  // namespace

coppice::test::CheckpointSpec tiny_llama(const std::filesystem::path& directory) {
  coppice::test::CheckpointSpec spec;
  spec.directory = directory.string();
  spec.layers = 2;
  spec.hidden = 64;
  spec.intermediate = 160;
  spec.vocab = 100;
  return spec;
}

std::string make_tiny(const std::filesystem::path& directory,
                      const std::function<void(coppice::test::CheckpointSpec&)>& change) {
  auto spec = tiny_llama(directory);
  if (change) change(spec);
  coppice::test::write_checkpoint(spec);
  return spec.directory;
}

void edit_header(const std::filesystem::path& file,
                 const std::function<void(nlohmann::json&)>& edit) {
  std::string bytes = read_file(file);
  std::uint64_t length = header_length(bytes);
  auto header = nlohmann::json::parse(bytes.substr(8, length));
  edit(header);
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::uint64_t new_length = text.size();
  std::string out(reinterpret_cast<const char*>(&new_length), 8);
  write_file(file, out + text + bytes.substr(8 + length));
}

void poke_f32(const std::filesystem::path& file, const std::string& tensor, std::int64_t element,
              float value) {
  std::string bytes = read_file(file);
  std::uint64_t length = header_length(bytes);
  auto header = nlohmann::json::parse(bytes.substr(8, length));
  auto begin = header.at(tensor).at("data_offsets").at(0).get<std::uint64_t>();
  std::memcpy(bytes.data() + 8 + length + begin + 4 * static_cast<std::uint64_t>(element), &value,
              4);
  write_file(file, bytes);
}

std::string tensor_bytes(const std::filesystem::path& file, const std::string& tensor) {
  const std::string bytes = read_file(file);
  const std::uint64_t length = header_length(bytes);
  const auto header = nlohmann::json::parse(bytes.substr(8, length));
  const auto& offsets = header.at(tensor).at("data_offsets");
  const auto begin = offsets.at(0).get<std::uint64_t>(), end = offsets.at(1).get<std::uint64_t>();
  return bytes.substr(8 + length + begin, end - begin);
}

void truncate(const std::filesystem::path& file, std::uintmax_t bytes) {
  std::filesystem::resize_file(file, bytes);
}

}  // namespace coppice::cli::test
