// SPDX-License-Identifier: MIT
#pragma once

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <array>
#include <cstddef>
#include <string>

#include "eso/error.hpp"

namespace eso::torch {

/// NVIDIA's NCCL, the library of which LibTorch's CUDA half brings its own: tensors on several GPUs are added
/// up and spread over the links between them, without the host. Its C interface is called, which has not
/// changed since NCCL 2.0, so that nothing of CUDA is needed to build a program that also runs without.
///
/// Collective: all processes make the same calls in the same order. Calls return at once and are in order
/// with what else was asked of the device.
class Nccl {
 public:
  /// Names a group: one process makes it and gives it to the others.
  using Id = std::array<char, 128>;

  /// \throws Error (system) where the library cannot be loaded.
  explicit Nccl(const char* library = "libnccl.so.2") : library_(library) {
    void* const handle = ::dlopen(library, RTLD_NOW);
    if (handle == nullptr) {
      const char* const reason = ::dlerror();
      throw Error(Fault::system, library_, reason);
    }
    find(handle, "ncclGetUniqueId", get_unique_id_);
    find(handle, "ncclCommInitRank", init_rank_);
    find(handle, "ncclAllReduce", all_reduce_);
    find(handle, "ncclBroadcast", broadcast_);
    find(handle, "ncclCommAbort", abort_);
    find(handle, "ncclGetErrorString", error_string_);
  }
  Nccl(const Nccl&) = delete;
  Nccl& operator=(const Nccl&) = delete;
  ~Nccl() {
    // Not destroyed in order, which would wait for the others: one of them may be dead.
    if (communicator_) abort_(communicator_);
  }

  Id make_id() const {
    UniqueId id;
    check("ncclGetUniqueId", get_unique_id_(&id));
    return id.bytes;
  }

  /// Meets the others, each of which calls it too, with a device of its own that is the current one.
  void meet(const Id& id, int rank, int size) {
    check("ncclCommInitRank", init_rank_(&communicator_, size, UniqueId{id}, rank));
  }

  /// Replaces a tensor by the sum of those of all processes.
  void sum(const at::Tensor& tensor) const {
    check("ncclAllReduce", all_reduce_(tensor.data_ptr(), tensor.data_ptr(), count(tensor), type(tensor), 0,
                                       communicator_, stream(tensor)));
  }

  /// Gives all processes the tensor that `from` has.
  void broadcast(const at::Tensor& tensor, int from) const {
    check("ncclBroadcast", broadcast_(tensor.data_ptr(), tensor.data_ptr(), count(tensor), type(tensor), from,
                                      communicator_, stream(tensor)));
  }

 private:
  struct UniqueId {
    Id bytes = {};
  };

  template <class Function>
  void find(void* handle, const char* name, Function*& function) const {
    function = reinterpret_cast<Function*>(::dlsym(handle, name));
    if (function == nullptr) throw Error(Fault::system, library_, std::string(name) + " is missing");
  }

  void check(const char* call, int result) const {
    if (result != 0) throw Error(Fault::system, call, error_string_(result));
  }

  static std::size_t count(const at::Tensor& tensor) {
    require(tensor.is_contiguous(), "Nccl", "the tensor has to be contiguous");
    return static_cast<std::size_t>(tensor.numel());
  }

  /// As nccl.h numbers types.
  static int type(const at::Tensor& tensor) {
    switch (tensor.scalar_type()) {
      case at::kFloat:
        return 7;
      case at::kDouble:
        return 8;
      case at::kBFloat16:
        return 9;
      default:
        throw input_error("Nccl", "numbers of this type are not exchanged",
                          c10::toString(tensor.scalar_type()));
    }
  }

  /// That on which LibTorch computes.
  static void* stream(const at::Tensor& tensor) {
    if (tensor.is_cpu()) return nullptr;
    return c10::impl::VirtualGuardImpl(tensor.device().type()).getStream(tensor.device()).native_handle();
  }

  std::string library_;
  int (*get_unique_id_)(UniqueId*) = nullptr;
  int (*init_rank_)(void**, int, UniqueId, int) = nullptr;
  int (*all_reduce_)(const void*, void*, std::size_t, int, int, void*, void*) = nullptr;
  int (*broadcast_)(const void*, void*, std::size_t, int, int, void*, void*) = nullptr;
  int (*abort_)(void*) = nullptr;
  const char* (*error_string_)(int) = nullptr;
  void* communicator_ = nullptr;
};

}  // namespace eso::torch
