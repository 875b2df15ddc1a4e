// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "eso/batch.hpp"
#include "faulty_model.hpp"

/// Mistakes that a decoder with a cache can make.
enum class DecodingFault {
  none,
  parents_ignored,
  parents_sorted,
  rows_not_dropped,
  prompts_turned_around,
  prompts_padded,
  position_off_by_one,
  position_stands_still,
  one_token_late,
  neighbours_seen,
  shared_cache,
  stale_parameters,
  full_context_refused,
  no_check,
};

/// A `Generator` that computes each text anew, with a mistake.
struct FaultyGenerator : FaultyModel {
  DecodingFault mistake;
  std::shared_ptr<std::vector<eso::Tokens>> cache = std::make_shared<std::vector<eso::Tokens>>();
  std::shared_ptr<FaultyModel> first_parameters;

  FaultyGenerator(Index vocabulary, Index context, std::uint64_t seed, DecodingFault decoding_mistake)
      : FaultyModel(vocabulary, context, seed, ModelFault::none), mistake(decoding_mistake) {}

  struct Decoding {
    FaultyGenerator* model;
    std::shared_ptr<std::vector<eso::Tokens>> texts;
    std::vector<Index> lengths;  // of the prompts, where position_stands_still counts from
    Table table;

    const Table& logits() {
      compute();
      return table;
    }

    void advance(std::span<const Index> parents, std::span<const eso::TokenId> tokens) {
      std::vector<Index> from(parents.begin(), parents.end());
      if (model->mistake == DecodingFault::parents_ignored) {
        for (std::size_t i = 0; i < from.size(); ++i)
          from[i] = static_cast<Index>(std::min(i, texts->size() - 1));
      }
      if (model->mistake == DecodingFault::parents_sorted) std::sort(from.begin(), from.end());
      std::vector<eso::Tokens> next;
      std::vector<Index> next_lengths;
      for (std::size_t i = 0; i < from.size(); ++i) {
        next.push_back((*texts)[static_cast<std::size_t>(from[i])]);
        next.back().push_back(tokens[i]);
        next_lengths.push_back(lengths[static_cast<std::size_t>(from[i])]);
        eso::require(static_cast<Index>(next.back().size()) <= model->context_length(), "advance", "full");
        if (model->mistake == DecodingFault::full_context_refused) {
          eso::require(static_cast<Index>(next.back().size()) + 1 < model->context_length(), "advance",
                       "full");
        }
      }
      if (model->mistake == DecodingFault::rows_not_dropped) {
        for (std::size_t i = next.size(); i < texts->size(); ++i) {
          next.push_back((*texts)[i]);
          next_lengths.push_back(lengths[i]);
        }
      }
      *texts = std::move(next);
      lengths = std::move(next_lengths);
    }

    void compute() {
      const FaultyModel* source = model;
      if (model->mistake == DecodingFault::stale_parameters) source = model->first_parameters.get();
      table.resize(static_cast<Index>(texts->size()), model->vocabulary_size());
      for (std::size_t row = 0; row < texts->size(); ++row) {
        eso::Tokens text = (*texts)[row];
        const Index prompt = lengths[row];
        if (model->mistake == DecodingFault::one_token_late && static_cast<Index>(text.size()) > prompt) {
          text.pop_back();
        }
        const auto length = static_cast<Index>(text.size());
        FaultyModel::Terms what = source->terms(text, length - 1, prompt, 0);
        if (model->mistake == DecodingFault::position_off_by_one) what.position = length;
        if (model->mistake == DecodingFault::position_stands_still) what.position = prompt - 1;
        what.position = std::min(what.position, model->context_length() - 1);
        table.row(static_cast<Index>(row)) = source->logits(what);
        if (model->mistake == DecodingFault::neighbours_seen) {
          table(static_cast<Index>(row), 0) += .01 * static_cast<double>(texts->size());
        }
      }
    }
  };

  Decoding decode(std::span<const eso::Prompt> prompts) {
    eso::Batch batch;
    batch.prompts.assign(prompts.begin(), prompts.end());
    if (mistake != DecodingFault::no_check) {
      eso::check(batch, vocabulary_size(), context_length(), "FaultyGenerator");
      for (const eso::Prompt& prompt : prompts) {
        eso::require(static_cast<Index>(prompt.tokens.size()) <= context_length(), "FaultyGenerator",
                     "too long");
      }
    }
    if (!first_parameters) first_parameters = std::make_shared<FaultyModel>(*this);
    Decoding decoding{this, std::make_shared<std::vector<eso::Tokens>>(), {}, {}};
    if (mistake == DecodingFault::shared_cache) {
      decoding.texts = cache;
      cache->clear();
    }
    std::size_t longest = 0;
    for (const eso::Prompt& prompt : prompts) longest = std::max(longest, prompt.tokens.size());
    for (const eso::Prompt& prompt : prompts) {
      decoding.texts->push_back(prompt.tokens);
      if (mistake == DecodingFault::prompts_padded) decoding.texts->back().resize(longest, 0);
      decoding.lengths.push_back(static_cast<Index>(decoding.texts->back().size()));
    }
    if (mistake == DecodingFault::prompts_turned_around) {
      std::reverse(decoding.texts->begin(), decoding.texts->end());
    }
    return decoding;
  }
};
