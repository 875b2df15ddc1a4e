// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <map>
#include <vector>

#include "eso/batch.hpp"
#include "eso/error.hpp"
#include "eso/model/architecture.hpp"
#include "eso/model/plan_settings.hpp"

// Memory and work of a training run, from the shapes alone. All numbers are bytes or floating-point
// operations, exact up to 2^53.

namespace eso {

/// What is in memory in one phase of a step, on each rank's device.
struct PlanMemory {
  double runtime = 0;    ///< the program and its libraries
  double weights = 0;    ///< as they are trained or frozen, adapters included
  double copies = 0;     ///< of the weights: cast to the type of products, or in the order decoding reads
  double reference = 0;  ///< the frozen model's weights
  double gradients = 0;
  double moments = 0;      ///< of the optimizer
  double activations = 0;  ///< what the backward pass needs of the forward pass
  double scratch = 0;      ///< what a layer, the optimizer or a token of all rows needs for a moment
  double head = 0;         ///< logits and what is made of them
  double cache = 0;        ///< keys and values while sampling

  double total() const {
    return runtime + weights + copies + reference + gradients + moments + activations + scratch + head +
           cache;
  }
};

/// Floating-point operations of a step, of all ranks together; a multiplication and an addition are two.
struct PlanWork {
  double forward = 0;        ///< products with the weights of layers and adapters
  double backward = 0;       ///< their gradients
  double attention = 0;      ///< scores and weighted values of pairs that see each other, and gradients
  double head = 0;           ///< logits and their gradients
  double recomputation = 0;  ///< what the backward pass computes again
  double generation = 0;     ///< everything of sampling
  double reference = 0;      ///< the frozen model's log-probabilities, while they are not known yet

  double total() const {
    return forward + backward + attention + head + recomputation + generation + reference;
  }
};

/// Memory and work of a run.
///
/// The phases of a step: `sampling`; `head`, where everything kept for the backward pass meets the logits;
/// `layers`, the backward pass of a layer; `embeddings`, its end; `update`.
struct Plan {
  double parameters = 0;
  double trained = 0;
  double rows = 0;       ///< of the largest micro-batch: a row is a token that is fed to the model
  double head_rows = 0;  ///< of these, those whose next token is asked for
  double step_rows = 0;  ///< of all micro-batches and ranks
  PlanMemory sampling, head, layers, embeddings, update;
  PlanWork work;

  /// The phase with the most memory.
  const PlanMemory& peak() const {
    const PlanMemory* most = &sampling;
    for (const PlanMemory* phase : {&head, &layers, &embeddings, &update}) {
      if (phase->total() > most->total()) most = phase;
    }
    return *most;
  }
};

/// Counts a run; `plan` is how it is called.
class Planner {
 public:
  Planner(const Architecture& a, const PlanSettings& s)
      : a_(a), s_(s), H_(number(a.width)), I_(number(a.inner)), E_(number(a.embedding_width)) {
    for (const Index count : {s.ranks, s.threads, s.batch, s.prompt_tokens, s.response_tokens})
      require(count >= 1, "plan", "needs at least one rank, thread, prompt and token");
    for (const Index count : {s.micro_batch, s.given, s.samples, s.adapter_rank})
      require(count >= 0, "plan", "a count is negative");
    Architecture few = a;
    few.layers = 0;
    outside_ = numbers(few);
    few.layers = 1;
    layer_ = numbers(few) - outside_;
    for (const PlanAdapter& adapter : s.adapters)
      adapters_ += number(s.adapter_rank) * (inputs(adapter) + number(adapter.outputs));
  }

