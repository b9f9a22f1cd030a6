# Warnings, all of them errors, and hardening; the same for gcc and clang where both know a flag.
add_library(kitsune_options INTERFACE)
target_compile_options(kitsune_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wformat=2 -Wstrict-prototypes
  -Wmissing-prototypes -Wundef -Wvla -Wcast-qual -Wswitch-enum -Wnull-dereference -Werror
  -fno-strict-aliasing -fno-common)
target_compile_definitions(kitsune_options INTERFACE _GNU_SOURCE KITSUNE_VERSION="${PROJECT_VERSION}")
target_compile_definitions(kitsune_options INTERFACE $<$<BOOL:${KITSUNE_FAILPOINTS}>:KITSUNE_FAILPOINTS>)
target_include_directories(kitsune_options INTERFACE "${CMAKE_SOURCE_DIR}")

# assert is for programmers' errors and stays on in release builds.
foreach(config RELEASE RELWITHDEBINFO MINSIZEREL)
  string(REPLACE "-DNDEBUG" "" CMAKE_C_FLAGS_${config} "${CMAKE_C_FLAGS_${config}}")
endforeach()

if(KITSUNE_SANITIZE)
  target_compile_options(kitsune_options INTERFACE
    -fsanitize=${KITSUNE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(kitsune_options INTERFACE -fsanitize=${KITSUNE_SANITIZE})
  # Some two hundred programs are linked: what reports need of debug information is in -g1, and gold
  # takes less than half of the other linker's time.
  target_compile_options(kitsune_options INTERFACE -g1)
  find_program(KITSUNE_GOLD ld.gold)
  if(KITSUNE_GOLD AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
    target_link_options(kitsune_options INTERFACE -fuse-ld=gold)
  endif()
  # The sanitizers' own code paths make gcc see null dereferences that are not there.
  target_compile_options(kitsune_options INTERFACE $<$<C_COMPILER_ID:GNU>:-Wno-null-dereference>)
else()
  target_compile_options(kitsune_options INTERFACE
    $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2> -fstack-protector-strong -fstack-clash-protection -fPIE)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|i.86")
    target_compile_options(kitsune_options INTERFACE -fcf-protection)
  endif()
  target_link_options(kitsune_options INTERFACE -Wl,-z,relro,-z,now)
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)
endif()

# Fuzzers see which code a text reaches only where the libraries are instrumented too; what is no
# fuzzer finds the instrumentation's symbols in the sanitizer's runtime.
if(KITSUNE_FUZZ)
  if(NOT KITSUNE_SANITIZE MATCHES "address")
    message(FATAL_ERROR "KITSUNE_FUZZ needs KITSUNE_SANITIZE=address,undefined")
  endif()
  target_compile_options(kitsune_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
