// SPDX-License-Identifier: MIT
#include "eso/train/active_epochs.hpp"

#include <catch2/catch.hpp>
#include <limits>
#include <string>

#include "eso/error.hpp"

using eso::active_epochs_named;
using eso::ActiveEpochs;

namespace {

/// An x for each active epoch of a run, a dot for each other one.
std::string drawn(ActiveEpochs active, eso::Index epochs) {
  std::string result;
  for (eso::Index epoch = 0; epoch < epochs; ++epoch) result += active(epoch, epochs) ? 'x' : '.';
  return result;
}

}  // namespace

TEST_CASE("without a choice every epoch is active", "[train]") {
  CHECK(drawn({}, 5) == "xxxxx");
  CHECK(drawn({}, 1) == "x");
}

TEST_CASE("each choice of active epochs by hand", "[train]") {
  CHECK(drawn(ActiveEpochs::last(), 4) == "...x");
  CHECK(drawn(ActiveEpochs::all(), 4) == "xxxx");
  CHECK(drawn(ActiveEpochs::all_but_last(), 4) == "xxx.");
  CHECK(drawn(ActiveEpochs::never(), 4) == "....");
  CHECK(drawn(ActiveEpochs::from(0), 4) == "xxxx");
  CHECK(drawn(ActiveEpochs::from(2), 4) == "..xx");
  CHECK(drawn(ActiveEpochs::from(3), 4) == "...x");
  CHECK(drawn(ActiveEpochs::from(4), 4) == "....");
  CHECK(drawn({.first = 1, .end = 3}, 4) == ".xx.");
  CHECK(drawn({.first = -3, .end = -1}, 4) == ".xx.");
}

TEST_CASE("the choices of active epochs hold in runs of a single epoch", "[train]") {
  CHECK(drawn(ActiveEpochs::last(), 1) == "x");
  CHECK(drawn(ActiveEpochs::all(), 1) == "x");
  CHECK(drawn(ActiveEpochs::all_but_last(), 1) == ".");
  CHECK(drawn(ActiveEpochs::never(), 1) == ".");
  CHECK(drawn({.first = -3, .end = 0}, 1) == "x");  // the last three of one
}

TEST_CASE("never is never, however long the run", "[train]") {
  constexpr eso::Index most = std::numeric_limits<eso::Index>::max();
  CHECK_FALSE(ActiveEpochs::never()(most - 1, most));
  CHECK(ActiveEpochs::last()(most - 1, most));
  CHECK_FALSE(ActiveEpochs::last()(most - 2, most));
}

TEST_CASE("names of active epochs, those of from:E counted from 1", "[train]") {
  CHECK(drawn(active_epochs_named("last"), 4) == "...x");
  CHECK(drawn(active_epochs_named("all"), 4) == "xxxx");
  CHECK(drawn(active_epochs_named("all-but-last"), 4) == "xxx.");
  CHECK(drawn(active_epochs_named("from:1"), 4) == "xxxx");
  CHECK(drawn(active_epochs_named("from:3"), 4) == "..xx");
  CHECK(drawn(active_epochs_named("from:4"), 4) == "...x");
  CHECK(drawn(active_epochs_named("from:5"), 4) == "....");
  CHECK(drawn(active_epochs_named("from:12"), 13) == "...........xx");
  CHECK(drawn(active_epochs_named("from:2147483647"), 4) == "....");
}

TEST_CASE("any other name of active epochs is refused with what is known", "[train]") {
  const std::string name = GENERATE(
      "", " ", "Last", "LAST", "last ", " last", "lastly", "first", "never", "none", "allbutlast",
      "all_but_last", "all-but-first", "all,last", "1", "from", "from:", "from:0", "from:00", "from:-1",
      "from:+1", "from: 1", "from:1 ", "from:1x", "from:x", "from:1.5", "from:1e3", "from:0x1", "from:1:2",
      "from:2147483648", "from:99999999999999999999", "from=1", "From:1", "from:last", ":1");
  CAPTURE(name);
  CHECK_THROWS_AS(active_epochs_named(name), eso::Error);
}

TEST_CASE("the message about active epochs says what was found and what is expected", "[train]") {
  CHECK_THROWS_WITH(
      active_epochs_named("from:0"),
      "--active-epochs: unknown, found from:0, expected last, all, all-but-last or from:E with E from 1");
  CHECK_THROWS_AS(active_epochs_named(std::string("all\0", 4)), eso::Error);
}
