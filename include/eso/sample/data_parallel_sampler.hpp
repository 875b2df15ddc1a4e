// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "eso/concepts.hpp"
#include "eso/train/communicator.hpp"

namespace eso {

/// A sampler of which each process draws the responses to its share of the prompts and gets those of all.
///
/// A response follows from (seed, step, example, sample) alone, so all processes get what one would draw.
template <class S, Communicator C>
struct DataParallelSampler {
  S sampler;
  C communicator;

  bool draws_greedy() const
    requires requires(const S& s) { s.draws_greedy(); }
  {
    return sampler.draws_greedy();
  }

  template <Generator G>
  std::vector<Response> operator()(G& generator, std::span<const Prompt> prompts, StepSeed seed) const {
    if (communicator.size() == 1) return sampler(generator, prompts, seed);
    const Share share =
        share_of(static_cast<Index>(prompts.size()), communicator.rank(), communicator.size());
    std::string bytes;
    if (share.count > 0) {
      const auto own =
          prompts.subspan(static_cast<std::size_t>(share.first), static_cast<std::size_t>(share.count));
      for (Response& response : sampler(generator, own, seed)) {
        response.prompt += share.first;
        write(bytes, response);
      }
    }
    std::vector<Response> all;
    for (const std::string& from : communicator.exchange(bytes)) read(from, all);
    return all;
  }

 private:
  template <class T>
    requires std::is_trivially_copyable_v<T>
  static void put(std::string& bytes, const T& value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  template <class T>
  static void put(std::string& bytes, const std::vector<T>& values) {
    put(bytes, values.size());
    bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  }

  template <class T>
    requires std::is_trivially_copyable_v<T>
  static void get(const char*& at, T& value) {
    std::memcpy(&value, at, sizeof value);
    at += sizeof value;
  }
  template <class T>
  static void get(const char*& at, std::vector<T>& values) {
    std::size_t count = 0;
    get(at, count);
    values.resize(count);
    std::memcpy(values.data(), at, count * sizeof(T));
    at += count * sizeof(T);
  }

  static void write(std::string& bytes, const Response& r) {
    put(bytes, r.prompt), put(bytes, r.kind), put(bytes, r.sample), put(bytes, r.tokens),
        put(bytes, r.temperature);
    put(bytes, r.finished), put(bytes, r.logp), put(bytes, r.entropy), put(bytes, r.entropy_drawn);
  }

  static void read(const std::string& bytes, std::vector<Response>& all) {
    const char* at = bytes.data();
    while (at != bytes.data() + bytes.size()) {
      Response& r = all.emplace_back();
      get(at, r.prompt), get(at, r.kind), get(at, r.sample), get(at, r.tokens), get(at, r.temperature);
      get(at, r.finished), get(at, r.logp), get(at, r.entropy), get(at, r.entropy_drawn);
    }
  }
};

/// clang 14 deduces none from an aggregate.
template <class S, Communicator C>
DataParallelSampler(S, C) -> DataParallelSampler<S, C>;

}  // namespace eso
