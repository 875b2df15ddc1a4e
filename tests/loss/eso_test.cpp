// SPDX-License-Identifier: MIT
#include "eso/loss/eso.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "eso/testing/loss_laws.hpp"
#include "small_batches.hpp"

using namespace eso;

namespace {

/// R = (.1, .4, .2, .5), LP = (-10, -12, -8, -20): u = .3.
SmallBatch one_prompt() {
  SmallBatch small(1);
  small.add(0, Kind::sample, {-4, -6}, .1).add(0, Kind::sample, {-12}, .4);
  small.add(0, Kind::sample, {-1, -3, -4}, .2).add(0, Kind::sample, {-15, -5}, .5);
  return small;
}

EsoLoss with_baseline(Baseline baseline) {
  EsoLoss loss;
  loss.baseline = baseline;
  return loss;
}

EsoLoss with_batch_reduce(BatchReduce reduce, double threshold) {
  EsoLoss loss;
  loss.batch_reduce = reduce;
  loss.min_mean_reward = threshold;
  return loss;
}

}  // namespace

TEST_CASE("EsoLoss by hand for one prompt", "[loss][eso]") {
  const SmallBatch small = one_prompt();
  // (u - R) = (.2, -.1, .1, -.2): .2 * -10 + -.1 * -12 + .1 * -8 + -.2 * -20 = -2 + 1.2 - .8 + 4
  CHECK(evaluate(EsoLoss{}, small).value == Approx(2.4).epsilon(1e-14));
  // times 4 / 3; divided by k = 4; both
  CHECK(evaluate(with_baseline(Baseline::leave_one_out), small).value == Approx(3.2).epsilon(1e-14));
  EsoLoss mean;
  mean.sample_reduce = SampleReduce::mean;
  CHECK(evaluate(mean, small).value == Approx(.6).epsilon(1e-14));
  // means per sequence -5, -12, -8/3, -10: -1 + 1.2 - .8/3 + 2
  EsoLoss per_token;
  per_token.token_reduce = TokenReduce::mean_seq;
  const LossResult result = evaluate(per_token, small);
  CHECK(result.value == Approx(2.2 - .8 / 3).epsilon(1e-14));
  CHECK(result.d_logp(2, 1) == Approx(.1 / 3));
  // the sample standard deviation of the rewards is sqrt((.04 + .01 + .01 + .04) / 3) = .1825742
  EsoLoss normed;
  normed.advantage_norm = AdvantageNorm::std;
  CHECK(evaluate(normed, small).value == Approx(2.4 / (std::sqrt(.1 / 3) + 1e-4)).epsilon(1e-13));
  CHECK(std::sqrt(.1 / 3) == Approx(.1825742).epsilon(1e-7));
  EsoLoss scaled;
  scaled.sigma = .5;
  CHECK(evaluate(scaled, small).value == Approx(4.8).epsilon(1e-14));
}

TEST_CASE("EsoLoss has the gradient of equation 12 at every token of a sample", "[loss][eso]") {
  const LossResult result = evaluate(EsoLoss{}, one_prompt());
  LogProbs expected(4, 3);
  expected << .2, .2, 0, -.1, 0, 0, .1, .1, .1, -.2, -.2, 0;
  CHECK((result.d_logp - expected).abs().maxCoeff() < 1e-15);
  REQUIRE(result.parts.size() == 1);
  CHECK(result.parts[0].first == "loss/eso");
  CHECK(result.parts[0].second == result.value);
}

