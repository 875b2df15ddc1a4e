// SPDX-License-Identifier: MIT
#include "divergence.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "eso/model/tensor_values.hpp"
#include "program.hpp"

namespace eso_program {

void note_nll(const eso::Step& step, TrainResult& result) {
  double sum = 0, tokens = 0;
  for (const eso::Response& response : step.batch.responses) {
    if (response.kind != eso::Kind::target && response.kind != eso::Kind::chosen) continue;
    for (const double logp : response.logp) sum -= logp;
    tokens += static_cast<double>(response.logp.size());
  }
  if (tokens == 0 || !std::isfinite(sum)) return;
  result.last_nll = sum / tokens;
  if (std::isnan(result.first_nll)) result.first_nll = result.last_nll;
}

void check_nll(const TrainResult& result, eso::Index vocabulary, const std::filesystem::path& directory) {
  const auto& [first, last] = std::pair(result.first_nll, result.last_nll);
  const double uniform = std::log(static_cast<double>(vocabulary));
  const double most = 2 * std::max(first, uniform) + 10;
  if (std::isnan(first) || last <= most) return;
  throw eso::Error(
      eso::Fault::system, directory.string(),
      fmt::format("training diverged: the targets of the last step cost {:.1f} nats per token, those of the "
                  "first {:.1f}, and {:.1f} under a uniform model",
                  last, first, uniform));
}

void check_left_out(const TrainResult& result, std::int64_t steps, const std::string& title,
                    const std::filesystem::path& directory) {
  const auto& [left_out, last] = std::pair(result.left_out, result.left_out_last);
  if (left_out == 0) return;
  if (last == 0) {
    say("{}{} of {} steps left out: their loss or gradient was not finite", title, left_out, steps);
    return;
  }
  throw eso::Error(
      eso::Fault::system, directory.string(),
      last == steps
          ? std::string("training diverged: no step had a finite loss and gradient")
          : fmt::format("training diverged: the last {} of {} steps had no finite loss and gradient", last,
                        steps));
}

void check_finite(const AnyModel& model, const std::filesystem::path& directory) {
  for (const eso::TensorView& tensor : model.state()) {
    std::vector<float> values(static_cast<std::size_t>(eso::value_count(tensor)));
    eso::read_values(tensor, values.data());
    if (std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); })) continue;
    throw eso::Error(
        eso::Fault::system, directory.string(),
        fmt::format("training diverged: the tensor {} has a value that is not finite", tensor.name));
  }
}

}  // namespace eso_program
