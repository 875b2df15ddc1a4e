// SPDX-License-Identifier: MIT
#include "torch_models.hpp"

#include <thread>

#include "eso/torch/nccl.hpp"

using eso::torch::Nccl;

TEST_CASE("torch: NCCL adds up and spreads tensors") {
  const Nccl::Id id = Nccl(ESO_FAKE_NCCL).make_id();
  std::vector<at::Tensor> sums(3), spread(3);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 3; ++rank) {
    threads.emplace_back([&, rank] {
      Nccl nccl(ESO_FAKE_NCCL);
      nccl.meet(id, rank, 3);
      for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
        at::Tensor tensor = at::arange(1, 7, at::TensorOptions(type)).view({2, 3}) * (rank + 1);
        nccl.sum(tensor);
        sums[static_cast<std::size_t>(rank)] = tensor;
      }
      at::Tensor tensor = at::full({4}, rank, at::kFloat);
      nccl.broadcast(tensor, 1);
      spread[static_cast<std::size_t>(rank)] = tensor;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t rank = 0; rank < 3; ++rank) {
    CHECK(at::equal(sums[rank], 6 * at::arange(1, 7, at::kDouble).view({2, 3})));
    CHECK(at::equal(spread[rank], at::ones({4})));
  }
}

TEST_CASE("torch: what NCCL cannot do is an error") {
  CHECK_THROWS_AS(Nccl("libthere-is-no-such.so"), eso::Error);
  CHECK_THROWS_AS(Nccl("libm.so.6"), eso::Error);  // a library, but another
  Nccl nccl(ESO_FAKE_NCCL);
  const Nccl::Id id = nccl.make_id();
  CHECK(id != nccl.make_id());
  CHECK_THROWS_AS(nccl.meet(id, 1, 1), eso::Error);
  nccl.meet(id, 0, 1);
  CHECK_THROWS_AS(nccl.sum(at::ones({2}, at::kLong)), eso::Error);
  CHECK_THROWS_AS(nccl.sum(at::ones({2, 3}).t()), eso::Error);
  try {
    nccl.sum(at::ones({2}, at::kBFloat16));  // which this fake does not know
    CHECK(false);
  } catch (const eso::Error& error) {
    CHECK(std::string(error.what()).find("invalid argument") != std::string::npos);
    CHECK(std::string(error.what()).find("ncclAllReduce") != std::string::npos);
  }
}

TEST_CASE("torch: NCCL of LibTorch's CUDA half leaves the tensor of a group of one as it is", "[cuda]") {
  if (!test_device().is_cuda()) {
    WARN("skipped: needs a GPU, ESO_TEST_DEVICE=cuda");
    return;
  }
  Nccl nccl;
  nccl.meet(nccl.make_id(), 0, 1);
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    const at::Tensor tensor = at::arange(1000, at::TensorOptions(type).device(test_device()));
    const at::Tensor before = tensor.clone();
    nccl.sum(tensor);
    nccl.broadcast(tensor, 0);
    CHECK(at::equal(tensor, before));
  }
}
