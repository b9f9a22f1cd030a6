/* fuzz: what a fuzz target defines; libFuzzer's own name and signature. */
#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
