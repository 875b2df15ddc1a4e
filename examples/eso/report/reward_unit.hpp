// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <string_view>

namespace eso_program {

/// How a run's rewards are shown: ROUGE in [0, 1] times 100, any other reward as it is.
struct RewardUnit {
  std::string name = "ROUGE-L × 100";
  double factor = 100;
  int decimals = 1;
};

/// The unit that the `reward` of a run's configuration asks for; ROUGE-L where it says nothing.
RewardUnit reward_unit(std::string_view config);

}  // namespace eso_program
