// SPDX-License-Identifier: MIT
#include "eso/threads.hpp"

#include <catch2/catch.hpp>
#include <numeric>
#include <stdexcept>
#include <vector>

using eso::Index;

TEST_CASE("for_each calls the body once for each index, on any number of threads") {
  for (const int count : {1, 2, 5}) {
    eso::Threads threads(count);
    CHECK(threads.count() == count);
    for (const Index total : {0, 1, 2, 3, 100, 5000}) {
      std::vector<std::atomic<int>> calls(static_cast<std::size_t>(total));
      threads.for_each(total, [&](Index i) { ++calls[static_cast<std::size_t>(i)]; });
      CHECK(std::all_of(calls.begin(), calls.end(), [](const auto& c) { return c == 1; }));
    }
  }
}

TEST_CASE("many short loops one after the other all complete") {
  eso::Threads threads(4);
  std::atomic<Index> sum{0};
  for (int round = 0; round < 3000; ++round) threads.for_each(5, [&](Index i) { sum += i; });
  CHECK(sum == 3000 * 10);
}

TEST_CASE("for_ranges covers everything once in multiples of the grain") {
  for (const int count : {1, 3}) {
    eso::Threads threads(count);
    for (const Index total : {0, 1, 7, 8, 9, 64, 1000}) {
      for (const Index grain : {1, 8, 64}) {
        std::vector<std::atomic<int>> calls(static_cast<std::size_t>(total));
        std::atomic<bool> aligned{true};
        threads.for_ranges(total, grain, [&](Index begin, Index end) {
          if (begin % grain != 0 || (end % grain != 0 && end != total) || begin >= end) aligned = false;
          for (Index i = begin; i < end; ++i) ++calls[static_cast<std::size_t>(i)];
        });
        CHECK(aligned);
        CHECK(std::all_of(calls.begin(), calls.end(), [](const auto& c) { return c == 1; }));
      }
    }
  }
}

TEST_CASE("an exception of the body reaches the caller, and the threads go on to serve") {
  for (const int count : {1, 3}) {
    eso::Threads threads(count);
    CHECK_THROWS_WITH(threads.for_each(100,
                                       [](Index i) {
                                         if (i == 50) throw std::runtime_error("fifty");
                                       }),
                      "fifty");
    std::atomic<int> calls{0};
    threads.for_each(100, [&](Index) { ++calls; });
    CHECK(calls == 100);
  }
}

TEST_CASE("a loop inside a loop runs on its own thread") {
  eso::Threads threads(3);
  std::atomic<int> calls{0};
  threads.for_each(6, [&](Index) {
    const auto self = std::this_thread::get_id();
    threads.for_each(7, [&](Index) {
      if (std::this_thread::get_id() == self) ++calls;
    });
  });
  CHECK(calls == 42);
}

TEST_CASE("two threads may use the same pool at once") {
  eso::Threads threads(3);
  std::atomic<int> calls{0};
  const auto work = [&] {
    for (int round = 0; round < 500; ++round) threads.for_each(4, [&](Index) { ++calls; });
  };
  std::thread other(work);
  work();
  other.join();
  CHECK(calls == 2 * 500 * 4);
}

TEST_CASE("less than one thread is refused") {
  CHECK_THROWS_AS(eso::Threads(0), eso::Error);
  CHECK_THROWS_AS(eso::Threads(-1), eso::Error);
}