  Plan operator()() const {
    const Index micro = s_.micro_batch == 0 ? s_.batch : std::min(s_.micro_batch, s_.batch);
    const Rows one = rows(share(micro)), step = rows(number(s_.batch));
    Plan plan;
    plan.parameters = parameters();
    plan.trained = trained();
    plan.rows = one.all();
    plan.head_rows = one.head();
    plan.step_rows = step.all();
    PlanMemory always;
    always.runtime = eigen() ? 0.02e9 : s_.cuda ? 0.75e9 : 0.3e9;
    always.weights = adapted() ? bytes_ * parameters() + 4 * trained() : 4 * parameters();
    always.reference = s_.reference ? bytes_ * parameters() : 0;
    always.moments = s_.adam ? 8 * (s_.shard_optimizer ? largest_shard() : trained()) : 0;
    plan.sampling = plan.head = plan.layers = plan.embeddings = plan.update = always;
    if (eigen()) {
      add_eigen(plan, one, share(s_.batch));
    } else {
      add_torch(plan, one, share(s_.batch), micro < s_.batch);
    }
    plan.work = work(step, !keeps_logits(one));
    return plan;
  }

 private:
  /// A batch by its texts, all of full length. The last token of a response is no row.
  struct Rows {
    double prompts = 0, prompt = 0, responses = 0, response = 0;  ///< texts, and rows of one

    double of_prompts() const { return prompts * prompt; }
    double all() const { return of_prompts() + responses * response; }
    double head() const { return prompts + responses * response; }
    /// Pairs of a row and one that it sees, itself included.
    double pairs() const {
      return of_prompts() * (prompt + 1) / 2 + responses * response * (prompt + (response + 1) / 2);
    }
  };

  static constexpr double group_bytes = 64 << 20;  ///< logits that are computed together, if not kept

  static double number(Index value) { return static_cast<double>(value); }

  static double numbers(const Architecture& a) {
    double total = 0;
    for (const ArraySpec& spec : arrays(a)) {
      double size = 1;
      for (const Index n : spec.shape) size *= number(n);
      total += size;
    }
    return total;
  }

  Rows rows(double prompts) const {
    return {prompts, number(s_.prompt_tokens), prompts * (number(s_.given) + number(s_.samples)),
            number(s_.response_tokens) - 1};
  }

  /// The most prompts of so many that a rank has.
  double share(Index prompts) const { return number(prompts / s_.ranks + (prompts % s_.ranks == 0 ? 0 : 1)); }

  /// The most numbers whose moments a rank has, where consecutive tensors go to the rank of their middle.
  double largest_shard() const {
    std::vector<double> sizes;
    for (Index layer = 0; adapted() && layer < a_.layers; ++layer) {
      for (const PlanAdapter& adapter : s_.adapters) {
        sizes.push_back(number(s_.adapter_rank) * inputs(adapter));
        sizes.push_back(number(s_.adapter_rank) * number(adapter.outputs));
      }
    }
    for (const ArraySpec& spec : adapted() ? std::vector<ArraySpec>() : arrays(a_)) {
      const bool three =
          a_.family == Family::opt && (spec.role == Role::qkv_weight || spec.role == Role::qkv_bias);
      sizes.insert(sizes.end(), three ? 3 : 1, number(spec.size()) / (three ? 3 : 1));
    }
    std::map<Index, double> shards;
    double before = 0, most = 0;
    for (const double size : sizes) {
      const double middle = (before + size / 2) / trained();
      double& shard = shards[std::min(s_.ranks - 1, static_cast<Index>(middle * number(s_.ranks)))];
      most = std::max(most, shard += size);
      before += size;
    }
    return most;
  }