TEST_CASE("EsoLoss with a greedy baseline by hand", "[loss][eso]") {
  SmallBatch small = one_prompt();
  small.add(0, Kind::greedy, {-3}, .4);
  // (.4 - R) = (.3, 0, .2, -.1): -3 + 0 - 1.6 + 2
  const LossResult result = evaluate(with_baseline(Baseline::greedy), small);
  CHECK(result.value == Approx(-2.6).epsilon(1e-13));
  CHECK((result.d_logp.row(4) == 0).all());  // the greedy response is no sample
  // With one sample it is DRL's sum form: r_s = .25, r_g = .4, LP = -15 in 10 tokens give (.4 - .25) * -15.
  SmallBatch drl(1);
  drl.add(0, Kind::sample, std::vector<double>(10, -1.5), .25).add(0, Kind::greedy, {-1}, .4);
  CHECK(evaluate(with_baseline(Baseline::greedy), drl).value == Approx(-2.25).epsilon(1e-14));
  EsoLoss mean = with_baseline(Baseline::greedy);
  mean.token_reduce = TokenReduce::mean_seq;
  CHECK(evaluate(mean, drl).value == Approx(-.225).epsilon(1e-14));
}

TEST_CASE("EsoLoss over two prompts by hand for every batch reduction", "[loss][eso]") {
  const SmallBatch small = two_prompts();
  // prompt 0: 2.4, u = .3; prompt 1: .05 * -5 - .05 * -6 = .05, u = .05
  CHECK(evaluate(EsoLoss{}, small).value == Approx(1.225).epsilon(1e-14));
  CHECK(evaluate(with_batch_reduce(BatchReduce::sum, 0), small).value == Approx(2.45).epsilon(1e-14));
  CHECK(evaluate(with_batch_reduce(BatchReduce::mean_kept, .1), small).value == Approx(2.4).epsilon(1e-14));
  CHECK(evaluate(with_batch_reduce(BatchReduce::mean_kept, .01), small).value ==
        Approx(1.225).epsilon(1e-14));
  CHECK(evaluate(with_batch_reduce(BatchReduce::mean_kept, .9), small).value == 0);
  CHECK(evaluate(with_batch_reduce(BatchReduce::sum_if_any_above, .1), small).value ==
        Approx(2.45).epsilon(1e-14));
  CHECK(evaluate(with_batch_reduce(BatchReduce::sum_if_any_above, .9), small).value == 0);
  SECTION("the threshold itself is not above the threshold") {
    SmallBatch exact(1);
    exact.add(0, Kind::sample, {-1}, .25).add(0, Kind::sample, {-3}, .75);  // u = .5 in binary, exactly
    CHECK(evaluate(with_batch_reduce(BatchReduce::mean_kept, .5), exact).value == 0);
    CHECK(evaluate(with_batch_reduce(BatchReduce::mean_kept, .499), exact).value == Approx(.5));
  }
  SECTION("a prompt without samples adds nothing and counts in the mean") {
    SmallBatch three(3);
    three.batch.responses = small.batch.responses;
    three.rows = small.rows;
    CHECK(evaluate(EsoLoss{}, three).value == Approx(2.45 / 3).epsilon(1e-14));
    CHECK(evaluate(with_batch_reduce(BatchReduce::mean_kept, -1), three).value ==
          Approx(1.225).epsilon(1e-14));
  }
}

TEST_CASE("EsoLoss leaves out the end of sequence where it is told to", "[loss][eso]") {
  SmallBatch small(1);  // u = .5
  small.add(0, Kind::sample, {-1, -2, -4}, .25, true).add(0, Kind::sample, {-8}, .75, false);
  small.add(0, Kind::sample, {-16}, .5, true);
  EsoLoss loss;
  CHECK(evaluate(loss, small).value == Approx(.25 * -7 + -.25 * -8));
  loss.include_eos = false;
  const LossResult result = evaluate(loss, small);
  CHECK(result.value == Approx(.25 * -3 + -.25 * -8));  // the unfinished one loses nothing
  CHECK(result.d_logp(0, 1) == .25);
  CHECK(result.d_logp(0, 2) == 0);
  loss.token_reduce = TokenReduce::mean_seq;
  small.batch.responses[2].reward = .2;  // an empty text is not 0 / 0, and moves u to .4
  CHECK(evaluate(loss, small).value == Approx(.15 * -1.5 + -.35 * -8));
}

