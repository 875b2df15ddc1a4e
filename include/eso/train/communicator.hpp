// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <string>
#include <vector>

#include "eso/batch.hpp"

namespace eso {

/// Processes that train one model together: each holds all of it, computes its share of every batch and makes
/// the same step.
///
/// \par Operations
/// | expression            | result                     | meaning                                          |
/// |-----------------------|----------------------------|--------------------------------------------------|
/// | `c.rank()`            | int                        | which of them this is, from 0                    |
/// | `c.size()`            | int                        | how many there are                               |
/// | `c.exchange(bytes)`   | std::vector of std::string | what each of them gave, in the order of ranks    |
///
/// \par Laws
/// All processes call `exchange` equally often, and all get the same.
///
/// \par Models
/// `OneProcess`, `torch::ProcessGroup`.
template <class C>
concept Communicator = requires(const C& c, const std::string& bytes) {
  { c.rank() } -> std::convertible_to<int>;
  { c.size() } -> std::convertible_to<int>;
  { c.exchange(bytes) } -> std::same_as<std::vector<std::string>>;
};

/// A process alone.
struct OneProcess {
  int rank() const { return 0; }
  int size() const { return 1; }
  std::vector<std::string> exchange(const std::string& bytes) const { return {bytes}; }
};

/// Consecutive prompts of a batch.
struct Share {
  Index first = 0, count = 0;
};

/// Those of `count` prompts that a rank computes: as many as the others, or one more.
inline Share share_of(Index count, int rank, int size) {
  const Index first = count * rank / size;
  return {first, count * (rank + 1) / size - first};
}

}  // namespace eso