  bool eigen() const { return s_.backend == PlanBackend::eigen; }
  bool adapted() const { return s_.adapter_rank > 0; }
  bool after() const { return a_.norm_order == NormOrder::after; }
  bool turns() const { return a_.positions == Positions::rotary && a_.rotary_width > 0; }
  double layers() const { return number(a_.layers); }
  double parameters() const { return outside_ + layers() * layer_; }
  double trained() const { return adapted() ? layers() * adapters_ : parameters(); }
  double inputs(const PlanAdapter& adapter) const { return adapter.product == Role::outer_weight ? I_ : H_; }
  /// Numbers of a layer's matrices behind attention, and of the head's.
  double behind() const { return H_ * H_ + 2 * H_ * I_; }
  double head_matrix() const { return number(a_.vocabulary) * E_; }
  double logits(const Rows& b) const { return bytes_ * b.head() * number(a_.vocabulary); }
  bool keeps_logits(const Rows& b) const { return logits(b) <= (eigen() ? 1 : 4) * group_bytes; }
  /// Numbers of the matrices that decoding copies into another order.
  double matrices() const { return layers() * (3 * H_ * H_ + behind()) + head_matrix(); }
  /// The least doubling of `first` that is enough.
  static double doubled(double first, double enough) {
    while (first < enough) first *= 2;
    return first;
  }

  // ---- `Decoder`: arrays are members and stay until the next pass.

  void add_eigen(Plan& plan, const Rows& b, double prompts) const {
    const double n = b.all(), M = b.head(), heads = number(a_.heads);
    const double before = (after() ? 5 : 6) * H_ + heads,
                 layer = (a_.parallel_residual ? 7 : 8) * H_ + 2 * I_ + heads,
                 last = n * before + M * ((after() ? 4 : 3) * H_ + 2 * I_),
                 ends = n * H_ + 2 * M * H_ + M * E_ + (a_.projects() ? n * E_ : 0);
    const double kept = (layers() - 1) * n * layer + last + ends,
                 logits_kept = keeps_logits(b) ? logits(b) : 0, packed = s_.samples > 0 ? 4 * matrices() : 0;
    for (PlanMemory* phase : {&plan.sampling, &plan.head, &plan.layers, &plan.embeddings, &plan.update}) {
      phase->gradients = 4 * trained();
      phase->activations = 4 * kept;
      phase->head = logits_kept;
      phase->copies = packed;
    }
    plan.head.head += 4 * ((number(s_.threads) + 1) * M * E_ + number(s_.threads) * 256 * 1024);
    plan.layers.scratch = 4 * n * ((after() ? 4 : a_.parallel_residual ? 6 : 5) * H_ + I_);
    add_sampling(plan.sampling, prompts, layer + H_, 16, 4);
  }

  /// Prompts go through a layer, then tokens of all rows one by one with a cache that doubles.
  void add_sampling(PlanMemory& phase, double texts, double layer_widths, double first_room,
                    double logit_size) const {
    if (s_.samples == 0) return;
    const double drawn = texts * number(s_.samples), fed = texts * number(s_.prompt_tokens),
                 room = doubled(first_room, number(s_.response_tokens) - 1),
                 own = 2 * layers() * drawn * room * H_ * bytes_;
    phase.cache = 2 * layers() * fed * H_ * bytes_ + own;
    phase.scratch = std::max(0.0, fed * layer_widths * bytes_ - own);
    phase.head += logit_size * drawn * number(a_.vocabulary);
  }

  // ---- `torch::Decoder`: autograd keeps what a gradient needs, and gives it back on the way.

  /// A prompt's one response is one text with it.
  static bool apart(const Rows& b) { return b.response > 0 && b.responses != b.prompts; }

  bool learns(Role product) const {
    return !adapted() || std::any_of(s_.adapters.begin(), s_.adapters.end(),
                                     [&](const PlanAdapter& adapter) { return adapter.product == product; });
  }

  /// Prompts, with their one response where they have one, that LibTorch's attention does not compute.
  bool own_attention(const Rows& b) const {
    return !s_.cuda && s_.dropout.attention == 0 && b.prompt + (apart(b) ? 0 : b.response) <= 1024;
  }

  /// Widths kept around attention, but for keys and values beside responses: queries, keys and values, what
  /// it gives, and on a GPU those of responses and turned ones twice.
  double attention_widths(const Rows& b) const {
    const double n = b.all();
    if (s_.cuda) return n * (turns() ? 6 : 4);
    const double prompts = apart(b) ? b.of_prompts() : n;
    return prompts * (own_attention(b) ? 3 : 4) + (n - prompts) * 2;
  }

