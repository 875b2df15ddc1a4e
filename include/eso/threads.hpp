// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "eso/batch.hpp"

namespace eso {

/// A fixed number of threads that share loops; the calling thread is one of them.
///
/// Nothing about the result of a loop depends on the number of threads as long as its iterations write to
/// different places. Threads that wait yield to whoever else wants the processor for `patience`, since waking
/// one up may take longer than a loop of decoding, and then sleep. One loop runs at a time; a loop inside a
/// loop runs on its own thread alone.
class Threads {
 public:
  static constexpr std::chrono::microseconds patience{100};

  /// `count` threads in all; at least one.
  explicit Threads(int count = 1) {
    require(count >= 1, "Threads", "needs at least one thread");
    try {
      for (int i = 1; i < count; ++i) workers_.emplace_back([this] { work(); });
    } catch (const std::system_error& error) {
      stop();
      throw system_error("Threads", fmt::format("cannot start {} threads", count), error.code().value());
    }
  }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  ~Threads() { stop(); }

  int count() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls `body(i)` for i in [0, count), each once, on any of the threads, and returns when all are done. An
  /// exception of the body is thrown here, after the others have ended.
  template <class Body>
  void for_each(Index count, const Body& body) {
    if (count <= 1 || workers_.empty() || busy_.exchange(true)) {
      for (Index i = 0; i < count; ++i) body(i);
      return;
    }
    {
      const std::lock_guard lock(mutex_);
      call_ = [](const void* object, Index i) { (*static_cast<const Body*>(object))(i); };
      body_ = &body;
      count_ = count;
      next_.store(0, std::memory_order_relaxed);
      pending_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
      failure_ = nullptr;
      round_.fetch_add(1, std::memory_order_release);
    }
    start_.notify_all();
    run();
    yield_until([this] { return pending_.load(std::memory_order_acquire) == 0; });
    std::exception_ptr failure;
    {
      std::unique_lock lock(mutex_);
      done_.wait(lock, [this] { return pending_.load(std::memory_order_relaxed) == 0; });
      failure = std::exchange(failure_, nullptr);
    }
    busy_.store(false);
    if (failure) std::rethrow_exception(failure);
  }

  /// Splits [0, total) into one contiguous range a thread, each a multiple of `grain` long but for the last,
  /// and calls `body(begin, end)` for each that is not empty.
  template <class Body>
  void for_ranges(Index total, Index grain, const Body& body) {
    const Index grains = (total + grain - 1) / grain;
    const Index parts = std::min<Index>(count(), grains);
    if (parts <= 1) {
      if (total > 0) body(Index{0}, total);
      return;
    }
    for_each(parts, [&](Index i) {
      const Index begin = grains * i / parts * grain, end = std::min(total, grains * (i + 1) / parts * grain);
      if (begin < end) body(begin, end);
    });
  }

 private:
  void run() {
    for (Index i = next_.fetch_add(1); i < count_; i = next_.fetch_add(1)) {
      try {
        call_(body_, i);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (!failure_) failure_ = std::current_exception();
      }
    }
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stop_.store(true, std::memory_order_relaxed);
    }
    start_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  void work() {
    std::uint64_t seen = 0;
    const auto called = [&] {
      return stop_.load(std::memory_order_relaxed) || round_.load(std::memory_order_acquire) != seen;
    };
    for (;;) {
      yield_until(called);
      {
        std::unique_lock lock(mutex_);
        start_.wait(lock, called);
        if (stop_.load(std::memory_order_relaxed)) return;
        seen = round_.load(std::memory_order_relaxed);
      }
      run();
      const std::lock_guard lock(mutex_);
      if (pending_.fetch_sub(1, std::memory_order_release) == 1) done_.notify_one();
    }
  }

  template <class Condition>
  static void yield_until(const Condition& holds) {
    const auto begin = std::chrono::steady_clock::now();
    while (!holds() && std::chrono::steady_clock::now() - begin < patience) std::this_thread::yield();
  }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable start_, done_;
  void (*call_)(const void*, Index) = nullptr;
  const void* body_ = nullptr;
  Index count_ = 0;
  std::atomic<Index> next_{0};
  std::atomic<int> pending_{0};
  std::atomic<std::uint64_t> round_{0};
  std::exception_ptr failure_;
  std::atomic<bool> busy_{false};
  std::atomic<bool> stop_{false};
};

}  // namespace eso
