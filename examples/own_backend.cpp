// SPDX-License-Identifier: MIT
// A backend of one's own: the smallest language model there is, and what the library asks of it.
//
// Its laws are checked first, as the backends of the library have theirs checked, then it is fine-tuned with
// ESO. In a build folder: examples/own_backend_example.
#include <eso/eso.hpp>
#include <eso/testing/laws.hpp>

/// Knows only the token before: row i of `table` holds the logits of what follows token i.
class Bigram {
 public:
  explicit Bigram(eso::Index vocabulary)
      : size_(vocabulary), table_(eso::RowMatrix<double>::Zero(size_, size_)), gradient_(table_) {
    for (eso::Index i = 0; i < table_.size(); ++i)
      table_.data()[i] = eso::normal({.seed = 7}, static_cast<std::uint64_t>(i));
  }

  // --- LogProbModel: two operations and the parameters ---

  eso::LogProbs log_probs(const eso::Batch& batch) {
    eso::check(batch, size_, context_length(),
               "Bigram::log_probs");  // the laws ask for errors on bad batches
    last_ = batch;                    // backward belongs to it
    ready_ = true;
    logp_ = eso::LogProbs::Zero(batch.response_count(), batch.longest());
    each_token([&](eso::Index n, eso::Index t, eso::TokenId before, eso::TokenId token) {
      logp_(n, t) = std::log(softmax(before)(token));
    });
    return logp_;
  }

  void backward(const eso::LogProbs& d_logp) {
    eso::require(ready_ && d_logp.rows() == logp_.rows() && d_logp.cols() == logp_.cols(), "Bigram::backward",
                 "needs the shape of the last log_probs");
    each_token([&](eso::Index n, eso::Index t, eso::TokenId before, eso::TokenId token) {
      gradient_.row(before) -= d_logp(n, t) * softmax(before);
      gradient_(before, token) += d_logp(n, t);
    });
  }

  /// Name, shape, values, gradients, size, and whether weight decay applies: to matrices, not to biases.
  eso::ParameterList<double> parameters() {
    return {{"table", {size_, size_}, table_.data(), gradient_.data(), table_.size(), true}};
  }

  // --- Generator: what may follow, for each of several texts ---

  class Decoding {
   public:
    Decoding(const Bigram& model, std::span<const eso::Prompt> prompts) : model_(&model) {
      eso::Tokens last;
      for (const eso::Prompt& prompt : prompts) {
        eso::Batch one;
        one.prompts = {prompt};
        eso::check(one, model.size_, model.context_length(), "Bigram::decode");
        last.push_back(prompt.tokens.back());
        lengths_.push_back(static_cast<eso::Index>(prompt.tokens.size()));
      }
      look_up(last);
    }
    const eso::RowMatrix<double>& logits() const { return logits_; }
    void advance(std::span<const eso::Index> parents, std::span<const eso::TokenId> tokens) {
      eso::require(parents.size() == tokens.size(), "Bigram::advance", "needs a token for each parent");
      std::vector<eso::Index> lengths;
      for (std::size_t i = 0; i < parents.size(); ++i) {
        eso::require(parents[i] >= 0 && parents[i] < logits_.rows(), "Bigram::advance", "a parent is no row");
        eso::require(tokens[i] >= 0 && tokens[i] < model_->size_, "Bigram::advance",
                     "a token is outside the vocabulary");
        lengths.push_back(lengths_[static_cast<std::size_t>(parents[i])] + 1);
        eso::require(lengths.back() <= model_->context_length(), "Bigram::advance", "the context is full");
      }
      lengths_ = std::move(lengths);
      look_up({tokens.begin(), tokens.end()});
    }

   private:
    void look_up(const eso::Tokens& last) {
      logits_.resize(static_cast<eso::Index>(last.size()), model_->size_);
      for (std::size_t i = 0; i < last.size(); ++i)
        logits_.row(static_cast<eso::Index>(i)) = model_->table_.row(last[i]);
    }
    const Bigram* model_;
    std::vector<eso::Index> lengths_;
    eso::RowMatrix<double> logits_;
  };

  Decoding decode(std::span<const eso::Prompt> prompts) const { return {*this, prompts}; }
  bool is_end(eso::TokenId id) const { return id == 0; }
  eso::Index context_length() const { return 16; }

 private:
  Eigen::RowVectorXd softmax(eso::TokenId before) const {
    const auto row = table_.row(before).array();
    const Eigen::ArrayXd weights = (row - row.maxCoeff()).exp().transpose();
    return (weights / weights.sum()).matrix().transpose();
  }
  template <class Body>
  void each_token(const Body& body) const {
    for (eso::Index n = 0; n < last_.response_count(); ++n) {
      const eso::Response& response = last_.response(n);
      eso::TokenId before = last_.prompts[static_cast<std::size_t>(response.prompt)].tokens.back();
      for (std::size_t t = 0; t < response.tokens.size(); ++t) {
        body(n, static_cast<eso::Index>(t), before, response.tokens[t]);
        before = response.tokens[t];
      }
    }
  }

  eso::Index size_;
  eso::RowMatrix<double> table_, gradient_;
  eso::Batch last_;
  bool ready_ = false;
  eso::LogProbs logp_;
};

int main() {
  Bigram model(8);
  const eso::testing::LawReport laws =
      eso::testing::check_log_prob_model(model, {.vocabulary = 8, .context = 16});
  const eso::testing::LawReport decoding =
      eso::testing::check_generator(model, {.vocabulary = 8, .context = 16});
  fmt::print("{}{}", laws.text(), decoding.text());

  std::vector<eso::Example> examples;
  for (eso::TokenId word = 1; word < 8; ++word)
    examples.push_back({.prompt = {word}, .target = {word, 0}, .number = word});
  const auto counts_up = [](const eso::Response& answer, const eso::Example& example) {
    eso::TokenId before = example.prompt[0];
    double good = 0;
    for (const eso::TokenId token : answer.tokens) good += token == (before + 1) % 8, before = token;
    return good / static_cast<double>(answer.tokens.size());
  };
  eso::Temperatures sampler{1, 1, 1, 1};
  sampler.max_tokens = 6;
  eso::Trainer trainer{model, sampler, counts_up, eso::EsoLoss{}, eso::AdamW{.weight_decay = 0}};
  trainer.epochs = 200;
  trainer.schedule = {.peak = 0.05};
  for (const eso::Step& step : trainer.run(examples)) {
    if (step.number % 50 == 0) fmt::print("step {:3}  reward {:.2f}\n", step.number, step.reward);
  }
  return laws.passed() && decoding.passed() ? 0 : 1;
}
