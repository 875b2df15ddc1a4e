// SPDX-License-Identifier: MIT
#include "eso/torch/process_group.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>

#include "torch_models.hpp"

#include "eso/testing/log_prob_model_laws.hpp"
#include "eso/torch/data_parallel.hpp"

namespace {

using eso::torch::ProcessGroup;

ProcessGroup::Place place_of(int rank, int size) {
  static const int port = 21000 + ::getpid() % 20000;
  return {.rank = rank, .size = size, .port = port};
}

/// Two processes of one group, here threads.
void both(const std::function<void(int)>& work) {
  std::thread other([&] { work(1); });
  work(0);
  other.join();
}

/// Whether something listens there; 127.0.0.2 is this machine, too.
bool accepts(const char* address, int port) {
  sockaddr_in place{};
  place.sin_family = AF_INET;
  place.sin_port = htons(static_cast<std::uint16_t>(port));
  ::inet_pton(AF_INET, address, &place.sin_addr);
  const int caller = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool answered = ::connect(caller, reinterpret_cast<const sockaddr*>(&place), sizeof place) == 0;
  ::close(caller);
  return answered;
}

}  // namespace

TEST_CASE("torch: a process that does not come is missed in the beginning") {
  ProcessGroup::Place place = place_of(0, 2);
  place.patience = std::chrono::milliseconds(500);
  CHECK_THROWS_WITH(ProcessGroup(place, {}),
                    Catch::Contains("rank 0 of 2") && Catch::Contains("rank 1 did not come within 0.5 s"));
}

TEST_CASE("torch: rank 0 that does not come is missed as soon") {
  ProcessGroup::Place place = place_of(1, 2);
  place.patience = std::chrono::milliseconds(500);
  CHECK_THROWS_WITH(ProcessGroup(place, {}),
                    Catch::Contains("rank 1 of 2") && Catch::Contains("rank 0 did not come within 0.5 s"));
}

TEST_CASE("torch: at a loopback address nothing listens for other machines") {
  CHECK(eso::torch::loopback_address("localhost") == "127.0.0.1");
  CHECK(eso::torch::loopback_address("127.1.2.3") == "127.1.2.3");
  CHECK(eso::torch::loopback_address("::1") == "::1");
  for (const char* other : {"128.0.0.1", "10.0.0.1", "::2", "host", "127.0.0.1.org", ""})
    CHECK(eso::torch::loopback_address(other).empty());
  bool here = false, elsewhere = true;
  both([&](int rank) {
    ProcessGroup group(place_of(rank, 2), {});
    if (rank == 0) {
      here = accepts("127.0.0.1", place_of(0, 2).port);
      elsewhere = accepts("127.0.0.2", place_of(0, 2).port);
    }
    group.leave();
  });
  CHECK(here);
  CHECK(!elsewhere);
}

TEST_CASE("torch: a port that is taken is said") {
  const int taken = eso::torch::listen_on("127.0.0.1", place_of(0, 2).port);
  CHECK_THROWS_WITH(ProcessGroup(place_of(0, 2), {}), Catch::Contains("cannot listen"));
  ::close(taken);
}

TEST_CASE("torch: a process that has left is not missed by one that is slower") {
  std::atomic<int> lost = -1;
  both([&](int rank) {
    ProcessGroup group(place_of(rank, 2), [&](int which) { lost = which; });
    group.leave();
    if (rank == 1) std::this_thread::sleep_for(3 * ProcessGroup::beat);  // rank 0 takes its store away
  });
  CHECK(lost == -1);
}

TEST_CASE("torch: gradients of two processes add up, also where they were looked at between") {
  const eso::Architecture a = gpt2();
  const auto options = test_options(eso::torch::Precision::float64);
  const eso::testing::ModelLaws limits{.vocabulary = a.vocabulary, .context = a.context};
  const eso::Batch batch = eso::testing::random_batch(limits, 3);
  const auto d_logp = [](const eso::LogProbs& logp) { return eso::LogProbs(logp.exp()); };
  eso::torch::Decoder alone = random_torch(a, options);
  for (int i = 0; i < 3; ++i) alone.backward(d_logp(alone.log_probs(batch)));
  const auto expected = eso::testing::read_gradients(alone.parameters());
  both([&](int rank) {
    const auto group = std::make_shared<ProcessGroup>(place_of(rank, 2), [](int) {});
    eso::torch::Decoder share = random_torch(a, options);
    eso::torch::DataParallel model(share, group);
    for (int i = 0; i < 3; ++i) {
      model.backward(d_logp(model.log_probs(batch)));
      if (i == 1) model.parameters();
    }
    const auto found = eso::testing::read_gradients(model.parameters());
    if (rank == 0) {
      REQUIRE(found.size() == expected.size());
      for (std::size_t i = 0; i < found.size(); ++i)
        CHECK(eso::testing::largest_difference(found[i], expected[i]) < 1e-10);
    }
    group->leave();
  });
}