  /// Bytes of the sums of exponentials that LibTorch's attention keeps.
  double attention_sums(const Rows& b) const {
    if (s_.dropout.attention > 0) return 0;
    const double rows = !own_attention(b) ? b.all() : apart(b) ? b.responses * b.response : 0;
    return 4 * rows * number(a_.heads);
  }

  /// Bytes that dropout keeps of a layer: masks of what is added to the residual, and of attention all
  /// probabilities as float32, dropped, and their mask.
  double dropped(const Rows& b, double tail) const {
    const double text = b.prompt + (apart(b) ? 0 : b.response),
                 pairs = b.prompts * text * text +
                         (apart(b) ? b.responses * b.response * (b.prompt + b.response) : 0);
    return (s_.dropout.residual > 0 ? 2 * tail * H_ : 0) +
           (s_.dropout.attention > 0 ? (5 + bytes_) * number(a_.heads) * pairs : 0);
  }

  /// Bytes that a layer keeps, of so many rows behind attention: inputs of norms and activations always, of a
  /// product where it learns; queries, keys and values, and those of each prompt again for each response.
  double kept(const Rows& b, double tail) const {
    const double n = b.all(), gelu = a_.activation == Activation::relu ? 0 : 1;
    const auto if_learns = [&](Role product) { return learns(product) ? 1.0 : 0.0; };
    double values = n * H_ * (after() ? 0 : 1) + n * H_ * if_learns(Role::qkv_weight);
    values += H_ * attention_widths(b);
    if (apart(b)) values += 2 * b.responses * (b.prompt + b.response) * H_;
    values += tail * H_ * if_learns(Role::attention_out_weight);
    values += tail * H_ * ((a_.parallel_residual ? 0 : 1) + (after() ? 1 : 0));
    values += tail * H_ * if_learns(Role::inner_weight);
    values += tail * I_ * (gelu > 0 ? 1 + if_learns(Role::outer_weight) : 1);
    for (const PlanAdapter& adapter : s_.adapters) {
      const double of = adapter.product == Role::qkv_weight ? n : tail;
      values += of * (number(s_.adapter_rank) + (s_.adapter_dropout ? 2 * inputs(adapter) : 0));
    }
    return bytes_ * values + attention_sums(b) + dropped(b, tail);
  }

  void add_torch(Plan& plan, const Rows& b, double prompts, bool several) const {
    const double n = b.all(), M = b.head(), all = 4 * trained(),
                 embedding = adapted() ? 0 : 4 * head_matrix(), tied = a_.tied_head ? embedding : 0;
    const bool again = s_.checkpoint_activations, casts = s_.bfloat16 && !adapted();
    const double layer = kept(b, n), input = bytes_ * n * H_,
                 ends = bytes_ * (M * H_ * (a_.final_norm ? 2 : 1) + (a_.projects() ? (M + n) * E_ : 0)),
                 inner = again ? layers() * input : (layers() - 1) * layer + kept(b, M);
    const double copies = s_.bfloat16 ? 2 * (casts ? layer_ : adapters_) * (again ? 1 : layers()) : 0;
    const double z = keeps_logits(b) ? logits(b) : std::min(logits(b), group_bytes),
                 chunk = std::min(4 * M * number(a_.vocabulary), s_.cuda ? group_bytes : group_bytes / 16);

    plan.layers.copies = copies;
    plan.head.copies = copies + (casts ? 2 * head_matrix() : 0);
    plan.head.activations = inner + ends;
    plan.head.gradients = several ? all : 0;
    plan.head.head = z + std::max(3 * chunk, embedding);

    // The gradients of attention: queries, keys and values three times over, and those beside responses.
    const double beside = apart(b) ? b.responses * (b.prompt + b.response) : 0,
                 scratch = bytes_ * std::max(n * (11 * H_) + 2 * beside * H_, n * (H_ + 2 * I_)) +
                           (again ? layer : 0);
    PlanMemory first = plan.layers, end = plan.layers;
    first.activations = inner;
    first.gradients = several ? all + tied : embedding;
    first.scratch = end.scratch = scratch;
    end.activations = again ? input : layer;
    end.gradients = all + (several ? tied : 0);
    plan.layers = first.total() > end.total() ? first : end;

    plan.embeddings.gradients = all + (several ? embedding : 0);
    plan.embeddings.scratch = 4 * n * E_ + input;
    plan.update.gradients = plan.sampling.gradients = all;
    plan.update.scratch = std::min(all, 4 * std::max(head_matrix(), 0x1p25));
    if (s_.samples > 0) {
      if (s_.bfloat16) plan.sampling.copies = 2 * (casts ? layers() * layer_ + head_matrix() : trained());
      if (!s_.cuda && !casts) plan.sampling.copies += bytes_ * matrices();
    }
    add_sampling(plan.sampling, prompts, (turns() ? 12 : 10) * H_ + 2 * I_, 32, s_.bfloat16 ? 6 : 4);
  }

