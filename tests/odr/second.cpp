// SPDX-License-Identifier: MIT
#include <eso/eso.hpp>

using Factory = decltype(&eso::input_error);
Factory input_error_of_second();

Factory input_error_of_second() { return &eso::input_error; }
