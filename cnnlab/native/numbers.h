// The types of number that a custom call takes.

#pragma once

#include <bit>
#include <cstdint>
#include <stdexcept>

#include "xla/ffi/api/ffi.h"

struct Bf16 {
  uint16_t bits;
  operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
  Bf16() = default;
  Bf16(float value) {
    const uint32_t word = std::bit_cast<uint32_t>(value);
    const bool nan = value != value;
    bits = nan ? 0x7fc0 : static_cast<uint16_t>((word + 0x7fff + ((word >> 16) & 1)) >> 16);
  }
};

// Calls body(a number of the type); what it throws becomes XLA's error.
xla::ffi::Error by_type(xla::ffi::DataType type, const auto& body) {
  try {
    if (type == xla::ffi::DataType::F32) body(float());
    else if (type == xla::ffi::DataType::BF16) body(Bf16());
    else return xla::ffi::Error::InvalidArgument("expected float32 or bfloat16");
  } catch (const std::exception& error) {
    return xla::ffi::Error::Internal(error.what());
  }
  return xla::ffi::Error::Success();
}
