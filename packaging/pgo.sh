#!/usr/bin/env bash
# Builds target/pgo/menshen, the release build with profile-guided optimisation: a build that counts what it runs serves the
# requests of benches/peers/train.py, and the compiler then lays the program out by these counts. Takes two release builds.
set -euo pipefail
cd "$(dirname "$0")/.."

pgo=$PWD/target/pgo
host=$(rustc -vV | sed -n 's/^host: //p')

main() {
  local profdata
  profdata=$(packaging/profdata.sh)
  rm -rf "$pgo/counts" && mkdir -p "$pgo/counts"
  build counting "-Cprofile-generate=$pgo/counts"
  python3 benches/peers/train.py "$pgo/counting/$host/release/menshen"
  "$profdata" merge -o "$pgo/merged.profdata" "$pgo/counts"
  build optimised "-Cprofile-use=$pgo/merged.profdata"
  install "$pgo/optimised/$host/release/menshen" "$pgo/menshen"
}

# With a target, the flags are not those of build scripts as well.
build() {
  RUSTFLAGS=$2 cargo build --locked --release --bin menshen --target "$host" --target-dir "$pgo/$1"
}

main
