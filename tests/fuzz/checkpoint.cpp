// SPDX-License-Identifier: MIT
// checkpoint.json of the folder step-7, whose two other files are whole. An input that begins with a comma is
// what follows the checksum, which is put before it here; any other input is the file.

#include <array>
#include <optional>

#include "eso/train/checkpoint.hpp"
#include "fuzz.hpp"

namespace {

const std::filesystem::path& checkpoint() {
  static const std::filesystem::path path = fuzz::folder() / "step-7";
  return path;
}

void write_files() {
  std::filesystem::create_directory(checkpoint());
  const std::array<float, 2> values{1, 2};
  const eso::TensorView tensor{"w", eso::DataType::float32, {2}, std::as_bytes(std::span(values)), nullptr};
  eso::write_safetensors(checkpoint() / "model.safetensors", {&tensor, 1});
  eso::write_safetensors(checkpoint() / "optimizer.safetensors", {});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool written = (write_files(), true);
  static_cast<void>(written);
  const fuzz::QuickEnough quick;
  std::string manifest(fuzz::text_of(data, size));
  if (manifest.starts_with(',')) {
    eso::FileDigest digest;
    digest.add(std::as_bytes(std::span(manifest).subspan(1)));
    manifest = fmt::format("{{\"crc32\":\"{:08x}\"{}", digest.crc32, manifest);
  }
  write_file(checkpoint() / "checkpoint.json", manifest);
  const auto loaded = fuzz::attempt([] { return eso::load_checkpoint(checkpoint()); });

  std::size_t skipped = 0;
  std::optional<eso::LoadedCheckpoint> newest;
  try {
    newest = eso::load_newest_checkpoint(
        fuzz::folder(), [&](const std::filesystem::path&, const std::string&) { ++skipped; });
  } catch (const eso::OtherVersion&) {
    fuzz::check(!loaded, "a checkpoint of another version does not load");
    return 0;
  }
  fuzz::check(newest.has_value() == loaded.has_value(), "the newest checkpoint is one that loads");
  fuzz::check(skipped == (loaded ? 0 : 1), "a checkpoint that does not load is reported");
  if (!loaded) return 0;

  fuzz::check(loaded->step == 7, "a checkpoint is that of its folder");
  fuzz::check(loaded->model.find("w").has_value(), "the model is there");
  if (!loaded->counters.is_object()) return 0;
  const std::string again = eso::make_manifest(7, loaded->counters, {}, {});
  write_file(checkpoint() / "checkpoint.json", again);
  fuzz::check(eso::read_manifest(checkpoint() / "checkpoint.json").at("counters") == loaded->counters,
              "counters survive writing");
  return 0;
}
