// SPDX-License-Identifier: MIT
// model.safetensors.index.json of a folder with the shards a.safetensors (tensors "x" and "y") and
// b.safetensors ("z", and "n" of integers). The input is the index.

#include "eso/model/weight_files.hpp"
#include "fuzz.hpp"

namespace {

void write_shards() {
  const auto file = [](std::string header, std::size_t bytes) {
    const std::uint64_t size = header.size();
    return std::string(reinterpret_cast<const char*>(&size), 8) + header + std::string(bytes, '\0');
  };
  write_file(fuzz::folder() / "a.safetensors",
             file(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                  R"("y":{"dtype":"BF16","shape":[1,1],"data_offsets":[8,10]}})",
                  10));
  write_file(fuzz::folder() / "b.safetensors",
             file(R"({"z":{"dtype":"F64","shape":[],"data_offsets":[0,8]},)"
                  R"("n":{"dtype":"I64","shape":[1],"data_offsets":[8,16]}})",
                  16));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool written = (write_shards(), true);
  static_cast<void>(written);
  const fuzz::QuickEnough quick;
  write_file(fuzz::folder() / "model.safetensors.index.json", fuzz::text_of(data, size));
  const auto files = fuzz::attempt([] { return eso::WeightFiles::open(fuzz::folder()); });
  if (!files) return 0;
  fuzz::check(!files->files().empty() && files->files().size() <= 2,
              "only the shards of the folder are opened");
  for (const std::string& name : files->names()) {
    fuzz::check(name == "x" || name == "y" || name == "z", "the names are those of tensors in the shards");
    const auto tensor = files->find(name);
    fuzz::check(tensor && tensor->name == name && !tensor->bytes.empty(), "every name is found");
    fuzz::check(files->writable(*tensor).data() == tensor->bytes.data(),
                "a tensor can be written to in memory");
  }
  fuzz::attempt([&] { return files->find("n").has_value(); });
  return 0;
}
