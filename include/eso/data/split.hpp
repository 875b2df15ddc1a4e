// SPDX-License-Identifier: MIT
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/error.hpp"
#include "eso/random.hpp"

namespace eso {

/// Which examples of a data set that comes in one piece are for testing; the others are for training.
///
/// Of `n` examples the test part is the first `count`, or `count` that are drawn by `seed`: the beginning of
/// a permutation from the stream (seed, shuffling, sample 2). Both parts keep the order of the whole.
///
/// Source: the first 1,000 lines are the rule of MiniLLM and the ESO paper's code for Dolly; drawn ones are
/// the honest choice where the order of the file is another.
struct TestSplit {
  bool seeded = false;
  std::size_t count = 0;
  std::uint64_t seed = 0;

  /// For each of `n` examples whether it is for testing. O(n).
  ///
  /// \throws Error (input) unless each part gets an example. `where` is what the error names.
  std::vector<bool> is_test(std::size_t n, std::string_view where = "TestSplit") const {
    if (count < 1 || count >= n) {
      throw input_error(std::string(where), fmt::format("cannot take {} of {} examples", count, n), {},
                        "one for each part at least");
    }
    std::vector<bool> test(n, false);
    if (!seeded) {
      std::fill_n(test.begin(), count, true);
      return test;
    }
    const auto order = permutation(n, {.seed = seed, .purpose = Purpose::shuffling, .sample = 2});
    for (std::size_t i = 0; i < count; ++i) test[order[i]] = true;
    return test;
  }

  /// The test part of the examples or, without `test`, the others. \throws Error as `is_test` does.
  template <class T>
  std::vector<T> part(std::vector<T> examples, bool test, std::string_view where = "TestSplit") const {
    const std::vector<bool> is = is_test(examples.size(), where);
    std::vector<T> result;
    for (std::size_t i = 0; i < examples.size(); ++i) {
      if (is[i] == test) result.push_back(std::move(examples[i]));
    }
    return result;
  }
};

/// The split of a name: `first-n:COUNT`, `seeded:COUNT` or `seeded:COUNT:SEED`. `where` is what an error
/// names: the flag.
///
/// \throws Error (input) if it is none of them or the count is 0.
inline TestSplit test_split_named(std::string_view name, std::string_view where = "split") {
  const auto refuse = [&] {
    return input_error(std::string(where), "is no split", std::string(name),
                       "first-n:COUNT, seeded:COUNT or seeded:COUNT:SEED");
  };
  TestSplit split;
  std::string_view rest = name;
  split.seeded = rest.starts_with("seeded:");
  if (!split.seeded && !rest.starts_with("first-n:")) throw refuse();
  rest.remove_prefix(rest.find(':') + 1);
  const auto number = [&](auto& value) {
    const auto [end, fault] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    if (fault != std::errc()) throw refuse();
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
  };
  number(split.count);
  if (split.seeded && rest.starts_with(':')) {
    rest.remove_prefix(1);
    number(split.seed);
  }
  if (!rest.empty() || split.count == 0) throw refuse();
  return split;
}

}  // namespace eso
