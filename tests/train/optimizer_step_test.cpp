// SPDX-License-Identifier: MIT
#include "golden_steps.hpp"

#include "eso/optim/sgd.hpp"

TEST_CASE("one step of sgd moves every parameter as PyTorch's autograd says, for all families and methods") {
  check_golden_steps<eso::Sgd>([](const std::string& name) { return load_golden<double>(name); });
}
