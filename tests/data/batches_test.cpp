// SPDX-License-Identifier: MIT
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "eso/data/batches.hpp"

namespace {

using Order = std::vector<std::size_t>;

}  // namespace

TEST_CASE("Batches counts steps and epochs by hand", "[data]") {
  // 10 examples in batches of 4: steps of 4, 4 and 2 examples, three times
  eso::Batches batches(10, 4, 3, 0);
  CHECK(batches.steps_per_epoch() == 3);
  CHECK(batches.steps() == 9);
  CHECK(batches.batch(0).size() == 4);
  CHECK(batches.batch(2).size() == 2);
  CHECK(batches.epoch(2) == 0);
  CHECK(batches.epoch(3) == 1);
  CHECK(batches.epochs_done(0) == Approx(0.4));
  CHECK(batches.epochs_done(2) == 1.0);
  CHECK(batches.epochs_done(4) == Approx(1.8));
  CHECK(batches.epochs_done(8) == 3.0);
  CHECK(eso::Batches(8, 4, 1, 0).steps() == 2);
  CHECK(eso::Batches(3, 100, 2, 0).steps() == 2);
  CHECK(eso::Batches(3, std::numeric_limits<std::size_t>::max(), 2, 0).batch(1).size() == 3);
}

TEST_CASE("each epoch sees every example once, in an order of its own", "[data]") {
  eso::Batches batches(101, 7, 3, 42);
  std::vector<Order> epochs(3);
  for (std::size_t step = 0; step < batches.steps(); ++step) {
    const Order batch = batches.batch(step);
    Order& epoch = epochs[batches.epoch(step)];
    epoch.insert(epoch.end(), batch.begin(), batch.end());
  }
  Order all(101);
  std::iota(all.begin(), all.end(), std::size_t{0});
  for (Order epoch : epochs) {
    CHECK(epoch != all);
    std::sort(epoch.begin(), epoch.end());
    CHECK(epoch == all);
  }
  CHECK(epochs[0] != epochs[1]);
  CHECK(epochs[1] != epochs[2]);
}

TEST_CASE("a step's batch depends on the seed and the step alone", "[data]") {
  eso::Batches forward(23, 5, 4, 9), backward(23, 5, 4, 9), other_seed(23, 5, 4, 10);
  std::vector<Order> seen;
  for (std::size_t step = 0; step < forward.steps(); ++step) seen.push_back(forward.batch(step));
  for (std::size_t step = backward.steps(); step-- > 0;) CHECK(backward.batch(step) == seen[step]);
  CHECK(eso::Batches(23, 5, 4, 9).batch(13) == seen[13]);
  CHECK(eso::Batches(23, 5, 100, 9).batch(13) == seen[13]);  // more epochs change nothing before them
  CHECK(other_seed.batch(0) != seen[0]);
}

TEST_CASE("without shuffling every epoch is in file order", "[data]") {
  eso::Batches batches(5, 2, 2, 1, false);
  CHECK(batches.batch(0) == Order{0, 1});
  CHECK(batches.batch(2) == Order{4});
  CHECK(batches.batch(3) == Order{0, 1});
  CHECK(batches.batch(5) == Order{4});
}

TEST_CASE("batches equal those of an independent program", "[data]") {
  std::ifstream file(std::string(ESO_TEST_DIR) + "/golden/data.json");
  const auto golden = nlohmann::json::parse(file);
  REQUIRE(golden["batches"].size() == 3);
  for (const auto& entry : golden["batches"]) {
    eso::Batches batches(entry["count"].get<std::size_t>(), entry["batch_size"].get<std::size_t>(),
                         entry["epochs"].get<std::size_t>(), entry["seed"].get<std::uint64_t>());
    const auto expected = entry["batches"].get<std::vector<Order>>();
    REQUIRE(batches.steps() == expected.size());
    for (std::size_t step = 0; step < expected.size(); ++step) CHECK(batches.batch(step) == expected[step]);
  }
}

TEST_CASE("Batches refuses what gives no step", "[data]") {
  CHECK_THROWS_AS(eso::Batches(0, 4, 1, 0), eso::Error);
  CHECK_THROWS_AS(eso::Batches(4, 0, 1, 0), eso::Error);
  CHECK_THROWS_AS(eso::Batches(4, 4, 0, 0), eso::Error);
  CHECK_THROWS_AS(eso::Batches(4, 4, std::size_t{1} << 32, 0), eso::Error);
  eso::Batches batches(4, 2, 3, 0);
  CHECK_NOTHROW(batches.batch(5));
  CHECK_THROWS_AS(batches.batch(6), eso::Error);
}
