#!/usr/bin/env bash
# Prints the path of the llvm-profdata that reads what rustc's builds count, rustup's or Debian's; with --llvm, its version.
set -euo pipefail

# The counts are in the format of the compiler's own LLVM.
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
if [ "${1:-}" = --llvm ]; then
  echo "$llvm"
  exit
fi
host=$(rustc -vV | sed -n 's/^host: //p')
of_rustup=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
if [ -x "$of_rustup" ]; then
  echo "$of_rustup"
elif ! command -v "llvm-profdata-$llvm"; then
  echo "pgo: llvm-profdata of LLVM $llvm is missing: apt-get install llvm-$llvm, or rustup component add llvm-tools" >&2
  exit 1
fi