TEST_CASE("equal rewards give exactly zero", "[loss][eso]") {
  const double reward = GENERATE(.1, .7, 1.0 / 3, 0.0, -17.3);  // 3 * .1 / 3 is not .1
  const auto baseline = GENERATE(Baseline::mean, Baseline::leave_one_out, Baseline::greedy);
  const auto norm = GENERATE(AdvantageNorm::none, AdvantageNorm::std);
  SmallBatch small(1);
  for (int k = 0; k < 3; ++k) small.add(0, Kind::sample, {-1.7, -2.3, -.1 * k}, reward);
  small.add(0, Kind::greedy, {-1}, reward);
  EsoLoss loss = with_baseline(baseline);
  loss.advantage_norm = norm;
  const LossResult result = evaluate(loss, small);
  CHECK(result.value == 0);
  CHECK((result.d_logp == 0).all());
}

TEST_CASE("EsoLoss depends on rewards only through their differences", "[loss][eso]") {
  const auto baseline = GENERATE(Baseline::mean, Baseline::leave_one_out, Baseline::greedy);
  SmallBatch small = two_prompts();
  small.add(0, Kind::greedy, {-1}, .3).add(1, Kind::greedy, {-1}, .2);
  const LossResult before = evaluate(with_baseline(baseline), small);
  for (Response& response : small.batch.responses) response.reward += 5.25;
  const LossResult after = evaluate(with_baseline(baseline), small);
  CHECK(after.value == Approx(before.value).epsilon(1e-12));
  CHECK((after.d_logp - before.d_logp).abs().maxCoeff() < 1e-14);
}

TEST_CASE("the leave-one-out baseline is the mean baseline times k / (k - 1)", "[loss][eso]") {
  const SmallBatch small = two_prompts();
  const LossResult mean = evaluate(EsoLoss{}, small);
  const LossResult others = evaluate(with_baseline(Baseline::leave_one_out), small);
  CHECK((others.d_logp - 4.0 / 3 * mean.d_logp).abs().maxCoeff() < 1e-15);
  // and is, to the letter, the distance to the mean of the others: .1 - (.4 + .2 + .5) / 3
  CHECK(advantages(small.batch, Baseline::leave_one_out)[2] == Approx(.1 - 1.1 / 3).epsilon(1e-14));
}

TEST_CASE("advantages are those of the samples and add up to zero for each prompt", "[loss][eso]") {
  const SmallBatch small = two_prompts();
  const std::vector<double> a = advantages(small.batch);
  REQUIRE(a.size() == 10);
  const std::vector<double> expected{0, 0, -.2, .1, -.1, .2, -.05, .05, 0, 0};
  for (std::size_t n = 0; n < a.size(); ++n) CHECK(a[n] == Approx(expected[n]).margin(1e-15));
  CHECK(a[2] + a[3] + a[4] + a[5] == Approx(0).margin(1e-15));
  const std::vector<double> normed = advantages(small.batch, Baseline::mean, AdvantageNorm::std);
  // prompt 1: squares .0025 + .0025, divided by 3
  CHECK(normed[7] == Approx(.05 / (std::sqrt(.005 / 3) + 1e-4)).epsilon(1e-13));
}

TEST_CASE("with a softmax the gradient at a token is (u - R) (onehot - softmax)", "[loss][eso]") {
  // One prompt, two samples of one token out of three, logits z shared: LP_j = z(a_j) - logsumexp(z).
  const std::vector<double> z{.3, -1.2, .8};
  const auto logp_at = [](const std::vector<double>& logits, std::size_t token) {
    double sum = 0;
    for (const double logit : logits) sum += std::exp(logit);
    return logits[token] - std::log(sum);
  };
  const std::vector<std::size_t> drawn{0, 2};
  const std::vector<double> rewards{.9, .3};  // u = .6
  const auto value_at = [&](const std::vector<double>& logits) {
    SmallBatch small(1);
    for (std::size_t j = 0; j < 2; ++j) small.add(0, Kind::sample, {logp_at(logits, drawn[j])}, rewards[j]);
    return evaluate(EsoLoss{}, small).value;
  };
  for (std::size_t v = 0; v < 3; ++v) {
    double expected = 0;
    for (std::size_t j = 0; j < 2; ++j) {
      expected += (.6 - rewards[j]) * ((drawn[j] == v ? 1 : 0) - std::exp(logp_at(z, v)));
    }
    std::vector<double> ahead = z, behind = z;
    ahead[v] += 1e-5, behind[v] -= 1e-5;
    CHECK((value_at(ahead) - value_at(behind)) / 2e-5 == Approx(expected).margin(1e-9));
  }
}

