// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "program.hpp"

namespace eso_program {

/// `seconds` as `1:02:03` or `2:03`.
inline std::string clock_text(double seconds) {
  const auto s = static_cast<std::int64_t>(seconds + 0.5);
  return s >= 3600 ? fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
                   : fmt::format("{}:{:02}", s / 60, s % 60);
}

/// Progress on standard error: a bar with the time left that is drawn again in place on a terminal, plain
/// lines now and then elsewhere.
class Progress {
 public:
  /// `title` stands before each line; `plain_every` steps between the plain lines, 0 for none.
  Progress(std::string title, std::int64_t total, std::int64_t done, std::int64_t plain_every)
      : title_(eso::printable(title)),
        total_(total),
        first_(done),
        plain_every_(plain_every),
        terminal_(::isatty(2) == 1) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { clear(); }

  /// `done` steps are done; `news` follows the bar.
  void show(std::int64_t done, std::string_view news) {
    if (silent()) return;
    const std::string shown = eso::printable(news);
    const double spent = seconds();
    const double left =
        done > first_ ? spent * static_cast<double>(total_ - done) / static_cast<double>(done - first_) : 0;
    if (terminal_) {
      if (spent - drawn_at_ < 0.1 && done < total_) return;
      drawn_at_ = spent;
      constexpr int width = 24;
      const int filled = static_cast<int>(width * done / std::max<std::int64_t>(1, total_));
      std::string bar;
      for (int i = 0; i < width; ++i) bar += i < filled ? "█" : "░";
      diagnose(
          fmt::format("\r\033[K{}{} {}/{} {} left  {}", title_, bar, done, total_, clock_text(left), shown));
      drawn_ = true;
    } else if (plain_every_ > 0 && (done % plain_every_ == 0 || done == total_)) {
      diagnose(fmt::format("{}{}/{} {} left  {}\n", title_, done, total_, clock_text(left), shown));
    }
  }

  /// A line beside the bar.
  void line(std::string_view text) {
    clear();
    say("{}", text);
  }

  void clear() {
    if (drawn_) diagnose("\r\033[K");
    drawn_ = false;
  }

  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  bool terminal() const { return terminal_; }

 private:
  std::string title_;
  std::int64_t total_, first_, plain_every_;
  bool terminal_, drawn_ = false;
  double drawn_at_ = -1;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace eso_program
