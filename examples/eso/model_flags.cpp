// SPDX-License-Identifier: MIT
#include "model_flags.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <system_error>

#include "eso/train/durable_file.hpp"
#include "program.hpp"

namespace eso_program {
void add_backend_flags(FlagSet& set, BackendOptions& options) {
  set.add("backend", options.backend, "what computes: eigen or torch");
  set.add("precision", options.precision, "float32; torch: or bfloat16");
  set.add("device", options.device, "cpu; torch: or cuda");
}

void ModelFlags::add_to(FlagSet& set) {
  add_backend_flags(set, *this);
  set.add("model", model, "Hugging Face folder");
  set.add("threads", threads, "threads that compute; 0: all processors");
}

ModelFolder ModelFlags::open() const {
  check_given("--model", model);
  return open_model_folder(*this, model, make_threads(threads));
}

void check_range(const char* flag, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return;
  const bool bounded = most < std::numeric_limits<std::int32_t>::max();
  throw eso::input_error(flag, "is out of range", fmt::format("{}", value),
                         bounded ? fmt::format("{} to {}", least, most) : fmt::format("at least {}", least));
}

void check_temperature(const char* flag, double value) {
  if (value >= 0 && std::isfinite(value)) return;
  throw eso::input_error(flag, "is out of range", fmt::format("{}", value), "a finite number of at least 0");
}

void check_share(const char* flag, double value) {
  if (value > 0 && value <= 1) return;
  throw eso::input_error(flag, "is out of range", fmt::format("{}", value), "above 0, at most 1");
}

void check_given(const char* flag, const std::string& value) {
  if (value.empty()) throw eso::input_error(flag, "is required");
}

void check_working_directory(const char* flag, const std::string& path) {
  std::error_code error;
  const std::filesystem::path whole = std::filesystem::absolute(path, error);
  if (error || whole.empty())
    throw eso::system_error(flag, "the working directory cannot be used", error.value());
}

void check_output_file(const char* flag, const std::string& path) {
  check_given(flag, path);
  check_working_directory(flag, path);
  std::error_code none;
  const std::filesystem::path parent = eso::parent_folder(path);
  if (!std::filesystem::is_directory(parent, none))
    throw eso::input_error(flag, "no such folder", parent.string());
  if (std::filesystem::is_directory(path, none)) throw eso::input_error(flag, "is a folder", path, "a file");
}

namespace {

/// The path without links, as far as it is there.
std::filesystem::path resolved(const std::filesystem::path& path) {
  std::error_code none;
  const std::filesystem::path real = std::filesystem::weakly_canonical(path, none);
  return none ? path.lexically_normal() : real;
}

/// Whether both are one file, be it by links. Devices and pipes hold nothing that could be lost.
bool is_same_file(const std::filesystem::path& a, const std::filesystem::path& b) {
  std::error_code none;
  if (std::filesystem::exists(a, none) && !std::filesystem::is_regular_file(a, none)) return false;
  return resolved(a) == resolved(b) || (std::filesystem::equivalent(a, b, none) && !none);
}

/// Whether what is written to `path` would be one of the files of the model in `folder`, be it by links.
bool is_of_model(const std::filesystem::path& path, const std::filesystem::path& folder) {
  if (is_model_file(path) && is_same_file(path, folder / path.filename())) return true;
  std::error_code none;
  for (std::filesystem::directory_iterator entry(folder, none), end; !none && entry != end;
       entry.increment(none)) {
    if (is_model_file(entry->path()) && is_same_file(path, entry->path())) return true;
  }
  return false;
}

}  // namespace

void check_spares(const char* flag, const std::string& path, const char* input,
                  const std::vector<std::string>& files) {
  for (const std::string& file : files) {
    if (!file.empty() && is_same_file(path, file))
      throw eso::input_error(flag, fmt::format("is the file of {} too", input), path);
  }
}

void check_spares_model(const char* flag, const std::string& path, const std::string& folder) {
  check_spares(flag, path, "--model", {folder});
  if (is_of_model(path, folder)) throw eso::input_error(flag, "is a file of --model", path);
}

}  // namespace eso_program
