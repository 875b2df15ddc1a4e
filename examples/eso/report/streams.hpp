// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>
#include <string>

#include "report/comparison.hpp"

namespace eso_program {

/// The rewards of every sample stream and the entropy of each arm over the steps at which it samples, from
/// the files of its runs, as HTML. Runs without such files are left out and named.
std::string stream_plots(const std::filesystem::path& directory, const Comparison& comparison);

}  // namespace eso_program
