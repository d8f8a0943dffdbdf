// The file of constants: what is written comes back, and nothing else is believed.
#include "cuda/model/constants_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "coppice/error.h"

namespace coppice::cuda::model {
namespace {

using ::testing::HasSubstr;

Calibration sample(const std::string& name) {
  Calibration c;
  c.gpu = built_in_gpu();
  c.gpu.name = name;
  c.driver = "1.2";
  c.date = "2026-11-22";
  double next = 1;
  for_each_constant(c.gpu.constants, [&](const char*, double& value) { value = next += 0.37; });
  return c;
}

std::vector<double> numbers(const Constants& constants) {
  std::vector<double> all;
  for_each_constant(constants, [&](const char*, double value) { all.push_back(value); });
  return all;
}

TEST(Constants, EveryNumberHasAName) {
  EXPECT_EQ(numbers({}).size() * sizeof(double), sizeof(Constants));
}

TEST(ConstantsFile, ComesBack) {
  const std::vector<Calibration> all = {sample("A"), sample("NVIDIA B 80")};
  const auto back = parse_calibrations(calibrations_text(all), "text");
  ASSERT_EQ(back.size(), 2u);
  EXPECT_EQ(numbers(back[1].gpu.constants), numbers(all[1].gpu.constants));
  EXPECT_EQ(back[1].gpu.name, "NVIDIA B 80");
  EXPECT_EQ(back[1].gpu.device.l2_bytes, all[1].gpu.device.l2_bytes);
  EXPECT_EQ(find_calibration(back, "b 80"), &back[1]);
  EXPECT_EQ(find_calibration(back, "C"), nullptr);
}

TEST(ConstantsFile, KeepsOtherGpusAndReplacesWhatItCannotRead) {
  const auto file = std::filesystem::temp_directory_path() /
                    ("coppice_constants_" + std::to_string(::getpid())) / "deep" / "model.json";
  keep_calibration(file.string(), sample("A"));
  keep_calibration(file.string(), sample("B"));
  keep_calibration(file.string(), sample("A"));
  EXPECT_EQ(read_calibrations(file.string()).size(), 2u);
  std::ofstream(file) << "{";
  EXPECT_THROW(read_calibrations(file.string()), FileError);
  keep_calibration(file.string(), sample("A"));
  EXPECT_EQ(read_calibrations(file.string()).size(), 1u);
  std::filesystem::remove_all(file.parent_path().parent_path());
  EXPECT_TRUE(read_calibrations(file.string()).empty()) << "no file is no fault";
}

TEST(ConstantsFile, HostileFilesGetOneLine) {
  const std::string good = calibrations_text({sample("A")});
  const auto expect = [](const std::string& text, const char* fault) {
    try {
      parse_calibrations(text, "file");
      ADD_FAILURE() << fault;
    } catch (const FileError& error) {
      EXPECT_THAT(error.what(), HasSubstr(fault));
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  };
  const auto changed = [&](auto change) {
    auto json = nlohmann::ordered_json::parse(good);
    change(json, json["gpus"]["A"]);
    return json.dump();
  };
  using Json = nlohmann::ordered_json;
  expect("", "not a JSON object");
  expect("[1]", "not a JSON object");
  expect(std::string(std::size_t{2} << 20, ' '), "more than 1 MB");
  expect(good.substr(0, good.size() / 2), "not a JSON object");
  expect(changed([](Json& j, Json&) { j["format"] = 2; }), "format 2");
  expect(changed([](Json& j, Json&) { j["gpus"] = 3; }), "no object 'gpus'");
  expect(changed([](Json& j, Json&) { j["gpus"]["A"] = 3; }), "'A' is no object");
  expect(changed([](Json&, Json& a) { a["multiprocessors"] = 0; }), "'multiprocessors'");
  expect(changed([](Json&, Json& a) { a["l2_bytes"] = 1e300; }), "'l2_bytes'");
  expect(changed([](Json&, Json& a) { a["driver"] = 1; }), "'driver'");
  expect(changed([](Json&, Json& a) { a["constants"].erase("clock_hz"); }), "'clock_hz'");
  expect(changed([](Json&, Json& a) { a["constants"]["clock_hz"] = -1; }), "not a positive number");
  expect(changed([](Json&, Json& a) { a["constants"]["clock_hz"] = "1"; }), "'clock_hz'");
  expect(changed([](Json&, Json& a) { a["constants"]["other"] = 1; }), "does not know");
}

}  // namespace
}  // namespace coppice::cuda::model
