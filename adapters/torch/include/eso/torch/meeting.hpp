// SPDX-License-Identifier: MIT
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "eso/error.hpp"

// How the processes of a launcher meet, and how each says that it lives. What talks to the store runs in
// threads of its own on shared data: while the process that holds the store is stopped, a call of c10d hangs.

namespace eso::torch {

/// Where a process stands among those that train together.
struct ProcessPlace {
  int rank = 0, size = 1;
  std::string address = "127.0.0.1";  ///< of the store, which the launcher holds, or rank 0
  int port = 29500;
  std::chrono::milliseconds patience{60'000};  ///< how long the others are waited for in the beginning
};

/// The numeric address that a name of this machine alone stands for; empty for all others.
inline std::string loopback_address(const std::string& address) {
  if (address == "localhost") return "127.0.0.1";
  in_addr four{};
  if (::inet_pton(AF_INET, address.c_str(), &four) == 1)
    return (ntohl(four.s_addr) >> 24U) == 127 ? address : "";
  in6_addr six{};
  return ::inet_pton(AF_INET6, address.c_str(), &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six) ? address : "";
}

/// A socket that listens on this numeric address alone. \throws Error (system) where it cannot.
inline int listen_on(const std::string& address, int port) {
  const std::string where = fmt::format("{}:{}", address, port);
  sockaddr_in four{};
  sockaddr_in6 six{};
  four.sin_family = AF_INET, six.sin6_family = AF_INET6;
  four.sin_port = six.sin6_port = htons(static_cast<std::uint16_t>(port));
  const bool is_four = ::inet_pton(AF_INET, address.c_str(), &four.sin_addr) == 1;
  if (!is_four) ::inet_pton(AF_INET6, address.c_str(), &six.sin6_addr);
  const int listener = ::socket(is_four ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0) throw system_error(where, "cannot make a socket");
  const int yes = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  const auto* const place = is_four ? reinterpret_cast<const sockaddr*>(&four)  // as POSIX wants it
                                    : reinterpret_cast<const sockaddr*>(&six);
  const auto length = static_cast<socklen_t>(is_four ? sizeof four : sizeof six);
  if (::bind(listener, place, length) != 0 || ::listen(listener, 1024) != 0) {
    const Error error = system_error(where, "cannot listen");
    ::close(listener);
    throw error;
  }
  return listener;
}

/// The processes as one of them knows them: the store, the group, and who was heard.
class Meeting {
 public:
  using Clock = std::chrono::steady_clock;

  /// What is known of another process.
  struct Seen {
    std::string count;       ///< its last beat
    std::int64_t since = 0;  ///< of `tick`
  };

  /// Meets the others. \throws std::exception if they do not come within `ProcessPlace::patience`; the group
  /// itself is then made within `grace`.
  static std::shared_ptr<Meeting> of(const ProcessPlace& place, std::chrono::milliseconds grace) {
    auto meeting = std::make_shared<Meeting>(place);
    std::packaged_task<void()> task([meeting] { meeting->meet(); });
    std::future<void> met = task.get_future();
    std::thread thread(std::move(task));
    // The thread has its own limits of time; those of c10d do not hold while a process is stopped.
    met.wait_until(meeting->deadline_ + std::chrono::milliseconds(500));
    if (meeting->all_came_) met.wait_for(grace);
    if (met.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
      thread.detach();
      throw std::runtime_error(meeting->missing());
    }
    thread.join();
    met.get();
    return meeting;
  }

  explicit Meeting(const ProcessPlace& place)
      : place_(place),
        deadline_(Clock::now() + place.patience),
        seen_(static_cast<std::size_t>(place.size)) {}

  ::c10d::ProcessGroupGloo& group() const { return *group_; }

  /// Tells the others every `beat` that this process lives, and takes down who else does, until `end`.
  void talk(std::chrono::milliseconds beat) {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, beat, [&] { return ended_; }) && !store_is_gone_) {
      lock.unlock();
      std::vector<std::string> counts;
      const bool answered = exchange_beats(counts);
      lock.lock();
      store_is_gone_ = !answered;
      heard_ = ticks_;
      for (std::size_t r = 0; r < counts.size(); ++r) {
        if (counts[r] != seen_[r].count) seen_[r] = {std::move(counts[r]), ticks_};
      }
    }
    silent_ = true;
    wake_.notify_all();
  }

  /// Waits for `beat`; false once `end` was called. A process that was stopped has not waited meanwhile, and
  /// does not take the others' silence for theirs.
  bool tick(std::chrono::milliseconds beat) {
    std::unique_lock lock(mutex_);
    ++ticks_;
    return !wake_.wait_for(lock, beat, [&] { return ended_; });
  }

