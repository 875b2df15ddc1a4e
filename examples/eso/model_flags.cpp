// SPDX-License-Identifier: MIT
#include "model_flags.hpp"

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

void check_output_file(const char* flag, const std::string& path) {
  check_given(flag, path);
  std::error_code none;
  const std::filesystem::path parent = eso::parent_folder(path);
  if (!std::filesystem::is_directory(parent, none))
    throw eso::input_error(flag, "no such folder", parent.string());
  if (std::filesystem::is_directory(path, none)) throw eso::input_error(flag, "is a folder", path, "a file");
}

}  // namespace eso_program
