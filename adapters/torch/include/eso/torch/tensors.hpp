// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eso/tensor.hpp"

namespace eso::torch {

/// LibTorch's name of a stored type.
inline at::ScalarType scalar_type(DataType type) {
  switch (type) {
    case DataType::float64:
      return at::kDouble;
    case DataType::float16:
      return at::kHalf;
    case DataType::bfloat16:
      return at::kBFloat16;
    case DataType::float32:
      break;
  }
  return at::kFloat;
}

/// The same the other way. \throws Error (input) for a type that is not stored.
inline DataType data_type(at::ScalarType type) {
  switch (type) {
    case at::kDouble:
      return DataType::float64;
    case at::kFloat:
      return DataType::float32;
    case at::kHalf:
      return DataType::float16;
    case at::kBFloat16:
      return DataType::bfloat16;
    default:
      throw input_error("data_type", "is not stored in files", c10::toString(type));
  }
}

/// A copy of the view's numbers in this type on this device. A pinned copy would be copied twice: the bytes
/// go to the device straight from where they lie.
inline at::Tensor tensor_of(const TensorView& view, at::ScalarType type, at::Device device) {
  const std::vector<std::int64_t> shape(view.shape.begin(), view.shape.end());
  const at::ScalarType stored = scalar_type(view.type);
  void* const bytes = const_cast<std::byte*>(view.bytes.data());
  if (reinterpret_cast<std::uintptr_t>(bytes) % size_of(view.type) == 0) {
    const at::Tensor seen = at::from_blob(bytes, shape, at::TensorOptions(stored));
    return seen.to(at::TensorOptions(type).device(device), false, true);
  }
  const at::Tensor raw = at::empty(shape, at::TensorOptions(stored));
  std::copy(view.bytes.begin(), view.bytes.end(), static_cast<std::byte*>(raw.data_ptr()));
  return raw.to(at::TensorOptions(type).device(device));
}

/// A view of the tensor's numbers in host memory, a copy where they lie elsewhere or not in order.
inline TensorView view_of(std::string name, const at::Tensor& tensor) {
  auto held = std::make_shared<at::Tensor>(tensor.detach().to(at::kCPU).contiguous());
  const std::span bytes(static_cast<const std::byte*>(held->const_data_ptr()), held->nbytes());
  return {std::move(name),
          data_type(held->scalar_type()),
          {held->sizes().begin(), held->sizes().end()},
          bytes,
          held};
}

/// Lists of whole numbers that go to a device together, in one copy.
class IndexLists {
 public:
  /// A list, by its place.
  struct Place {
    std::int64_t begin = 0, size = 0;
  };

  Place add(const std::vector<std::int64_t>& list) {
    const Place place{static_cast<std::int64_t>(values_.size()), static_cast<std::int64_t>(list.size())};
    values_.insert(values_.end(), list.begin(), list.end());
    return place;
  }

  /// Copies everything that was added; the lists are there afterwards.
  void send(at::Device device) {
    const auto options = at::TensorOptions(at::kLong);
    const at::Tensor host = at::empty({static_cast<std::int64_t>(values_.size())},
                                      device.is_cuda() ? options.pinned_memory(true) : options);
    std::copy(values_.begin(), values_.end(), host.data_ptr<std::int64_t>());
    sent_ = device.is_cuda() ? host.to(at::TensorOptions(at::kLong).device(device), true) : host;
  }

  at::Tensor operator[](Place place) const { return sent_.narrow(0, place.begin, place.size); }

 private:
  std::vector<std::int64_t> values_;
  at::Tensor sent_;
};

}  // namespace eso::torch
