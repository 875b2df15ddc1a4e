// SPDX-License-Identifier: MIT
#include "eso/concepts.hpp"

#include <catch2/catch.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eso/loss/combined.hpp"
#include "eso/loss/eso.hpp"
#include "eso/loss/sft.hpp"
#include "eso/loss/totals.hpp"
#include "eso/testing/laws.hpp"

// The least that models each concept, and what lacks one thing and is refused. Compiling is passing; the last
// test runs the library's own parts with nothing but such types.

using namespace eso;

namespace {

struct LeastTokenizer {
  Tokens encode(std::string_view) const { return {}; }
  std::string decode(std::span<const TokenId>, bool) const { return {}; }
  Index vocabulary_size() const { return 1; }
};
struct TokenizerThatChanges : LeastTokenizer {
  Tokens encode(std::string_view) { return {}; }  // not const: not callable from several threads
};
struct TokenizerWithoutSpecial {
  Tokens encode(std::string_view) const { return {}; }
  std::string decode(std::span<const TokenId>) const { return {}; }
  Index vocabulary_size() const { return 1; }
};
static_assert(Tokenizer<LeastTokenizer>);
static_assert(!Tokenizer<TokenizerThatChanges>);
static_assert(!Tokenizer<TokenizerWithoutSpecial>);
static_assert(!Tokenizer<int>);

struct LeastDecoding {
  Eigen::Matrix<float, -1, -1, Eigen::RowMajor> table =
      Eigen::Matrix<float, -1, -1, Eigen::RowMajor>::Zero(1, 2);
  const Eigen::Matrix<float, -1, -1, Eigen::RowMajor>& logits() { return table; }
  void advance(std::span<const Index> parents, std::span<const TokenId>) {
    table.setZero(static_cast<Index>(parents.size()), 2);
  }
};
struct DecodingThatAnswers : LeastDecoding {
  bool advance(std::span<const Index>, std::span<const TokenId>) { return true; }
};
struct DecodingWithoutParents : LeastDecoding {
  void advance(std::span<const TokenId>) {}
};
struct DecodingOfVectors {
  std::vector<double> logits() { return {}; }
  void advance(std::span<const Index>, std::span<const TokenId>) {}
};
static_assert(Decoding<LeastDecoding>);
static_assert(!Decoding<DecodingThatAnswers>);
static_assert(!Decoding<DecodingWithoutParents>);
static_assert(!Decoding<DecodingOfVectors>);

struct LeastGenerator {
  LeastDecoding decode(std::span<const Prompt> prompts) {
    LeastDecoding decoding;
    decoding.table.setZero(static_cast<Index>(prompts.size()), 2);
    return decoding;
  }
  bool is_end(TokenId id) { return id == 0; }
  Index context_length() { return 4; }
};
struct GeneratorWithoutEnd {
  LeastDecoding decode(std::span<const Prompt>) { return {}; }
  Index context_length() { return 4; }
};
struct GeneratorWithoutContext {
  LeastDecoding decode(std::span<const Prompt>) { return {}; }
  bool is_end(TokenId id) { return id == 0; }
};
struct GeneratorOfNothing : LeastGenerator {
  int decode(std::span<const Prompt>) { return 0; }
};
static_assert(Generator<LeastGenerator>);
static_assert(Generator<testing::TabularModel>);
static_assert(!Generator<GeneratorWithoutEnd>);
static_assert(!Generator<GeneratorWithoutContext>);
static_assert(!Generator<GeneratorOfNothing>);

struct LeastSampler {
  std::vector<Response> operator()(LeastGenerator&, std::span<const Prompt>, StepSeed) const { return {}; }
};
struct SamplerWithState {
  std::vector<Response> operator()(LeastGenerator&, std::span<const Prompt>, StepSeed) { return {}; }
};
struct SamplerWithoutSeed {
  std::vector<Response> operator()(LeastGenerator&, std::span<const Prompt>) const { return {}; }
};
struct SamplerOfTexts {
  std::vector<Tokens> operator()(LeastGenerator&, std::span<const Prompt>, StepSeed) const { return {}; }
};
static_assert(Sampler<LeastSampler, LeastGenerator>);
static_assert(!Sampler<LeastSampler, testing::TabularModel>);  // of another generator
static_assert(!Sampler<LeastSampler, int>);
static_assert(!Sampler<SamplerWithState, LeastGenerator>);
static_assert(!Sampler<SamplerWithoutSeed, LeastGenerator>);
static_assert(!Sampler<SamplerOfTexts, LeastGenerator>);

struct RewardOfOne {
  double operator()(const Response&, const Example&) const { return 1; }
};
struct RewardOfMany {
  std::vector<double> operator()(std::span<const Response* const> responses,
                                 std::span<const Example* const>) const {
    return std::vector<double>(responses.size(), 1.0);
  }
};
struct RewardInWords {
  std::string operator()(const Response&, const Example&) const { return "good"; }
};
struct RewardWithState {
  double operator()(const Response&, const Example&) { return 1; }
};
struct RewardOfText {
  double operator()(const std::string&, const std::string&) const { return 1; }
};
static_assert(Reward<RewardOfOne>);
static_assert(Reward<RewardOfMany>);
static_assert(Reward<double (*)(const Response&, const Example&)>);
static_assert(!Reward<RewardInWords>);
static_assert(!Reward<RewardWithState>);
static_assert(!Reward<RewardOfText>);

struct LeastLoss {
  LossResult operator()(const Batch&, const LogProbs& logp, const Totals&) const {
    return {logp.sum(), LogProbs::Ones(logp.rows(), logp.cols()), {}};
  }
  Reads reads() const {
    return {.targets = true, .samples = true, .greedy = true, .pairs = true, .reference = true, .old = true};
  }
};
struct LossThatSaysNothing {
  LossResult operator()(const Batch&, const LogProbs&, const Totals&) const { return {}; }
};
struct LossThatCounts {
  LossResult operator()(const Batch&, const LogProbs&) const { return {}; }
  Reads reads() const { return {}; }
};
struct LossWithState {
  LossResult operator()(const Batch&, const LogProbs&, const Totals&) { return {}; }
  Reads reads() const { return {}; }
};
struct LossOfAnything {
  double operator()(const Batch&, const LogProbs&, const Totals&) const { return 0; }
  Reads reads() const { return {}; }
};
static_assert(Loss<LeastLoss>);
static_assert(Loss<SftLoss>);
static_assert(Loss<EsoLoss>);
static_assert(Loss<Combined<SftLoss, EsoLoss>>);
static_assert(Loss<Combined<Combined<SftLoss, EsoLoss>, LeastLoss>>);
static_assert(!Loss<LossThatSaysNothing>);
static_assert(!Loss<LossThatCounts>);
static_assert(!Loss<LossWithState>);
static_assert(!Loss<LossOfAnything>);
static_assert(!Loss<testing::TabularModel>);

template <class Left, class Right>
concept Combines = requires { typename Combined<Left, Right>; };
static_assert(Combines<SftLoss, LeastLoss>);
static_assert(!Combines<SftLoss, LossOfAnything>);

/// A list of arrays that is not in host memory has functions of its own, found beside it.
struct FarParameters {};
inline double global_norm(const FarParameters&) { return 0; }
inline void zero_gradients(const FarParameters&) {}

struct LeastModel {
  LogProbs log_probs(const Batch& batch) { return LogProbs::Zero(batch.response_count(), batch.longest()); }
  void backward(const LogProbs&) {}
  FarParameters parameters() { return {}; }
};
struct ModelWithoutBackward {
  LogProbs log_probs(const Batch&) { return {}; }
  FarParameters parameters() { return {}; }
};
struct ModelThatReturnsGradients : LeastModel {
  LogProbs backward(const LogProbs&) { return {}; }
};
struct ModelWithoutParameters {
  LogProbs log_probs(const Batch&) { return {}; }
  void backward(const LogProbs&) {}
};
struct ModelOfUnknownParameters : LeastModel {
  std::vector<double> parameters() { return {}; }
};
static_assert(LogProbModel<LeastModel>);
static_assert(LogProbModel<testing::TabularModel>);
static_assert(!LogProbModel<ModelWithoutBackward>);
static_assert(!LogProbModel<ModelThatReturnsGradients>);
static_assert(!LogProbModel<ModelWithoutParameters>);
static_assert(!LogProbModel<ModelOfUnknownParameters>);

struct LeastOptimizer {
  void update(const FarParameters&, double, double) {}
};
struct OptimizerWithoutScale {
  void update(const FarParameters&, double) {}
};
static_assert(Optimizer<LeastOptimizer, LeastModel>);
static_assert(!Optimizer<LeastOptimizer, testing::TabularModel>);  // of other parameters
static_assert(!Optimizer<LeastOptimizer, ModelWithoutBackward>);
static_assert(!Optimizer<OptimizerWithoutScale, LeastModel>);

struct LeastCheckpoint {
  std::vector<TensorView> state() const { return {}; }
  void load_state(const TensorLookup&) {}
};
struct CheckpointThatChanges {
  std::vector<TensorView> state() { return {}; }
  void load_state(const TensorLookup&) {}
};
struct CheckpointWithoutReturn {
  std::vector<TensorView> state() const { return {}; }
};
static_assert(Checkpointable<LeastCheckpoint>);
static_assert(Checkpointable<testing::TabularModel>);
static_assert(!Checkpointable<CheckpointThatChanges>);
static_assert(!Checkpointable<CheckpointWithoutReturn>);

struct LeastObserver {
  void operator()(const Step&) {}
};
struct ObserverThatAnswers {
  bool operator()(const Step&) { return true; }
};
static_assert(Observer<LeastObserver>);
static_assert(!Observer<ObserverThatAnswers>);

}  // namespace

TEST_CASE("the law suite takes what the concepts ask for and no more", "[concepts]") {
  // LeastLoss breaks laws (it reads beyond the lengths), but it is a loss: the suite must compile and say so.
  const testing::LawReport report = testing::check_loss(LeastLoss{});
  CHECK(report.violates("lengths"));
  CHECK_FALSE(report.violates("order"));
}

TEST_CASE("a combination needs nothing of its losses but that they are losses", "[concepts]") {
  const Combined loss{LeastLoss{}, 2.0, LeastLoss{}};
  Batch batch = testing::one_text({1}, {1, 2});
  LogProbs logp(1, 2);
  logp << -1, -2;
  const LossResult result = loss(batch, logp, totals_of(loss, batch));
  CHECK(result.value == -9);
  CHECK((result.d_logp == 3).all());
  CHECK(totals_of(LeastLoss{}, batch).prompts == 1);
}

TEST_CASE("a list of parameters that lies elsewhere brings its own functions", "[concepts]") {
  LeastModel model;
  zero_gradients(model.parameters());
  CHECK(global_norm(model.parameters()) == 0);
}
