// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/error.hpp"

namespace eso::testing {

/// One law that did not hold, and where.
struct Violation {
  std::string law;
  std::string detail;
};

/// What a law suite found. No test framework is needed to read it: `fmt::print("{}", report.text())`.
struct LawReport {
  static constexpr int details_per_law = 3;  ///< of a law that is broken throughout, only the first are kept

  std::vector<Violation> violations;
  std::vector<std::string> laws;  ///< that were tried, in order
  Index checks = 0;               ///< comparisons made

  /// All laws held, and something was compared.
  bool passed() const { return violations.empty() && checks > 0; }

  bool violates(std::string_view law) const {
    return std::any_of(violations.begin(), violations.end(),
                       [&](const Violation& v) { return v.law == law; });
  }

  /// A line for each violation, or one that says what held.
  std::string text() const {
    if (passed()) return fmt::format("{} laws held in {} checks\n", laws.size(), checks);
    if (violations.empty()) return "no law was tried\n";
    std::string lines;
    for (const Violation& v : violations) lines += fmt::format("{}: {}\n", v.law, v.detail);
    return lines;
  }

  /// Notes a violation of `law` unless `holds`; `detail()` gives the words and is only called then.
  template <class Detail>
  void expect(std::string_view law, bool holds, Detail detail) {
    ++checks;
    const auto same = [&](const Violation& v) { return v.law == law; };
    if (holds || std::count_if(violations.begin(), violations.end(), same) >= details_per_law) return;
    violations.push_back({std::string(law), detail()});
  }

  /// Notes a violation unless the two differ by at most `tolerance`; not a number differs from everything.
  void expect_near(std::string_view law, double found, double expected, double tolerance,
                   std::string_view what) {
    expect(law, std::abs(found - expected) <= tolerance, [&] {
      return fmt::format("{} is {:.9g}, expected {:.9g} +- {:.2g}", what, found, expected, tolerance);
    });
  }

  /// Notes a violation unless `body()` throws `Error`.
  template <class Body>
  void expect_error(std::string_view law, std::string_view what, Body body) {
    std::string instead = "was accepted";
    bool refused = false;
    try {
      body();
    } catch (const Error&) {
      refused = true;
    } catch (const std::exception& other) {
      instead = fmt::format("threw something else than Error: {}", other.what());
    }
    expect(law, refused, [&] { return fmt::format("{} {}", what, instead); });
  }

  /// Runs the checks of one law; whatever they throw is a violation of it.
  template <class Body>
  void run(std::string_view name, Body body) {
    laws.emplace_back(name);
    try {
      body(name);
    } catch (const std::exception& error) {
      expect(name, false, [&] { return fmt::format("threw: {}", error.what()); });
    }
  }
};

}  // namespace eso::testing
