// SPDX-License-Identifier: MIT
#pragma once

// The laws of the concepts as functions that any model of them can be run through, without a test framework:
//
//   check_log_prob_model(model, limits)     the model's log-probabilities and gradients
//   check_generator(model, limits)          its decoding, against its log-probabilities
//   check_sampler(sampler, model, limits)   what is drawn from it
//   check_loss(loss)                        an objective
//
// and `TabularModel`, a model that obeys them.

#include "eso/testing/generator_laws.hpp"
#include "eso/testing/log_prob_model_laws.hpp"
#include "eso/testing/loss_laws.hpp"
#include "eso/testing/sampler_laws.hpp"
#include "eso/testing/tabular.hpp"
