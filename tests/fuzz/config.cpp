// SPDX-License-Identifier: MIT
// config.json of a model's folder. The input is the file.

#include "eso/model/hugging_face.hpp"
#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::QuickEnough quick;
  write_file(fuzz::folder() / "config.json", fuzz::text_of(data, size));
  const auto settings = fuzz::attempt([] { return eso::read_settings(fuzz::folder()); });
  if (!settings) return 0;
  const eso::Architecture& a = settings->architecture;
  for (const eso::Index count :
       {a.vocabulary, a.context, a.width, a.layers, a.heads, a.inner, a.embedding_width}) {
    fuzz::check(count >= 1, "every size is positive");
  }
  fuzz::check(a.width % a.heads == 0, "the heads divide the width");
  fuzz::check(a.norm_epsilon > 0 && std::isfinite(static_cast<float>(a.norm_epsilon)),
              "the epsilon is a positive number");
  for (const eso::TokenId id : a.ends) fuzz::check(id >= 0, "an end is an id");
  fuzz::check(a.end_of_sequence.has_value() || a.ends.empty(), "what ends a response can be appended");
  if (a.positions == eso::Positions::rotary) {
    fuzz::check(a.rotary_width >= 2 && a.rotary_width % 2 == 0 && a.rotary_width <= a.head_width(),
                "pairs of a head's entries are turned");
    fuzz::check(a.rotary_base > 0 && std::isfinite(a.rotary_base), "the base is a positive number");
  }
  if (const auto rates = fuzz::attempt([] { return eso::read_dropout(fuzz::folder()); })) {
    for (const double rate : {rates->embedding, rates->attention, rates->residual})
      fuzz::check(rate >= 0 && rate < 1, "a rate is a share");
  }
  const auto parameters = fuzz::attempt([&] { return eso::parameter_count(a); });
  if (!parameters) return 0;
  fuzz::check(*parameters >= a.vocabulary * a.embedding_width, "the embedding is among the parameters");
  if (a.layers > 100) return 0;
  eso::Index counted = 0;
  for (const eso::ArraySpec& spec : eso::arrays(a)) counted += spec.size();
  fuzz::check(counted == *parameters, "the parameters are those of all arrays");
  // What was read is what is written beside a trained model.
  write_file(fuzz::folder() / "config.json", settings->config.dump(2));
  fuzz::check(eso::read_settings(fuzz::folder()).config == settings->config, "a config survives writing");
  return 0;
}