  /// A process of which nothing was heard for more than `limit` ticks, or -1. Rank 0 where the store, which
  /// it or the launcher holds, is gone or does not answer.
  int missed(std::int64_t limit) const {
    const std::lock_guard lock(mutex_);
    if (ended_) return -1;
    if (store_is_gone_ || (place_.rank != 0 && ticks_ - heard_ > limit)) return 0;
    for (int r = 0; r < place_.size; ++r) {
      if (r != place_.rank && ticks_ - seen_[static_cast<std::size_t>(r)].since > limit) return r;
    }
    return -1;
  }

  /// Ends `talk` and `tick`; false where the thread that talks hangs for `patience` more.
  bool end(std::chrono::milliseconds patience) {
    std::unique_lock lock(mutex_);
    ended_ = true;
    wake_.notify_all();
    return wake_.wait_for(lock, patience, [&] { return silent_; });
  }

 private:
  static std::string key(int rank) { return fmt::format("beat/{}", rank); }

  std::chrono::milliseconds left() const {
    const auto rest = std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - Clock::now());
    return std::max(rest, std::chrono::milliseconds(1));
  }

  std::string missing() const {
    const double seconds = static_cast<double>(place_.patience.count()) / 1000;
    const int awaited = awaited_;
    if (all_came_) return "the others stopped answering";
    if (awaited == place_.rank) return fmt::format("the store did not answer within {} s", seconds);
    return fmt::format("rank {} did not come within {} s", awaited, seconds);
  }

  void meet() {
    try {
      store_ = open_store(true);
    } catch (const std::exception& error) {
      // c10d gives up a little before the deadline or a little after it.
      const bool late = std::string_view(error.what()).find("timed out") != std::string_view::npos;
      if (place_.rank != 0 && late) throw std::runtime_error(missing());
      throw;
    }
    beats_ = open_store(false);
    tell();
    for (int r = 0; r < place_.size; ++r) await(r);
    all_came_ = true;
    auto options = ::c10d::ProcessGroupGloo::Options::create();
    options->timeout = std::chrono::hours(24);  // a slow process is not dead: the beats tell them apart
    const std::string here = loopback_address(place_.address);
    options->devices.push_back(here.empty() ? ::c10d::ProcessGroupGloo::createDefaultDevice()
                                            : ::c10d::ProcessGroupGloo::createDeviceForHostname(here));
    group_ = c10::make_intrusive<::c10d::ProcessGroupGloo>(store_, place_.rank, place_.size, options);
    group_->barrier()->wait();
  }

  /// A connection of its own to the store, which the launcher holds, or rank 0.
  c10::intrusive_ptr<::c10d::Store> open_store(bool may_serve) const {
    const char* const agent = std::getenv("TORCHELASTIC_USE_AGENT_STORE");
    const char* const attempt = std::getenv("TORCHELASTIC_RESTART_COUNT");
    ::c10d::TCPStoreOptions options;
    options.port = static_cast<std::uint16_t>(place_.port);
    options.isServer =
        may_serve && place_.rank == 0 && !(agent != nullptr && std::string_view(agent) == "True");
    options.waitWorkers = false;
    options.timeout = left();
    const std::string here = loopback_address(place_.address);
    // c10d itself would listen on all addresses of the machine.
    if (options.isServer && !here.empty()) options.masterListenFd = listen_on(here, place_.port);
    return c10::make_intrusive<::c10d::PrefixStore>(
        fmt::format("eso/{}", attempt ? attempt : "0"),
        c10::make_intrusive<::c10d::TCPStore>(here.empty() ? place_.address : here, options));
  }

  /// Gloo would wait for a process that never comes as long as for a slow one.
  void await(int rank) {
    awaited_ = rank;
    try {
      beats_->wait({key(rank)}, left());
    } catch (const std::exception&) {
      throw std::runtime_error(missing());
    }
  }

  void tell() {
    const std::string text = std::to_string(++count_);
    beats_->set(key(place_.rank), std::vector<std::uint8_t>(text.begin(), text.end()));
  }

  /// False where the store is gone.
  bool exchange_beats(std::vector<std::string>& counts) {
    try {
      tell();
      for (int r = 0; r < place_.size; ++r) {
        const std::vector<std::uint8_t> value = beats_->get(key(r));
        counts.emplace_back(value.begin(), value.end());
      }
    } catch (const std::exception&) {
      return false;
    }
    return true;
  }

  const ProcessPlace place_;
  const Clock::time_point deadline_;
  c10::intrusive_ptr<::c10d::Store> store_, beats_;
  c10::intrusive_ptr<::c10d::ProcessGroupGloo> group_;
  std::atomic<int> awaited_ = 0;
  std::atomic<bool> all_came_ = false;
  std::int64_t count_ = 0;  ///< beats of this process
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Seen> seen_;
  std::int64_t ticks_ = 0, heard_ = 0;
  bool store_is_gone_ = false, ended_ = false, silent_ = false;
};

}  // namespace eso::torch