TEST_CASE("EsoLoss equals its golden values from PyTorch for every combination", "[loss][eso]") {
  const std::map<std::string, Baseline> baselines{
      {"mean", Baseline::mean}, {"leave_one_out", Baseline::leave_one_out}, {"greedy", Baseline::greedy}};
  const std::map<std::string, BatchReduce> reduces{{"mean", BatchReduce::mean},
                                                   {"sum", BatchReduce::sum},
                                                   {"mean_kept", BatchReduce::mean_kept},
                                                   {"sum_if_any_above", BatchReduce::sum_if_any_above}};
  REQUIRE(golden_losses().at("eso").size() == 576);
  for (const auto& entry : golden_losses().at("eso")) {
    const auto& options = entry.at("options");
    EsoLoss loss;
    loss.baseline = baselines.at(options[0].get<std::string>());
    loss.advantage_norm = options[1] == "std" ? AdvantageNorm::std : AdvantageNorm::none;
    loss.token_reduce = options[2] == "sum" ? TokenReduce::sum : TokenReduce::mean_seq;
    loss.sample_reduce = options[3] == "sum" ? SampleReduce::sum : SampleReduce::mean;
    loss.batch_reduce = reduces.at(options[4].get<std::string>());
    loss.min_mean_reward = options[5].get<double>();
    loss.include_eos = options[6].get<bool>();
    check_golden(loss, entry);
  }
}

TEST_CASE("EsoLoss obeys the laws of a loss with every option", "[loss][eso][laws]") {
  EsoLoss loss;
  loss.baseline = GENERATE(Baseline::mean, Baseline::leave_one_out, Baseline::greedy);
  loss.batch_reduce =
      GENERATE(BatchReduce::mean, BatchReduce::sum, BatchReduce::mean_kept, BatchReduce::sum_if_any_above);
  loss.token_reduce = GENERATE(TokenReduce::sum, TokenReduce::mean_seq);
  loss.include_eos = loss.token_reduce == TokenReduce::sum;
  loss.sample_reduce = loss.include_eos ? SampleReduce::sum : SampleReduce::mean;
  loss.advantage_norm = loss.include_eos ? AdvantageNorm::none : AdvantageNorm::std;
  loss.min_mean_reward = .4;  // some prompts above, some below
  const testing::LawReport report = testing::check_loss(loss, {.batches = 2});
  INFO(report.text());
  CHECK(report.passed());
}

TEST_CASE("EsoLoss names the prompt whose samples or rewards do not serve", "[loss][eso]") {
  const auto message = [](const EsoLoss& loss, const SmallBatch& small) {
    return message_of([&] { evaluate(loss, small); });
  };
  SmallBatch single(2);
  single.add(1, Kind::sample, {-1}, .5);
  CHECK(evaluate(EsoLoss{}, single).value == 0);  // it is its own mean
  CHECK(message(with_baseline(Baseline::leave_one_out), single) ==
        "EsoLoss: prompt 1 has 1 sample, expected at least 2");
  CHECK(message(with_baseline(Baseline::greedy), single) ==
        "EsoLoss: prompt 1 has 0 greedy responses, expected 1");
  single.add(1, Kind::greedy, {-1}, .25);
  CHECK(evaluate(with_baseline(Baseline::greedy), single).value == Approx(.25 / 2));  // -(.5 - .25) * -1 / 2
  EsoLoss normed = with_baseline(Baseline::greedy);
  normed.advantage_norm = AdvantageNorm::std;
  CHECK(message(normed, single) == "EsoLoss: prompt 1 has 1 sample, expected at least 2");
  single.add(1, Kind::sample, {-2}, .5);  // no spread to divide by: nothing to learn, not everything
  CHECK(evaluate(normed, single).value == 0);
  SmallBatch unscored = two_prompts();
  unscored.batch.responses[8].reward = std::numeric_limits<double>::quiet_NaN();
  CHECK(message(EsoLoss{}, unscored) ==
        "finite_reward: prompt 1, sample 2 has no finite reward, found nan, expected a number");
  unscored.batch.responses[8].reward = -std::numeric_limits<double>::infinity();
  CHECK(message(EsoLoss{}, unscored) ==
        "finite_reward: prompt 1, sample 2 has no finite reward, found -inf, expected a number");
  SmallBatch greedy = one_prompt();
  greedy.add(0, Kind::greedy, {-1}, std::numeric_limits<double>::quiet_NaN());
  CHECK(message(with_baseline(Baseline::greedy), greedy) ==
        "finite_reward: prompt 0, greedy response 0 has no finite reward, found nan, expected a number");
}

