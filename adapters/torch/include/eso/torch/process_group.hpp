// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "eso/error.hpp"
#include "eso/torch/meeting.hpp"
#include "eso/torch/nccl.hpp"

namespace eso::torch {

/// The processes that a launcher started, joined by LibTorch's own c10d over TCP (gloo): a `Communicator`
/// that can also add up and spread tensors, those on GPUs by NCCL once `join` was called.
///
/// A thread tells the others twice a second that this process lives. A process that was killed is missed
/// within seconds, one that was stopped within `silence`: `on_lost` is called with its rank, from that
/// thread, and what waits for it fails. What waits for a GPU in an exchange by NCCL does not, and a lost
/// process is missed within `silence`: `on_lost` has to end the program there.
class ProcessGroup {
 public:
  /// What a launcher says through the environment: RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun
  /// sets them. Where MASTER_ADDR is this machine alone, nothing listens for others.
  using Place = ProcessPlace;

  static constexpr std::chrono::milliseconds beat{500}, silence{10'000};

  /// Nothing where WORLD_SIZE is not set or 1.
  ///
  /// \throws Error (input) naming the variable that is missing or means nothing.
  static std::optional<Place> place_from_environment() {
    if (std::getenv("WORLD_SIZE") == nullptr) return std::nullopt;
    Place place;
    place.size = number("WORLD_SIZE", 1, 1 << 20);
    if (place.size == 1) return std::nullopt;
    place.rank = number("RANK", 0, place.size - 1);
    place.port = number("MASTER_PORT", 1, 65535);
    const char* const address = std::getenv("MASTER_ADDR");
    if (address == nullptr) throw input_error("MASTER_ADDR", "is not set, but WORLD_SIZE is");
    place.address = address;
    return place;
  }

  /// Meets the others. \throws Error (system) if they do not come within `Place::patience`.
  ProcessGroup(const Place& place, std::function<void(int)> on_lost)
      : place_(place), on_lost_(std::move(on_lost)) {
    try {
      meeting_ = Meeting::of(place, silence);
    } catch (const std::exception& error) {
      const std::string text = error.what();
      throw Error(Fault::system, fmt::format("rank {} of {}", place.rank, place.size),
                  "could not meet the others at " + fmt::format("{}:{}, ", place.address, place.port) +
                      text.substr(0, text.find('\n')));
    }
    talker_ = std::thread([meeting = meeting_] { meeting->talk(beat); });
    watcher_ = std::thread([this] { watch(); });
  }

  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;
  ~ProcessGroup() { stop_watching(); }

  int rank() const { return place_.rank; }
  int size() const { return place_.size; }

  /// What each process gave, in the order of ranks.
  std::vector<std::string> exchange(const std::string& bytes) const {
    at::Tensor own = at::full({1}, static_cast<std::int64_t>(bytes.size()), at::kLong);
    std::int64_t longest = 0;
    std::vector<at::Tensor> sizes = gather(own);
    for (const at::Tensor& size : sizes) longest = std::max(longest, size.item<std::int64_t>());
    at::Tensor padded = at::zeros({std::max<std::int64_t>(longest, 1)}, at::kByte);
    std::memcpy(padded.data_ptr(), bytes.data(), bytes.size());
    const std::vector<at::Tensor> all = gather(padded);
    std::vector<std::string> result;
    for (std::size_t r = 0; r < all.size(); ++r) {
      result.emplace_back(static_cast<const char*>(all[r].const_data_ptr()),
                          static_cast<std::size_t>(sizes[r].item<std::int64_t>()));
    }
    return result;
  }

  /// From here on tensors on this device, which is the process's own, are exchanged by NCCL, if all processes
  /// can and no two have the same GPU; without it they go through host memory. All call it; says whether it
  /// is so.
  bool join(at::Device device) {
    if (!device.is_cuda() || nccl_) return nccl_ != nullptr;
    auto nccl = loaded();
    std::array<char, 256> host = {};
    ::gethostname(host.data(), host.size() - 1);
    const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
    std::vector<std::string> gpus = exchange(
        nccl ? fmt::format("{} {} {}", host.data(), int{device.index()}, visible ? visible : "") : "");
    std::sort(gpus.begin(), gpus.end());
    if (gpus.front().empty() || std::adjacent_find(gpus.begin(), gpus.end()) != gpus.end()) return false;
    const Nccl::Id own = rank() == 0 ? nccl->make_id() : Nccl::Id{};
    const std::string first = exchange({own.data(), own.size()}).front();
    Nccl::Id id = {};
    std::copy(first.begin(), first.end(), id.begin());
    const c10::DeviceGuard guard(device);
    nccl->meet(id, rank(), size());
    nccl_ = std::move(nccl);
    return true;
  }

  /// Replaces a contiguous tensor by the sum of those of all processes.
  void sum(const at::Tensor& tensor) const {
    if (nccl_ && tensor.is_cuda()) return nccl_->sum(tensor);
    through_host(tensor, [&](std::vector<at::Tensor>& host) { return meeting_->group().allreduce(host); });
  }

  /// Gives all processes the contiguous tensor that `from` has.
  void broadcast(const at::Tensor& tensor, int from) const {
    if (nccl_ && tensor.is_cuda()) return nccl_->broadcast(tensor, from);
    ::c10d::BroadcastOptions options;
    options.rootRank = from;
    through_host(tensor,
                 [&](std::vector<at::Tensor>& host) { return meeting_->group().broadcast(host, options); });
  }

  /// Returns when all processes have called it.
  void barrier() const {
    wait([&] { return meeting_->group().barrier(); });
  }

  /// All call it after their last exchange: from here on nobody is missed, for a process may end before
  /// others.
  void leave() {
    barrier();
    stop_watching();
    barrier();
  }

 private:
  void stop_watching() {
    const bool silent = meeting_->end(silence);
    if (watcher_.joinable()) watcher_.join();
    if (!talker_.joinable()) return;
    if (silent) return talker_.join();
    talker_.detach();  // in a call that hangs as long as rank 0 is stopped
  }

  static int number(const char* name, int least, int most) {
    const char* const text = std::getenv(name);
    if (text == nullptr) throw input_error(name, "is not set, but WORLD_SIZE is");
    int value = 0;
    const char* const last = text + std::strlen(text);
    const auto [end, error] = std::from_chars(text, last, value);
    if (error == std::errc() && end == last && value >= least && value <= most) return value;
    throw input_error(name, "is out of range", text, fmt::format("{} to {}", least, most));
  }

  std::vector<at::Tensor> gather(const at::Tensor& own) const {
    std::vector<std::vector<at::Tensor>> out(1);
    for (int r = 0; r < size(); ++r) out[0].push_back(at::empty_like(own));
    std::vector<at::Tensor> in{own};
    wait([&] { return meeting_->group().allgather(out, in); });
    return out[0];
  }

  static std::unique_ptr<Nccl> loaded() {
    try {
      return std::make_unique<Nccl>();
    } catch (const Error&) {
      return nullptr;
    }
  }

  template <class Start>
  void through_host(const at::Tensor& tensor, const Start& start) const {
    const c10::NoGradGuard no_grad;
    std::vector<at::Tensor> host{tensor.to(at::kCPU)};
    wait([&] { return start(host); });
    if (!tensor.is_cpu()) tensor.copy_(host.front());
  }

  template <class Start>
  void wait(const Start& start) const {
    try {
      start()->wait();
    } catch (const std::exception& error) {
      // A connection broke. Whose, the beats tell.
      hurried_ = true;
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, std::chrono::seconds(4), [&] { return lost_ >= 0; });
      const std::string text = error.what();
      throw Error(Fault::system, fmt::format("rank {}", rank()),
                  lost_ >= 0 ? fmt::format("rank {} has stopped", lost_)
                             : "another rank has stopped, " + text.substr(0, text.find('\n')));
    }
  }

  void watch() {
    while (meeting_->tick(beat)) {
      const int lost = meeting_->missed(hurried_ ? 4 : silence / beat);
      if (lost < 0) continue;
      {
        const std::lock_guard lock(mutex_);
        lost_ = lost;
      }
      wake_.notify_all();
      if (on_lost_ && !hurried_) on_lost_(lost);
      return;
    }
  }

  Place place_;
  std::function<void(int)> on_lost_;
  std::shared_ptr<Meeting> meeting_;
  std::unique_ptr<Nccl> nccl_;  ///< of tensors on GPUs
  mutable std::mutex mutex_;
  mutable std::condition_variable wake_;
  mutable std::atomic<bool> hurried_ = false;  ///< who waits has seen a connection break
  int lost_ = -1;
  std::thread talker_, watcher_;
};

}  // namespace eso::torch