  // ---- Operations: two a weight and row forward, four backward, two of them where the weight is frozen.

  PlanWork work(const Rows& b, bool head_again) const {
    const double once = layers() > 0 ? 1 : 0, tail = (layers() - once) * b.all() + once * b.head();
    double products = 2 * (layers() * b.all() * 3 * H_ * H_ + tail * behind());
    if (a_.projects()) products += 2 * H_ * E_ * (b.all() + b.head());
    double adapters = 0;
    for (const PlanAdapter& adapter : s_.adapters) {
      adapters += 2 * (adapter.product == Role::qkv_weight ? layers() * b.all() : tail) *
                  number(s_.adapter_rank) * (inputs(adapter) + number(adapter.outputs));
    }
    const double attention = 4 * H_ * b.pairs() * layers(), head = 2 * head_matrix() * b.head();
    PlanWork w;
    w.forward = products + adapters;
    w.backward = (adapted() ? 1 : 2) * products + 2 * adapters;
    w.attention = attention * 3.5;  // the backward pass computes the scores again: five products against two
    w.head = head * (adapted() ? 2 : 3);
    w.recomputation = (head_again ? head : 0);
    if (s_.checkpoint_activations) w.recomputation += products + adapters + attention;
    if (s_.reference) w.reference = products + attention + head;
    if (s_.samples > 0) w.generation = generation(number(s_.batch));
    return w;
  }

  double generation(double prompts) const {
    const double m = number(s_.prompt_tokens), fed = number(s_.response_tokens) - 1,
                 drawn = prompts * number(s_.samples), projections = a_.projects() ? H_ * E_ : 0;
    const double token = layers() * (3 * H_ * H_ + behind()) + head_matrix() + 2 * projections;
    const double once = layers() > 0 ? 1 : 0,
                 prefill =
                     prompts * (m * (layers() * 3 * H_ * H_ + (layers() - once) * behind() + projections) +
                                once * behind() + head_matrix() + projections);
    const double pairs = prompts * m * (m + 1) / 2 + drawn * fed * (m + (fed + 1) / 2);
    return 2 * (prefill + drawn * fed * token) + 4 * H_ * layers() * pairs;
  }

  const Architecture& a_;
  const PlanSettings& s_;
  double H_, I_, E_;
  double outside_ = 0, layer_ = 0;  ///< numbers of the model outside layers and of one layer
  double adapters_ = 0;             ///< of a layer's adapters
  double bytes_ = s_.bfloat16 ? 2 : 4;
};

/// Memory and work of a run with this architecture. The formulas stand in docs/memory.md.
///
/// \throws Error (input) for a count that means nothing.
inline Plan plan(const Architecture& a, const PlanSettings& settings) { return Planner(a, settings)(); }

}  // namespace eso
