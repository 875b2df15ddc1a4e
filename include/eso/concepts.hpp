// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "eso/data/example.hpp"
#include "eso/tensor.hpp"

// The concepts of the library, in the order in which data flows through them. Only the trainer knows them
// all.
//
//   text --Tokenizer--> examples --> prompts --Sampler(Generator)--> responses --Reward--> rewards
//        --Loss(LogProbModel.log_probs)--> value, d_logp --LogProbModel.backward--> gradients
//        --Optimizer--> parameters                                   Observer sees every step

namespace eso {

/// Text to token ids and back.
///
/// \par Operations
/// | expression                    | result      | meaning                                              |
/// |-------------------------------|-------------|------------------------------------------------------|
/// | `t.encode(text)`              | Tokens      | ids of the text, no special token added              |
/// | `t.decode(ids, skip_special)` | std::string | the text, malformed bytes as U+FFFD, spaces as they are |
/// | `t.vocabulary_size()`         | Index       | highest id + 1                                       |
///
/// \par Laws
/// 1. `t.decode(t.encode(text), false)` is the (normalised) text, for every valid UTF-8 text.
/// 2. Repeatable, and callable from several threads.
///
/// \par Errors
/// `encode` throws `Error` on malformed UTF-8; `decode` ignores ids without a token.
///
/// \par Models
/// `ByteLevelBpe`.
template <class T>
concept Tokenizer = requires(const T& t, std::string_view text, std::span<const TokenId> ids) {
  { t.encode(text) } -> std::convertible_to<Tokens>;
  { t.decode(ids, true) } -> std::convertible_to<std::string>;
  { t.vocabulary_size() } -> std::convertible_to<Index>;
};

/// Rows of text being continued one token at a time; what a `Generator` returns.
///
/// \par Operations
/// | expression                   | result                     | meaning                             |
/// |------------------------------|----------------------------|-------------------------------------|
/// | `d.logits()`                 | row-major matrix (rows, V) | of the token after each live row    |
/// | `d.advance(parents, tokens)` | nothing                    | new row i is old row `parents[i]`,  |
/// |                              |                            | continued with `tokens[i]`          |
///
/// A row may be the parent of several new rows (a prompt of its k samples) or of none (it is finished and
/// leaves), so one call forks, continues and drops rows, and all live rows are one product.
///
/// \par Laws
/// 1. After construction row p is prompt p.
/// 2. `softmax(logits)` of a row gives every token the probability that `log_probs` gives it there.
/// 3. A row's logits depend on its own tokens alone, up to rounding.
template <class D>
concept Decoding = requires(D& d, std::span<const Index> parents, std::span<const TokenId> tokens) {
  { *d.logits().data() } -> std::convertible_to<double>;
  { d.logits().rows() } -> std::convertible_to<Index>;
  { d.logits().cols() } -> std::convertible_to<Index>;
  { d.advance(parents, tokens) } -> std::same_as<void>;
};

/// A model that can be sampled from.
///
/// \par Operations
/// | expression            | result   | meaning                                                          |
/// |-----------------------|----------|------------------------------------------------------------------|
/// | `m.decode(prompts)`   | Decoding | the prompts computed once, ready to be continued                 |
/// | `m.is_end(id)`        | bool     | whether the id ends a response                                   |
/// | `m.context_length()`  | Index    | the most tokens that a prompt and its response may have together |
///
/// \par Errors
/// `decode` throws `Error` for a prompt without a token, an id outside the vocabulary or a prompt beyond the
/// context.
///
/// \par Models
/// `Decoder`, `testing::TabularModel`.
template <class M>
concept Generator = requires(M& m, std::span<const Prompt> prompts, TokenId id) {
  { m.decode(prompts) } -> Decoding;
  { m.is_end(id) } -> std::convertible_to<bool>;
  { m.context_length() } -> std::convertible_to<Index>;
};

/// The random streams of one step: a response's stream is named by (seed, step, example of the prompt,
/// sample).
struct StepSeed {
  std::uint64_t seed = 0;
  std::uint32_t step = 0;
};

/// Draws responses to prompts.
///
/// \par Operation
/// `s(generator, prompts, step_seed)` gives the responses, ordered by prompt, then kind, then sample. A sampler
/// that also draws a greedy response per prompt says so by `s.draws_greedy()`.
///
/// \par Laws
/// 1. Repeatable: equal parameters, prompts and seeds give equal responses.
/// 2. Independent: a response does not depend on the other prompts, on how many samples are drawn, nor on the
///    order of the prompts, up to rounding of the logits.
/// 3. `logp` of a response is what `log_probs` gives for its tokens, up to rounding.
/// 4. `finished` holds exactly if the last token is an end, and no earlier token is.
///
/// \par Models
/// `Temperatures`.
template <class S, class G>
concept Sampler =
    Generator<G> && requires(const S& s, G& generator, std::span<const Prompt> prompts, StepSeed seed) {
      { s(generator, prompts, seed) } -> std::same_as<std::vector<Response>>;
    };

/// Says how good a response is: higher is better, in any unit.
///
/// \par Operation
/// `r(response, example)` for one response, or `r(responses, examples)` for a whole step at once (a reward
/// that is a model itself wants the batch): `responses[i]` answers `examples[i]`.
///
/// \par Laws
/// Repeatable. Not a number and infinities are refused by the trainer with an `Error` that names the example.
///
/// \par Models
/// `RougeReward`, any callable.
template <class R>
concept Reward =
    requires(const R& r, const Response& response, const Example& example) {
      { r(response, example) } -> std::convertible_to<double>;
    } || requires(const R& r, std::span<const Response* const> responses,
                  std::span<const Example* const> examples) {
      { r(responses, examples) } -> std::convertible_to<std::vector<double>>;
    };

/// What a loss gives: its value, its gradient and the parts worth logging.
struct LossResult {
  double value = 0;  ///< nats, or as the loss says
  LogProbs d_logp;   ///< (N, R) d value / d logp, zero beyond the lengths
  /// Quantities that add up over micro-batches, under the names that logs give them.
  std::vector<std::pair<std::string, double>> parts = {};
};

/// What a loss reads of a batch. The trainer provides it, or refuses before the first step.
struct Reads {
  bool targets = false;    ///< responses of `Kind::target`
  bool samples = false;    ///< responses of `Kind::sample`, with their rewards
  bool greedy = false;     ///< one response of `Kind::greedy` per prompt that has samples, with its reward
  bool pairs = false;      ///< responses of `Kind::chosen` and `Kind::rejected`
  bool reference = false;  ///< `Batch::reference_logp`
  bool old = false;        ///< `Batch::old_logp`

