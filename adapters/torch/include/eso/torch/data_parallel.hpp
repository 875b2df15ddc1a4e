// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "eso/torch/decoder.hpp"
#include "eso/torch/process_group.hpp"
#include "eso/train/communicator.hpp"

namespace eso::torch {

/// A decoder of which each process computes its share of every batch, and gets the log-probabilities of all:
/// the trainer and the loss see one model, and its gradients are those of the whole batch.
///
/// The gradients of the shares are added up once a step, when `parameters()` is first asked for after
/// `backward`, in pieces of about 128 MiB: by NCCL where all processes have a GPU of their own, else through
/// host memory.
class DataParallel {
 public:
  DataParallel(Decoder& decoder, std::shared_ptr<ProcessGroup> group)
      : decoder_(decoder), group_(std::move(group)) {}

  LogProbs log_probs(const Batch& batch) {
    return of_all(batch, [&](const Batch& own) { return decoder_.log_probs(own); });
  }
  LogProbs log_probs(const Batch& batch, StepSeed seed) {
    return of_all(batch, [&](const Batch& own) { return decoder_.log_probs(own, seed); });
  }

  void backward(const LogProbs& d_logp) {
    require(ready_ && d_logp.rows() == shape_.first && d_logp.cols() == shape_.second,
            "torch::DataParallel::backward", "needs the shape of the last log_probs");
    ready_ = false;
    pending_ = true;
    // What was added up already counts once: rank 0 keeps it.
    if (std::exchange(summed_, false) && group_->rank() > 0) zero_gradients(decoder_.parameters());
    if (rows_.empty()) return;
    decoder_.backward(d_logp(rows_, Eigen::seqN(0, longest_)));
  }

  /// The same on all processes once this returns.
  ParameterList parameters() {
    ParameterList list = decoder_.parameters();
    if (pending_) {
      add_up(list);
      summed_ = true;
    }
    pending_ = false;
    return list;
  }

 private:
  template <class Compute>
  LogProbs of_all(const Batch& batch, const Compute& compute) {
    ready_ = false;
    check(batch, decoder_.vocabulary_size(), decoder_.context_length(), "torch::DataParallel::log_probs");
    std::vector<std::vector<Index>> rows(static_cast<std::size_t>(group_->size()));
    for (int r = 0; r < group_->size(); ++r) {
      const Share share = share_of(batch.prompt_count(), r, group_->size());
      for (Index n = 0; n < batch.response_count(); ++n) {
        const Index p = batch.response(n).prompt;
        if (p >= share.first && p < share.first + share.count) rows[static_cast<std::size_t>(r)].push_back(n);
      }
    }
    const Share own = share_of(batch.prompt_count(), group_->rank(), group_->size());
    rows_ = rows[static_cast<std::size_t>(group_->rank())];
    std::string bytes;
    if (!rows_.empty()) {
      const LogProbs logp = compute(part(batch, own.first, own.count));
      longest_ = logp.cols();
      bytes.assign(reinterpret_cast<const char*>(logp.data()),
                   static_cast<std::size_t>(logp.size()) * sizeof(double));
    }
    const std::vector<std::string> all = group_->exchange(bytes);
    LogProbs result = LogProbs::Zero(batch.response_count(), batch.longest());
    for (std::size_t r = 0; r < all.size(); ++r) {
      if (rows[r].empty()) continue;
      const auto count = static_cast<Index>(rows[r].size());
      const auto columns = static_cast<Index>(all[r].size() / sizeof(double)) / count;
      LogProbs from(count, columns);
      std::memcpy(from.data(), all[r].data(), all[r].size());
      result(rows[r], Eigen::seqN(0, columns)) = from;
    }
    shape_ = {result.rows(), result.cols()};
    ready_ = true;
    return result;
  }

  void add_up(const ParameterList& list) const {
    const c10::NoGradGuard no_grad;
    constexpr std::int64_t most = std::int64_t{32} << 20;
    std::vector<at::Tensor> pieces;
    std::int64_t numbers = 0;
    const auto send = [&] {
      if (pieces.empty()) return;
      std::vector<at::Tensor> flat;
      for (const at::Tensor& piece : pieces) flat.push_back(piece.reshape(-1));
      const at::Tensor all = at::cat(flat);
      group_->sum(all);
      std::int64_t begin = 0;
      for (const at::Tensor& piece : pieces) {
        piece.copy_(all.narrow(0, begin, piece.numel()).view(piece.sizes()));
        begin += piece.numel();
      }
      pieces.clear();
      numbers = 0;
    };
    for (const Parameter& parameter : list) {
      at::Tensor leaf = parameter.leaf;
      if (!leaf.grad().defined()) leaf.mutable_grad() = at::zeros_like(leaf);
      pieces.push_back(parameter.gradient());
      numbers += pieces.back().numel();
      if (numbers >= most) send();
    }
    send();
  }

  Decoder& decoder_;
  std::shared_ptr<ProcessGroup> group_;
  bool ready_ = false, pending_ = false;
  bool summed_ = false;  ///< the gradients are those of all processes
  std::pair<Index, Index> shape_ = {0, 0};
  std::vector<Index> rows_;
  Index longest_ = 0;
};

}  // namespace eso::torch
