// SPDX-License-Identifier: MIT
#include <catch2/catch.hpp>
#include <set>
#include <string>

#include "compare.hpp"
#include "comparisons.hpp"
#include "model_folder.hpp"
#include "program.hpp"
#include "run_inputs.hpp"

// What the arms of a comparison have in common is read and computed once, and changes no byte.

namespace {

namespace fs = std::filesystem;

/// Flags of DPO on the pairs of `c`, with a reference of its own.
eso_program::TrainFlags dpo_flags(const PairComparisons& c, double beta) {
  eso_program::TrainFlags flags;
  flags.method = "dpo";
  flags.model = golden_model("plain");
  flags.dpo_reference = (c / "reference").string();
  flags.dpo_beta = beta;
  flags.data = {c.data};
  flags.format = "preference";
  flags.epochs = 2;
  flags.batch_size = 4;
  flags.max_response_tokens = 8;
  flags.learning_rate = 0.01;
  flags.threads = 1;
  flags.print_every = 0;
  return flags;
}

/// Copies a model with other weights to `folder / "reference"`.
void make_reference(const PairComparisons& c) {
  const auto run = c.plain("moved", {"--method", "sft"});
  fs::rename(run / "model", c / "reference");
}

/// A run without anything to share, beside those of the comparison.
fs::path alone(eso_program::TrainFlags flags, std::uint64_t seed, const fs::path& output) {
  flags.seed = seed;
  flags.output = output.string();
  eso_program::train(flags);
  return output;
}

}  // namespace

TEST_CASE("arms of DPO that share their reference are the runs that eso train makes, each with each seed") {
  const PairComparisons c;
  make_reference(c);
  const std::string reference = (c / "reference").string();
  const Finished f = c.call(
      {"--training-seeds", "2", "--seed", "3", "--methods", "sft", "--arm", "mild: --method dpo", "--arm",
       "sharp: --method dpo --dpo-beta 2", "--arm", "other: --method dpo --dpo-reference " + reference,
       "--arm", "sharp-other: --method dpo --dpo-beta 2 --dpo-reference " + reference, "--arm",
       "bare: --method dpo --no-eos", "--arm", "free: --method dpo --dpo-reference-free true"});
  INFO(f.err);
  REQUIRE(f.code == 0);
  const std::pair<const char*, Words> arms[] = {
      {"mild", {}},
      {"sharp", {"--dpo-beta", "2"}},
      {"other", {"--dpo-reference", reference}},
      {"sharp-other", {"--dpo-beta", "2", "--dpo-reference", reference}},
      {"bare", {"--no-eos"}},
      {"free", {"--dpo-reference-free", "true"}}};
  std::set<Weights> models;
  for (const std::string seed : {"3", "4"}) {
    for (const auto& [name, flags] : arms) {
      INFO(name << " with seed " << seed);
      const fs::path run = fs::path(c.output) / name / ("seed-" + seed);
      const Words words = Words{"--method", "dpo", "--seed", seed} + flags;
      CHECK(difference(c.plain(name + seed, words), run) == "");
      models.insert(weights_of(run));
    }
  }
  CHECK(models.size() == 12);
}

TEST_CASE("the arms of a comparison read no file of examples or of a reference that an earlier one read") {
  const PairComparisons c;
  make_reference(c);
  const eso_program::TrainFlags mild = dpo_flags(c, 0.1), sharp = dpo_flags(c, 2);
  eso_program::TrainFlags sft = mild;
  sft.method = "sft";
  const fs::path alone_0 = alone(mild, 0, c / "mild-0"), alone_1 = alone(mild, 1, c / "mild-1"),
                 alone_sharp = alone(sharp, 0, c / "sharp-0"), alone_sft = alone(sft, 1, c / "sft-1");
  eso_program::RunInputs inputs;
  const std::vector<eso_program::ComparedArm> arms{
      {"mild", "", mild}, {"sharp", "", sharp}, {"sft", "", sft}};
  eso_program::ArmTrainer trainer(c.output, arms, inputs);
  trainer.train(arms[0], 0, "");
  fs::remove_all(c / "reference");
  fs::remove(c.data);
  trainer.train(arms[1], 0, "");
  trainer.train(arms[0], 1, "");
  trainer.train(arms[2], 1, "");
  const fs::path out = c.output;
  CHECK(difference(alone_0, out / "mild" / "seed-0") == "");
  CHECK(difference(alone_sharp, out / "sharp" / "seed-0") == "");
  CHECK(difference(alone_1, out / "mild" / "seed-1") == "");
  CHECK(difference(alone_sft, out / "sft" / "seed-1") == "");
}

TEST_CASE("a comparison tells once of the training examples that it leaves out") {
  const Comparisons c;
  write_file(c.data, read_file(c.data) + json_line(std::string(20, '!'), "u"));
  const Finished f = c.call({"--max-prompt-tokens", "10", "--training-seeds", "2", "--methods", "sft,eso",
                             "--arm", "hot: --method eso --temperatures 2,2"});
  INFO(f.err);
  REQUIRE(f.code == 0);
  CHECK(lines_with(f.err, "dropped 1 examples with a prompt of more than 10 tokens") == 2);
  CHECK(lines_with(f.err, "evaluation: dropped 1 examples with a prompt of more than 10 tokens") == 1);
}

TEST_CASE("inputs are shared by runs that would make the same of their flags and by no others") {
  const Comparisons c;
  write_file(c.data, json_line("!(", "u.p.l.e") + json_line("the", "e f u") + json_line("zz", "e") +
                         json_line("a b", "l u t e"));
  const auto folder = eso_program::open_model_folder({}, golden_model("plain"), eso_program::make_threads(1));
  eso_program::RunInputs inputs;
  eso_program::TrainFlags flags;
  flags.model = golden_model("plain");
  flags.data = {c.data};
  flags.format = "prompt-response";
  flags.method = "sft";
  const auto examples = [&](const eso_program::TrainFlags& of) {
    return &inputs.examples(of, folder.model, folder.needed_tokenizer());
  };
  const auto* const first = examples(flags);
  CHECK(first->examples.size() == 4);
  eso_program::TrainFlags like = flags;
  like.method = "eso";
  like.seed = 3;
  like.epochs = 1;
  like.learning_rate = 1;
  like.no_shuffle = true;
  like.threads = 1;
  like.output = "elsewhere";
  CHECK(examples(like) == first);
  const auto differs = [&](auto change) {
    eso_program::TrainFlags other = flags;
    change(other);
    const auto* const made = examples(other);
    CHECK(made != first);
    return made;
  };
  differs([](auto& f) { f.max_prompt_tokens = 500; });
  CHECK(differs([](auto& f) { f.max_response_tokens = 1; })->examples.front().target.size() == 1);
  CHECK(differs([](auto& f) { f.no_eos = true, f.max_response_tokens = 100; })->examples.front().target !=
        first->examples.front().target);
  differs([](auto& f) { f.prompt_overflow = "truncate"; });
  differs([](auto& f) { f.layout.test_split = "first-n:1"; });
  differs([&](auto& f) { f.data = {c.data, c.data}; });
  CHECK(differs([](auto& f) { f.layout.test_split = "first-n:3"; })->examples.size() == 1);
  CHECK(examples(flags) == first);
}
