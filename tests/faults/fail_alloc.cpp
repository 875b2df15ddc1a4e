// SPDX-License-Identifier: MIT
// A library to preload: the ESO_FAIL_ALLOC-th allocation from the start of the program returns null, and with
// ESO_FAIL_ALLOC_ON=1 all that follow it too. ESO_FAIL_ALLOC_FILE is made when that allocation is reached. A program that
// it is linked into calls `eso_fail_allocation` instead.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
}

namespace {

std::atomic<long> count{0};
long first = 0;
bool goes_on = false;
const char* reached = nullptr;

__attribute__((constructor)) void start() {
  const char* const text = std::getenv("ESO_FAIL_ALLOC");
  goes_on = std::getenv("ESO_FAIL_ALLOC_ON") != nullptr;
  reached = std::getenv("ESO_FAIL_ALLOC_FILE");
  if (text != nullptr) first = std::atol(text);
  count = 0;
}

bool fails() {
  const long n = ++count;
  if (first == 0) return false;
  if (n == first && reached != nullptr) ::close(::open(reached, O_CREAT | O_WRONLY | O_CLOEXEC, 0666));
  if (n != first && !(goes_on && n > first)) return false;
  errno = ENOMEM;
  return true;
}

}  // namespace

/// The `number`-th allocation from now on fails; none for 0. Returns how many there were since the last call.
extern "C" long eso_fail_allocation(long number);
extern "C" long eso_fail_allocation(long number) {
  first = number;
  return count.exchange(0);
}

extern "C" {
void* malloc(std::size_t size) { return fails() ? nullptr : __libc_malloc(size); }
void* calloc(std::size_t n, std::size_t size) { return fails() ? nullptr : __libc_calloc(n, size); }
void* realloc(void* old, std::size_t size) { return fails() ? nullptr : __libc_realloc(old, size); }
void* memalign(std::size_t to, std::size_t size) { return fails() ? nullptr : __libc_memalign(to, size); }
void* aligned_alloc(std::size_t to, std::size_t size) { return memalign(to, size); }
int posix_memalign(void** out, std::size_t to, std::size_t size) {
  void* const memory = memalign(to, size);
  if (memory == nullptr) return ENOMEM;
  *out = memory;
  return 0;
}
}
