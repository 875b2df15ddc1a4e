// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>

#include "../temporary_folder.hpp"
#include "eso/model/hugging_face.hpp"
#include "eso/model/mapped_file.hpp"
#include "eso/testing/log_prob_model_laws.hpp"

// Files that change while they are in use, as the library sees them.

namespace {

namespace fs = std::filesystem;

fs::path copied(const std::string& name, const TemporaryFolder& folder) {
  const fs::path copy = folder / "model";
  fs::remove_all(copy);
  fs::copy(std::string(ESO_TEST_DIR) + "/golden/" + name, copy);
  return copy;
}

eso::LoadedModel<float> load(const fs::path& folder, eso::WeightMemory where) {
  return eso::load_model<float>(folder, std::make_shared<eso::Threads>(2), where);
}

eso::LogProbs answers(eso::LoadedModel<float>& model) {
  const eso::Architecture& a = model.decoder.architecture();
  return model.decoder.log_probs(
      eso::testing::random_batch({.vocabulary = a.vocabulary, .context = a.context}, 5));
}

/// Zeros in place of the second half.
void overwrite(const fs::path& file) {
  const auto size = static_cast<std::streamoff>(fs::file_size(file));
  std::ofstream out(file, std::ios::binary | std::ios::in);
  out.seekp(size / 2);
  out << std::string(static_cast<std::size_t>(size - size / 2), '\0');
}

}  // namespace

TEST_CASE("a model whose weights are copied is not touched by what happens to its files") {
  const TemporaryFolder folder;
  for (const char* name : {"gpt2/plain", "opt/after", "gpt_neox/parallel"}) {
    const fs::path model = copied(name, folder);
    const fs::path weights = model / "model.safetensors";
    if (!fs::exists(weights)) continue;
    eso::LoadedModel<float> loaded = eso::load_model<float>(model, std::make_shared<eso::Threads>(1));
    CHECK(loaded.files == nullptr);
    const eso::LogProbs before = answers(loaded);
    overwrite(weights);
    CHECK((answers(loaded) == before).all());
    fs::resize_file(weights, 0);
    CHECK((answers(loaded) == before).all());
  }
}

TEST_CASE("a model whose weights are mapped tells that its files were written or cut, and not replaced") {
  const TemporaryFolder folder;
  const auto message = [](const fs::path& weights) {
    return Catch::Contains(weights.string() + ": was changed while it was in use");
  };
  const auto harmed = [&](const std::function<void(const fs::path&)>& harm) {
    const fs::path model = copied("gpt2/plain", folder);
    const auto loaded = load(model, eso::WeightMemory::mapped);
    REQUIRE(loaded.files != nullptr);
    CHECK_NOTHROW(loaded.files->check_unchanged());
    harm(model / "model.safetensors");
    return loaded.files;
  };
  const fs::path weights = folder / "model/model.safetensors";
  CHECK_THROWS_WITH(harmed(overwrite)->check_unchanged(), message(weights));
  CHECK_THROWS_WITH(harmed([](const fs::path& f) { fs::resize_file(f, 8); })->check_unchanged(),
                    message(weights));
  const auto dated = harmed([](const fs::path& f) {
    overwrite(f);
    fs::last_write_time(f, fs::last_write_time(f) - std::chrono::hours(1));
  });
  CHECK_THROWS_WITH(dated->check_unchanged(), message(weights));
  CHECK_NOTHROW(harmed([](const fs::path& f) { fs::remove(f); })->check_unchanged());
  CHECK_NOTHROW(harmed([](const fs::path& f) {
                  write_file(f.string() + "2", "x");
                  fs::rename(f.string() + "2", f);
                })->check_unchanged());
  CHECK_NOTHROW(
      harmed([](const fs::path& f) { fs::permissions(f, fs::perms::owner_read); })->check_unchanged());
}

TEST_CASE("a model has the same weights copied and mapped") {
  for (const char* name : {"gpt2/plain", "gpt2/untied", "opt/before", "gpt_neox/sequential"}) {
    const fs::path folder = std::string(ESO_TEST_DIR) + "/golden/" + name;
    eso::LoadedModel<float> copied = load(folder, eso::WeightMemory::copied),
                            mapped = load(folder, eso::WeightMemory::mapped);
    CHECK((answers(copied) == answers(mapped)).all());
  }
}

TEST_CASE("reading a file that was cut is an error of the machine, not a signal") {
  const TemporaryFolder folder;
  const fs::path path = folder / "x";
  write_file(path, std::string(100'000, 'x'));
  const eso::MappedFile file(path);
  std::vector<std::byte> bytes(50'000);
  file.read(50'000, bytes);
  CHECK(bytes.back() == std::byte{'x'});
  CHECK_THROWS_AS(file.read(50'001, bytes), eso::Error);
  fs::resize_file(path, 60'000);
  try {
    file.read(50'000, bytes);
    FAIL("it was read");
  } catch (const eso::Error& error) {
    CHECK(error.fault() == eso::Fault::system);
    CHECK(error.where() == path.string());
  }
}
