// Work dealt out to the threads of XLA's pool, and memory that a thread keeps between calls.

#pragma once

#include <omp.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

// oneDNN's own OpenMP threads are off while this lives; the caller's setting is put back.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }

 private:
  int before_;
};

// Calls body(0) ... body(parts - 1) on the calling thread and on those of the pool that are free.
// The caller takes parts itself and waits only for parts that have begun elsewhere, so that a pool
// whose every thread is in here still makes progress. Errors are thrown on the caller's thread.
template <typename Body>
void parallel(ffi::ThreadPool& pool, int64_t parts, const Body& body) {
  struct Work {
    std::atomic<int64_t> next{0}, done{0};
    std::mutex mutex;
    std::string error;
  };
  auto work = std::make_shared<Work>();
  auto run = [work, parts, &body] {  // body is gone when a thread comes too late to find a part
    for (int64_t part; (part = work->next.fetch_add(1)) < parts;) {
      try {
        OneThread guard;
        body(part);
      } catch (const std::exception& error) {
        std::lock_guard<std::mutex> lock(work->mutex);
        work->error = error.what();
      }
      if (work->done.fetch_add(1) + 1 == parts) work->done.notify_all();
    }
  };
  const int64_t helpers = std::min(parts, pool.num_threads()) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule(std::decay_t<decltype(run)>(run));
  run();
  for (int64_t spin = 0, done; (done = work->done.load()) < parts;) {
    if (++spin > 20000) work->done.wait(done);
  }
  if (!work->error.empty()) throw std::runtime_error(work->error);
}

// A thread's memory for one purpose, which grows and stays.
enum Purpose { kScratchpad, kFilters, kPartial, kPurposes };

inline void* scratch(Purpose purpose, size_t bytes) {
  struct Buffer {
    void* data = nullptr;
    size_t size = 0;
    ~Buffer() { std::free(data); }
  };
  thread_local std::array<Buffer, kPurposes> buffers;
  Buffer& buffer = buffers[purpose];
  if (buffer.size < bytes) {
    std::free(buffer.data);
    buffer.size = (bytes + 4095) / 4096 * 4096;
    buffer.data = std::aligned_alloc(4096, buffer.size);
    if (buffer.data == nullptr) {
      buffer.size = 0;
      throw std::bad_alloc();
    }
  }
  return buffer.data;
}