  /// What one of two losses reads.
  friend Reads operator|(const Reads& a, const Reads& b) {
    return {.targets = a.targets || b.targets,
            .samples = a.samples || b.samples,
            .greedy = a.greedy || b.greedy,
            .pairs = a.pairs || b.pairs,
            .reference = a.reference || b.reference,
            .old = a.old || b.old};
  }
};

/// An objective: a pure function of the log-probabilities of the responses.
///
/// \par Operations
/// | expression               | result     | meaning                                                        |
/// |--------------------------|------------|----------------------------------------------------------------|
/// | `l(batch, logp, totals)` | LossResult | value and gradient, with `logp` (N, R)                         |
/// | `l.reads()`              | Reads      | what it reads of the batch; nothing else changes its result    |
/// | `l.count(batch, totals)` | nothing    | optional: adds a count of its own to `totals`, see `totals_of` |
///
/// \par Laws
/// 1. Gradient: `d_logp` is the gradient of `value`.
/// 2. Lengths: entries of `logp` beyond a response's length are not read, and get the gradient 0.
/// 3. Order: permuting responses or prompts permutes `d_logp` and leaves `value`, up to rounding.
/// 4. Split: with the totals of the whole, the results of micro-batches add up to those of the whole.
/// 5. Finite: log-probabilities down to -1e4 give finite results.
/// 6. Reads: what `reads()` leaves out changes nothing, and where all that it names is there, something is
///    learned.
///
/// \par Errors
/// `Error` for a `logp` of another shape and for a batch that cannot mean anything to the loss. What training
/// can bring (no pair, equal rewards) is not an error but a zero.
///
/// \par Models
/// `SftLoss`, `EsoLoss`, `UnlikeLoss`, `SequenceUnlikelihoodLoss`, `DrlLoss`, `RrhfLoss`, `DpoLoss`,
/// `SlicLoss`, `Combined`.
template <class L>
concept Loss = requires(const L& l, const Batch& batch, const LogProbs& logp, const Totals& totals) {
  { l(batch, logp, totals) } -> std::same_as<LossResult>;
  { l.reads() } -> std::same_as<Reads>;
};

/// A language model that gives the log-probabilities of responses and pulls a gradient back.
///
/// \par Operations
/// | expression           | result       | meaning                                                          |
/// |----------------------|--------------|------------------------------------------------------------------|
/// | `m.log_probs(batch)` | (N, R), nats | log p(token t of response n given its prompt and tokens before)  |
/// | `m.backward(d_logp)` | nothing      | adds d_logp * d log_probs / d parameters to the gradients        |
/// | `m.parameters()`     | a list       | the trainable arrays; `global_norm` and `zero_gradients` take it |
///
/// \par Laws
/// 1. Range: entries are at most 0, and exactly 0 beyond the length of the response.
/// 2. Repeatable: with unchanged parameters `log_probs` gives the same array.
/// 3. Adjoint: after `log_probs(b)`, `backward(g)` adds the gradient of sum(g * log_probs(b)).
/// 4. Normalised: the probabilities of all V continuations of a text add up to 1.
/// 5. Shared: a prompt that stands once gives the same as the prompt repeated for each response.
/// 6. Order: permuting responses permutes the rows and changes nothing else, up to rounding.
/// 7. Lengths: other responses, longer ones among them, change nothing, up to rounding.
/// 8. Causal: a token's log-probability does not depend on the tokens after it.
/// 9. Positions: a token's log-probability depends on the tokens right before it, prompt and response alike.
/// 10. Boundary: tokens moved from a response's front to its prompt's end change nothing of the rest.
/// 11. Ids: no id is special, the end of sequence neither; a response may hold any, anywhere.
///
/// A model with dropout has an overload `m.log_probs(batch, step_seed)`, which the trainer then calls for the
/// pass that `backward` follows; its masks follow from (seed, step), the prompt's example and the response's
/// kind and number, and the places in the model alone. The laws are those of `m.log_probs(batch)`, which
/// drops nothing.
///
/// \par Errors
/// `log_probs` throws `Error` for what `check(batch, V, context, ...)` refuses; `backward` if no `log_probs`
/// came before it or the shape differs from it.
///
/// \par Models
/// `Decoder`, `testing::TabularModel`.
template <class M>
concept LogProbModel = requires(M& m, const Batch& batch, const LogProbs& d_logp) {
  { m.log_probs(batch) } -> std::convertible_to<LogProbs>;
  { m.backward(d_logp) } -> std::same_as<void>;
  { global_norm(m.parameters()) } -> std::convertible_to<double>;
  zero_gradients(m.parameters());
};

/// Moves the parameters of a model along its gradients.
///
/// \par Operation
/// `o.update(parameters, learning_rate, scale)` takes `scale * gradient` as the gradient (clipping is a
/// scale), changes the parameters and leaves the gradients as they are.
///
/// \par Laws
/// 1. A zero gradient and no weight decay leave the parameters of a fresh optimizer alone.
/// 2. A learning rate of 0 leaves the parameters alone.
/// 3. `o.load_state(...)` of `o.state()` makes an optimizer that goes on bit for bit.
///
/// \par Models
/// `Sgd`, `AdamW`.
template <class O, class M>
concept Optimizer = LogProbModel<M> && requires(O& o, M& m, double learning_rate, double scale) {
  { o.update(m.parameters(), learning_rate, scale) } -> std::same_as<void>;
};

/// Something whose state is a set of named arrays: what a checkpoint can hold.
///
/// \par Operations
/// `x.state()` gives views of all arrays; `x.load_state(lookup)` takes them back and throws `Error` naming
/// the first that is missing or has another shape, before it changes anything.
template <class X>
concept Checkpointable = requires(X& x, const X& constant, const TensorLookup& lookup) {
  { constant.state() } -> std::same_as<std::vector<TensorView>>;
  { x.load_state(lookup) } -> std::same_as<void>;
};

struct Step;  // eso/train/step.hpp

/// What watches a run: it is called after every step and changes nothing.
///
/// \par Models
/// Any callable.
template <class O>
concept Observer = requires(O& o, const Step& step) {
  { o(step) } -> std::same_as<void>;
};

}  // namespace eso
