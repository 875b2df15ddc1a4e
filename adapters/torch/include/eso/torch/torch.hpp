// SPDX-License-Identifier: MIT
#pragma once

// Everything of the LibTorch adapter but what several processes need (`eso/torch/data_parallel.hpp` and
// `eso/torch/sharded_adamw.hpp`, which ask for the headers of gloo). The core never includes it.

#include "eso/torch/adamw.hpp"
#include "eso/torch/adapters.hpp"
#include "eso/torch/affine.hpp"
#include "eso/torch/attention.hpp"
#include "eso/torch/checkpoint.hpp"
#include "eso/torch/decoder.hpp"
#include "eso/torch/decoding.hpp"
#include "eso/torch/device.hpp"
#include "eso/torch/dropout.hpp"
#include "eso/torch/embedding.hpp"
#include "eso/torch/graph.hpp"
#include "eso/torch/head.hpp"
#include "eso/torch/hugging_face.hpp"
#include "eso/torch/layer.hpp"
#include "eso/torch/lora.hpp"
#include "eso/torch/moments.hpp"
#include "eso/torch/packing.hpp"
#include "eso/torch/parameters.hpp"
#include "eso/torch/peft.hpp"
#include "eso/torch/sgd.hpp"
#include "eso/torch/tensors.hpp"