TEST_CASE("EsoLoss refuses totals that do not cover the batch and options without a meaning", "[loss][eso]") {
  const SmallBatch small = two_prompts();
  CHECK(message_of([&] { EsoLoss{}(small.batch, small.logp(), Totals{}); }) ==
        "EsoLoss: totals count no prompts, found 0, expected totals_of(loss, batch) of the whole step");
  for (const auto reduce : {BatchReduce::mean_kept, BatchReduce::sum_if_any_above}) {
    const EsoLoss loss = with_batch_reduce(reduce, .1);
    CHECK(
        message_of([&] { loss(small.batch, small.logp(), Totals::of(small.batch)); }) ==
        "EsoLoss: totals count no kept prompts, found 0, expected totals_of(loss, batch) of the whole step");
  }
  EsoLoss loss;
  loss.sigma = 0;
  CHECK(message_of([&] { evaluate(loss, small); }) ==
        "EsoLoss: sigma is out of range, found 0, expected a number above 0");
  loss = with_batch_reduce(BatchReduce::mean_kept, std::nan(""));
  CHECK(message_of([&] { evaluate(loss, small); }) == "EsoLoss: min_mean_reward is not a number");
  CHECK(message_of([&] { EsoLoss{}(small.batch, LogProbs::Zero(3, 4), Totals::of(small.batch)); }) ==
        "EsoLoss: log-probabilities have the wrong shape, found (3, 4), expected (10, 4)");
}

TEST_CASE("the prompts above the threshold are counted over the whole step", "[loss][eso]") {
  const SmallBatch small = two_prompts();  // u = .3 and .05
  const auto kept = [&](double threshold) {
    return totals_of(with_batch_reduce(BatchReduce::mean_kept, threshold), small.batch).kept_prompts;
  };
  CHECK(kept(.5) == 0);
  CHECK(kept(.1) == 1);
  CHECK(kept(.01) == 2);
  Totals parts;
  for (Index p = 0; p < 2; ++p)
    with_batch_reduce(BatchReduce::mean_kept, .1).count(part(small.batch, p, 1), parts);
  CHECK(parts.kept_prompts == 1);
}

TEST_CASE("EsoLoss over the mean length of the step's samples: by hand, from PyTorch, and by the laws",
          "[loss][eso]") {
  EsoLoss loss;
  loss.token_reduce = TokenReduce::mean_batch;
  // 2.4 over (2 + 1 + 3 + 2) / 4 tokens
  CHECK(evaluate(loss, one_prompt()).value == Approx(1.2).epsilon(1e-14));
  for (const auto& entry : golden_methods().at("eso_mean_batch")) check_golden_method(loss, entry);
  const testing::LawReport report = testing::check_loss(loss);
  INFO(report.text());
  CHECK(report.passed());
  const SmallBatch small = one_prompt();
  CHECK(
      message_of([&] { loss(small.batch, small.logp(), Totals{.prompts = 1}); }) ==
      "EsoLoss: totals count no sampled tokens, found 0, expected totals_of(loss, batch) of the whole step");
}
